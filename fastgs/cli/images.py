"""Options of subcommands that take images, and the images that they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import ImageColor

from fastgs.cli.console import Failures, Parser, remember_folders, reporting
from fastgs.io.finding import PICTURE_SUFFIXES
from fastgs.io.places import Place
from fastgs.jobs.journal import Part
from fastgs.jobs.packing import DEFAULT_SIZE, Kind
from fastgs.jobs.sources import Source, find_sources, holds_many, read_list


def add_images(parser: Parser) -> None:
    """Declare the images, as positional arguments, and --from."""
    suffixes = " ".join(sorted(PICTURE_SUFFIXES))
    images = (
        f"image files, folders of {suffixes}, .tar archives of them, quoted patterns such as 'photos/**/*.png', or URLs"
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=images)
    listed = "file with one more of these in each line; - is standard input"
    parser.add_argument("--from", dest="listed", metavar="FILE", help=listed)


def add_job(parser: Parser, kinds: Sequence[Kind]) -> None:
    """Declare the options of jobs of many images.

    Args:
        parser: Parser of the subcommand.
        kinds: Kinds of shards that its results can be packed into, the default first.
    """
    resume = "go on where a job with the same settings stopped: what is done is left out, by content (jobs.jsonl)"
    parser.add_argument("--resume", action="store_true", help=resume)
    part = "do the I-th of N parts of the images, for machines that share the work (default: all)"
    parser.add_argument("--shard", type=_part, default=Part(), metavar="I/N", help=part)
    shards = f"pack the results of each N images into one file (N by default: {DEFAULT_SIZE})"
    add = parser.add_argument
    add("--shards", type=_size, nargs="?", const=DEFAULT_SIZE, metavar="N", help=shards)
    kind = f"kind of these files (default: {kinds[0]})"
    add("--shard-kind", choices=kinds, default=kinds[0], help=kind)


def check_images(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if no image is given."""
    if not arguments.images and arguments.listed is None:
        parser.error("the following arguments are required: IMAGE, or --from FILE")


def give_many(parser: Parser, arguments: argparse.Namespace) -> bool:
    """Tell whether the arguments may stand for more than one image."""
    try:
        return arguments.listed is not None or len(arguments.images) > 1 or holds_many(arguments.images[0])
    except ValueError as error:
        parser.error(str(error))


def list_sources(arguments: argparse.Namespace, failures: Failures) -> list[Source]:
    """Return the images that the arguments stand for; what cannot be read is reported and listed in `failures`."""
    given: Sequence[str] = arguments.images
    if arguments.listed is not None:
        with reporting(arguments.listed, failures):
            given = [*given, *read_list(arguments.listed)]
    found: list[Source] = []
    for each in given:
        with reporting(each if "://" in each else Path(each), failures):
            found += find_sources(each)
    return found


def make_place(parser: Parser, location: str, option: str = "--output") -> Place:
    """Make a folder, local or at a URL, and check that it can be written to; exit with one line otherwise."""
    place = Place(location)
    try:
        remember_folders(place.make())
    except OSError as error:
        parser.error(f"argument {option}: cannot write to {location} ({error.strerror})")
    except ValueError as error:
        parser.error(f"argument {option}: {error}")
    return place


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


def _size(text: str) -> int:
    """Parse the size of shards."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text!r}")
    return int(text)


def _part(text: str) -> Part:
    """Parse I/N, such as 2/8."""
    try:
        number, total = (int(each) for each in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected I/N, such as 2/8, got {text!r}") from None
    if not 1 <= number <= total:
        raise argparse.ArgumentTypeError(f"expected I from 1 to N, got {text!r}")
    return Part(number, total)


def _color(text: str) -> tuple[float, ...]:
    """Parse a colour name, #RRGGBB or R,G,B into R, G, B; their range is checked with the other options."""
    try:
        return ImageColor.getrgb(f"rgb({text})" if text[:1].isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a colour name, #RRGGBB or R,G,B, got {text!r}") from error
