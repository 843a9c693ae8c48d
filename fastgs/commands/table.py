"""`fastgs table`: records as tables and figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastgs.commands.console import FAILED, Parser, make_folder, reporting, write
from fastgs.files import atomic_write
from fastgs.rate_distortion.records import CodecRecord, CodecTask
from fastgs.rate_distortion.tables import markdown as codec_markdown
from fastgs.record_files import load_records
from fastgs.records import Record, Task
from fastgs.tables import markdown


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
    add("files", nargs="+", type=Path, metavar="FILE", help="written by `fastgs evaluate`")
    output = "folder for table.md and figures: of methods psnr-iterations.png, psnr-seconds.png, psnr-gaussians.png "
    output += "and, where pictures were kept, errors.png; of codecs psnr-bpp.png and, of images of at least 176 "
    output += "pixels, ms-ssim-bpp.png (default: the table goes to the screen)"
    add("--output", type=Path, metavar="DIR", help=output)
    parser.set_defaults(run=lambda arguments: _table(parser, arguments))


def _table(parser: Parser, arguments: argparse.Namespace) -> int:
    """Read, and write."""
    failures: list[object] = []
    records = _load(parser, arguments.files)
    methods = [record for record in records if isinstance(record, Record)]
    codecs = [record for record in records if isinstance(record, CodecRecord)]
    if methods and codecs:
        parser.error("records of methods and of codecs have no table in common; give each a run of its own")
    text = markdown(methods) if methods else codec_markdown(codecs)
    if arguments.output is None:
        with reporting("standard output", failures):
            write(text)
        return FAILED if failures else 0
    make_folder(parser, arguments.output)
    with reporting(arguments.output, failures):
        # Deferred: brings in matplotlib.
        from fastgs.plots import save_plots
        from fastgs.rate_distortion.plots import save_plots as save_codec_plots

        with atomic_write(arguments.output / "table.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        figures = save_plots(arguments.output, methods) if methods else save_codec_plots(arguments.output, codecs)
        with reporting("standard output", failures):
            write("".join(f"{path}\n" for path in [arguments.output / "table.md", *figures]))
    return FAILED if failures else 0


def _load(parser: Parser, paths: list[Path]) -> list[Record | CodecRecord]:
    """The records of all files; end with one line if there are none, or their means would mix sizes."""
    records: dict[Task | CodecTask, Record | CodecRecord] = {}
    for path in paths:
        try:
            found: list[Record | CodecRecord] = load_records(path, Record, CodecRecord)
        except ValueError as error:
            parser.error(str(error))
        records |= {record.task: record for record in found}
    sizes = sorted({"full size" if record.size is None else str(record.size) for record in records.values()})
    if len(sizes) > 1:
        parser.error(f"records of several sizes ({', '.join(sizes)}) have no common mean; give each a file of its own")
    if not records:
        parser.error(f"{', '.join(map(str, paths))}: no records; run `fastgs evaluate` first")
    return list(records.values())
