"""`fastgs table`: records as tables and figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastgs.cli.console import FAILED, Failures, Parser, make_folder, reporting, write
from fastgs.evaluation.autoencoders import plots as autoencoder_plots
from fastgs.evaluation.autoencoders import tables as autoencoder_tables
from fastgs.evaluation.autoencoders.records import AutoencoderRecord
from fastgs.evaluation.codecs import plots as codec_plots
from fastgs.evaluation.codecs import tables as codec_tables
from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.evaluation.methods import plots, tables
from fastgs.evaluation.methods.records import Record
from fastgs.evaluation.records import load_records
from fastgs.io.files import atomic_write

_Record = Record | CodecRecord | AutoencoderRecord


class _Kind(NamedTuple):
    """What becomes of records of one kind; what they are of, in the plural, their table, and their figures."""

    name: str
    markdown: Callable[[Sequence[Any]], str]
    save_plots: Callable[[Path, Sequence[Any]], list[Path]]


_KINDS: dict[type[_Record], _Kind] = {
    Record: _Kind("methods", tables.markdown, plots.save_plots),
    CodecRecord: _Kind("codecs", codec_tables.markdown, codec_plots.save_plots),
    AutoencoderRecord: _Kind("autoencoders", autoencoder_tables.markdown, autoencoder_plots.save_plots),
}


def declare(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "table",
        help="summarize what `fastgs evaluate` measured",
        description="Write the means of records as Markdown: on the screen, or with figures into a folder. Where files "
        "hold the same run, the later one counts. Of codecs, the first one's rates are compared with the others'.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="written by `fastgs evaluate` or `fastgs splats evaluate`")
    output = "folder for table.md and figures: of methods psnr-iterations.png, psnr-seconds.png, psnr-gaussians.png "
    output += "and, where pictures were kept, errors.png; of codecs psnr-bpp.png and, of images of at least 176 "
    output += "pixels, ms-ssim-bpp.png; of autoencoders psnr-latent.png and ssim-latent.png (default: the table goes "
    output += "to the screen)"
    add("--output", type=Path, metavar="DIR", help=output)
    parser.set_defaults(run=lambda arguments: _table(parser, arguments))


def _table(parser: Parser, arguments: argparse.Namespace) -> int:
    """Read, and write."""
    failures = Failures(parser)
    records = _load(parser, arguments.files)
    kind = _KINDS[type(records[0])]
    text = kind.markdown(records)
    if arguments.output is None:
        with reporting("standard output", failures):
            write(text)
        return FAILED if failures else 0
    make_folder(parser, arguments.output)
    with reporting(arguments.output, failures):
        with atomic_write(arguments.output / "table.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        figures = kind.save_plots(arguments.output, records)
        with reporting("standard output", failures):
            write("".join(f"{path}\n" for path in [arguments.output / "table.md", *figures]))
    return FAILED if failures else 0


def _load(parser: Parser, paths: list[Path]) -> list[_Record]:
    """The records of all files; end with one line if there are none, or they have no table in common."""
    records: dict[object, _Record] = {}
    for path in paths:
        try:
            found: list[_Record] = load_records(path, *_KINDS)
        except ValueError as error:
            parser.error(str(error))
        records |= {record.task: record for record in found}
    names = [
        kind.name for kind_of, kind in _KINDS.items() if any(isinstance(each, kind_of) for each in records.values())
    ]
    if len(names) > 1:
        parser.error(f"records of {' and of '.join(names)} have no table in common; give each a run of its own")
    # Those of autoencoders have a table for each dataset.
    sized = [record for record in records.values() if not isinstance(record, AutoencoderRecord)]
    sizes = sorted({"full size" if record.size is None else str(record.size) for record in sized})
    if len(sizes) > 1:
        parser.error(f"records of several sizes ({', '.join(sizes)}) have no common mean; give each a file of its own")
    if not records:
        parser.error(f"{', '.join(map(str, paths))}: no records; run `fastgs evaluate` first")
    return list(records.values())
