"""`fastgs view`: a page that draws Gaussians, as one HTML file or in the browser. viewing.py does the work."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastgs.cli.console import Parser, local, make_folder, wrong_argument
from fastgs.fitting.options import DEFAULT_ITERATIONS, FitOptions
from fastgs.methods.arguments import check_arguments
from fastgs.runtime.lazy import call

HTML_SUFFIXES = (".html", ".htm")


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Look at Gaussians: pan and zoom, ellipses, fewer Gaussians, a comparison with the original, statistics. With "
        "-o, the page is one HTML file that needs no network and no server; without, it is opened in the browser. "
        "Several files make a gallery."
    )
    add = parser.add_argument
    files = ".fgs files, .safetensors files of Gaussians, images, which are fitted first, or folders of these"
    add("files", nargs="+", type=local, metavar="FILE", help=files)
    output = "HTML file to write (default: open the page in the browser)"
    add("-o", "--output", type=local, metavar="PAGE", help=output)
    add("--original", type=local, metavar="PATH", help="image to compare a file of Gaussians with; or a folder of "
        "images with the names of the files")  # fmt: skip
    count = "how many Gaussians for an image (default: 10000)"
    add("-k", "--num-gaussians", type=int, default=10_000, metavar="K", help=count)
    steps = f"number of steps of the fit of an image (default: {DEFAULT_ITERATIONS})"
    add("--iterations", type=int, default=DEFAULT_ITERATIONS, metavar="N", help=steps)
    add("--no-open", action="store_true", help="only print the address of the page, and open no browser")
    parser.set_defaults(run=lambda arguments: _view(parser, arguments))


def _view(parser: Parser, arguments: argparse.Namespace) -> int:
    """Check the options, then write or show the page."""
    try:
        check_arguments(num_gaussians=arguments.num_gaussians)
        FitOptions(arguments.iterations)
    except ValueError as error:
        wrong_argument(parser, error)
    output: Path | None = arguments.output
    if output is not None:
        if output.is_dir() or output.suffix.lower() not in HTML_SUFFIXES:
            parser.error(f"argument -o/--output: expected a name that ends in .html, got {output}")
        if not output.parent.is_dir():
            parser.error(f"argument -o/--output: {output.parent}: no such folder")
        make_folder(parser, output.parent, "-o/--output")
    if arguments.original is not None and not arguments.original.exists():
        parser.error(f"argument --original: {arguments.original}: no such file or folder; check the name")
    return int(call("fastgs.cli.viewing:view", parser, arguments))
