"""`fastgs table`: turns records into tables and figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastgs.cli.console import FAILED, Failures, Parser, local, make_folder, reporting, write
from fastgs.evaluation.autoencoders import plots as autoencoder_plots
from fastgs.evaluation.autoencoders import tables as autoencoder_tables
from fastgs.evaluation.autoencoders.records import AutoencoderRecord
from fastgs.evaluation.codecs import plots as codec_plots
from fastgs.evaluation.codecs import tables as codec_tables
from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.evaluation.figures import FORMATS, save_figures
from fastgs.evaluation.methods import plots as method_plots
from fastgs.evaluation.methods import tables as method_tables
from fastgs.evaluation.methods.records import MethodRecord
from fastgs.evaluation.records import ImageRecord, Record, load_records
from fastgs.evaluation.tables import Table, group_by
from fastgs.evaluation.zoom import plots as zoom_plots
from fastgs.evaluation.zoom import tables as zoom_tables
from fastgs.evaluation.zoom.records import ZoomRecord
from fastgs.io.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class _Kind(NamedTuple):
    """Kind of records.

    Attributes:
        name: Name of what was measured, in the plural.
        tables: Function that returns the tables of some records.
        figures: Function that returns their figures by name; None for those that the records do not allow.
    """

    name: str
    tables: Callable[[Sequence[Any]], list[Table]]
    figures: Callable[[Sequence[Any]], Mapping[str, Figure | None]]


_KINDS: dict[type[Record], _Kind] = {
    MethodRecord: _Kind("methods", method_tables.tables, method_plots.figures),
    CodecRecord: _Kind("codecs", codec_tables.tables, codec_plots.figures),
    ZoomRecord: _Kind("enlargements", zoom_tables.tables, zoom_plots.figures),
    AutoencoderRecord: _Kind("autoencoders", autoencoder_tables.tables, autoencoder_plots.figures),
}


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Write the means of records as Markdown: on the screen, or with figures into a folder, for each size of the "
        "images. If files "
        "hold the same run, the later one counts. The rates of the first codec are compared with the others'."
    )
    add = parser.add_argument
    files = "written by `fastgs evaluate` or `fastgs splats evaluate`"
    add("files", nargs="+", type=local, metavar="FILE", help=files)
    output = "folder for table.md and figures: of methods psnr-iterations, psnr-seconds, psnr-gaussians, published if "
    output += "fits are as long as in papers, and errors if pictures were kept; of codecs psnr-bpp and, for images of "
    output += "at least 176 pixels, ms-ssim-bpp; of enlargements details, if pictures were kept; of autoencoders "
    output += "psnr-latent and ssim-latent (default: the table goes to the screen)"
    add("--output", type=local, metavar="DIR", help=output)
    add("--figures", choices=FORMATS, default="png", help="format of the figures; pdf and svg are made of lines, for "
        "print (default: png)")  # fmt: skip
    parser.set_defaults(run=lambda arguments: _run(parser, arguments))


def _run(parser: Parser, arguments: argparse.Namespace) -> int:
    """Read the records, write tables and figures, and return the exit code."""
    failures = Failures(parser)
    records = _load(parser, arguments.files)
    kind = _KINDS[type(records[0])]
    groups = _by_size(records)
    tables = [table.markdown() for group in groups.values() for table in kind.tables(group)]
    text = "\n".join(tables) or "No file was small enough.\n"
    if arguments.output is None:
        with reporting("standard output", failures):
            write(text)
        return FAILED if failures else 0
    make_folder(parser, arguments.output)
    with reporting(arguments.output, failures):
        with atomic_write(arguments.output / "table.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        figures = [
            path
            for suffix, group in groups.items()
            for path in save_figures(
                arguments.output,
                {f"{name}{suffix}": figure for name, figure in kind.figures(group).items()},
                arguments.figures,
            )
        ]
        with reporting("standard output", failures):
            write("".join(f"{path}\n" for path in [arguments.output / "table.md", *figures]))
    return FAILED if failures else 0


def _load(parser: Parser, paths: list[Path]) -> list[Record]:
    """Return the records of all files; end with one line if there are none, or no table can hold them all."""
    records: dict[object, Record] = {}
    for path in paths:
        try:
            found = load_records(path, *_KINDS)
        except ValueError as error:
            parser.error(str(error))
        records |= {record.task: record for record in found}
    if not records:
        parser.error(f"{', '.join(map(str, paths))}: no records; run `fastgs evaluate` first")
    kinds = {type(record) for record in records.values()}
    names = [kind.name for record_type, kind in _KINDS.items() if record_type in kinds]
    if len(names) > 1:
        parser.error(f"records of {' and of '.join(names)} have no table in common; give each a run of its own")
    return list(records.values())


def _by_size(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of each size, which alone have common means, by the end of the names of their figures.

    Autoencoders have a table for each dataset already.
    """
    groups = group_by(records, lambda record: record.size if isinstance(record, ImageRecord) else 0)
    if len(groups) == 1:
        return {"": list(records)}
    return {f"-{'full' if size is None else size}": group for size, group in groups.items()}
