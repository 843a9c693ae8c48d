"""Options and the loop of the subcommands that take images: each one that can be processed is, failures are listed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import ImageColor

from fastgs.cli.console import FAILED, Failures, Parser, announce, check_outputs, identities, reporting
from fastgs.io.images import PICTURE_SUFFIXES, find_images

# Path, output files, label for the progress bar, failures -> line that is printed.
Process = Callable[[Path, list[Path], str, Failures], str]


def add_images(parser: Parser) -> None:
    """Declare the images, as positional arguments."""
    suffixes = " ".join(sorted(PICTURE_SUFFIXES))
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=f"image files, or folders of {suffixes}")


def add_seed(parser: Parser) -> None:
    """Declare --seed."""
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")


def add_size(parser: Parser) -> None:
    """Declare --size."""
    help = "shorter side to N pixels, then centre crop (default: size of the image)"
    parser.add_argument("--size", type=int, metavar="N", help=help)


def add_background(parser: Parser) -> None:
    """Declare --background."""
    help = "a name, #RRGGBB or R,G,B, laid behind transparent pixels (default: transparency is kept)"
    parser.add_argument("--background", type=_color, metavar="COLOR", help=help)


def process_images(
    parser: Parser,
    given: Sequence[str],
    name_outputs: Callable[[Path], list[Path]],
    process: Process,
    together: str | None = None,
) -> int:
    """Process every image that can be, and say which could not.

    Args:
        parser: Parser of the subcommand.
        given: Image files and folders.
        name_outputs: Callable that gives the files which an image is written to; none may be an input, or the output of
            another image.
        process: Callable that processes one image.
        together: Name of all images as one subject, which is processed once, with the path of the first; by default
            each is processed alone.

    Returns:
        The exit code.
    """
    failures = Failures(parser)
    paths: list[Path] = []
    for each in given:
        with reporting(Path(each), failures):
            paths += find_images(each, PICTURE_SUFFIXES)
    inputs = identities(paths)
    written: dict[Path, Path] = {}
    if together is not None and failures:
        return FAILED
    chosen = paths if together is None else paths[:1]
    for index, path in enumerate(chosen, start=1):
        label = together or (path.name if len(chosen) == 1 else f"{path.name} ({index} of {len(chosen)})")
        with reporting(together or path, failures):
            outputs = name_outputs(path)
            check_outputs(outputs, inputs, written)
            line = process(path, outputs, label, failures)
            written |= dict.fromkeys(outputs, path)
            with reporting("standard output", failures):
                announce(line)
    return FAILED if failures else 0


def _color(text: str) -> tuple[float, ...]:
    """Parse a colour name, #RRGGBB or R,G,B into R, G, B; their range is checked with the other options."""
    try:
        return ImageColor.getrgb(f"rgb({text})" if text[:1].isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a colour name, #RRGGBB or R,G,B, got {text!r}") from error
