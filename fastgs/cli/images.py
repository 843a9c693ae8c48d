"""Options and the loop of subcommands that take files: each one that can be processed is, failures are listed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import ImageColor

from fastgs.cli.console import FAILED, Failures, Parser, announce, check_outputs, identities, reporting
from fastgs.io.finding import PICTURE_SUFFIXES, find_images


class Job(NamedTuple):
    """Work on input files, ready to be done.

    Attributes:
        outputs: Files to write; none may be an input, or the output of other work.
        run: Callable that does the work and returns the line to print.
    """

    outputs: list[Path]
    run: Callable[[], str]


# Input files, label for the progress bar, failures -> work on them.
Plan = Callable[[list[Path], str, Failures], Job]


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


def process_images(parser: Parser, given: Sequence[str], plan: Plan, together: str | None = None) -> int:
    """Process every image that can be, and say which could not.

    Args:
        parser: Parser of the subcommand.
        given: Image files and folders.
        plan: Callable that prepares the work on one image, or on all of them.
        together: Name of all images as one subject, which is processed once; by default each is processed alone.

    Returns:
        The exit code.
    """
    failures = Failures(parser)
    paths: list[Path] = []
    for each in given:
        with reporting(Path(each), failures):
            paths += find_images(each, PICTURE_SUFFIXES)
    if together is None:
        return process_files([[path] for path in paths], plan, failures)
    return FAILED if failures else process_files([paths], plan, failures, together)


def process_files(groups: Sequence[list[Path]], plan: Plan, failures: Failures, subject: str | None = None) -> int:
    """Do the work on every group of input files that it can be done on, and say on which it could not.

    Args:
        groups: Files that are processed together.
        plan: Callable that prepares the work on a group.
        failures: List of what failed, also before.
        subject: Name of a group in messages; by default the path of its first file.

    Returns:
        The exit code.
    """
    inputs = identities(path for group in groups for path in group)
    written: dict[Path, Path] = {}
    for index, group in enumerate(groups, start=1):
        label = group[0].name if len(groups) == 1 else f"{group[0].name} ({index} of {len(groups)})"
        with reporting(subject or group[0], failures):
            job = plan(group, subject or label, failures)
            check_outputs(job.outputs, inputs, written)
            line = job.run()
            written |= dict.fromkeys(job.outputs, group[0])
            with reporting("standard output", failures):
                announce(line)
    return FAILED if failures else 0


def _color(text: str) -> tuple[float, ...]:
    """Parse a colour name, #RRGGBB or R,G,B into R, G, B; their range is checked with the other options."""
    try:
        return ImageColor.getrgb(f"rgb({text})" if text[:1].isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a colour name, #RRGGBB or R,G,B, got {text!r}") from error
