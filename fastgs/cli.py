"""The `fastgs` command. Each subcommand is one `_add_NAME` that declares its options and one function that runs it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn, get_args

from PIL import ImageColor

from fastgs.files import atomic_write
from fastgs.fitting import LOSSES, HistoryEntry
from fastgs.gaussians import Blend
from fastgs.images import SUFFIXES, find_images, save_image
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.predict import WHITE, Predictor, Result, check_arguments
from fastgs.render import Backend

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

# Options of `fastgs predict` that `Predictor.__call__` takes under the same name.
_FIT_OPTIONS = (
    *("num_gaussians", "iterations", "seconds", "target_psnr", "seed", "size"),
    *("blend", "loss", "background", "backend"),
)

Record = dict[str, Any]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: error: {_one_line(message)}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments, by default those of the process.

    Returns:
        The exit code: 0 all good, 1 something failed (said on stderr), 2 wrong usage, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
    try:
        arguments = _parser().parse_args(argv)
        return int(arguments.run(arguments))
    except SystemExit as stop:  # argparse's way of ending after --help and errors
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        print("fastgs: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> _Parser:
    parser = _Parser(prog="fastgs", description="A photo as a few thousand 2D Gaussians.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fastgs {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_predict(commands)
    return parser


def _add_predict(commands: argparse._SubParsersAction[_Parser]) -> None:
    summary = "fit Gaussians to images"
    parser = commands.add_parser(
        "predict",
        help=summary,
        description=f"{summary.capitalize()}. For each image, STEM.png (the reconstruction) and STEM.safetensors (the "
        "Gaussians) go to the output folder; report.json there has one record per image of this run.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help=f"image files, or folders of {' '.join(sorted(SUFFIXES))}")
    add("-k", "--num-gaussians", type=int, default=10_000, metavar="K", help="how many Gaussians (default: 10000)")
    add("--iterations", type=int, metavar="N", help="number of steps (default: 200, or no limit with --seconds)")
    add("--seconds", type=float, metavar="S", help="stop after this time per image (default: no limit)")
    add("--target-psnr", type=float, metavar="DB", help="stop at this PSNR in dB (default: no target)")
    add("--init", default=DEFAULT, help=f"where to start: {', '.join(INITIALIZERS)} (default: {DEFAULT})")
    add("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    add("--size", type=int, metavar="N", help="shorter side to N pixels, then centre crop (default: size of the image)")
    add("--blend", default="normalized", help=f"{' or '.join(get_args(Blend))} (default: normalized)")
    add("--loss", default="mse", help=f"{', '.join(LOSSES)} (default: mse)")
    add("--background", type=_color, default=WHITE, metavar="COLOR", help="behind transparency: a name, #RRGGBB or R,G,B"
        " (default: white)")  # fmt: skip
    add("--backend", default="auto", help=f"of the renderer: {', '.join(get_args(Backend))} (default: auto)")
    add("--plots", action="store_true", help="also write STEM-plots.png, one figure of what happened")
    add("--output", type=Path, default=Path("output"), metavar="DIR", help="folder to write to (default: output)")
    parser.set_defaults(run=lambda arguments: _predict(parser, arguments))


def _predict(parser: _Parser, arguments: argparse.Namespace) -> int:
    """Fit every image that can be; say which could not."""
    options = {name: getattr(arguments, name) for name in _FIT_OPTIONS}
    try:
        predictor = Predictor(arguments.init)
        check_arguments(**options)
    except ValueError as error:
        name, _, reason = str(error).partition(": ")
        parser.error(f"argument --{name.replace('_', '-')}: {reason}")
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=arguments.output).close()
    except OSError as error:
        parser.error(f"argument --output: cannot write to {arguments.output} ({error.strerror})")

    failures = 0
    paths: list[Path] = []
    for given in arguments.images:
        with _reporting(given) as outcome:
            paths += find_images(given)
        failures += outcome.failed

    inputs = {identity for path in paths if (identity := _identity(path))}
    written: dict[Path, Path] = {}
    records: list[Record] = []
    for index, path in enumerate(paths, start=1):
        progress = _progress(f"{path.name} ({index} of {len(paths)})", arguments.iterations, arguments.seconds)
        with _reporting(path) as outcome:
            outputs = _outputs(path, arguments.output, arguments.plots, inputs, written)
            with progress as callback:
                result = predictor(path, **options, callback=callback)
                record = _record(path, arguments, result)
                _write(outputs, result)
            written |= dict.fromkeys(outputs, path)
            records.append(record)
            _announce(path, outputs[0], result)
        failures += outcome.failed
        if not outcome.failed:
            report = arguments.output / "report.json"
            with _reporting(report) as outcome:
                _write_report(report, records)
            failures += outcome.failed
    return FAILED if failures else 0
