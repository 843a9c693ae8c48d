"""`fastgs evaluate`: measures methods, codecs or zooming on images, and writes records. evaluating.py does the work."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

from fastgs.cli.console import Parser, local, wrong_argument
from fastgs.cli.images import add_seed
from fastgs.data.datasets import image_folders
from fastgs.evaluation.codecs.coders import check_codec, codec_names, has_efforts
from fastgs.fitting.options import FitOptions
from fastgs.methods import METHODS, ZOOM_WEIGHTS
from fastgs.methods.arguments import check_arguments

DEFAULT_SIZE = 512  # pixels, as the papers do
PRESETS = ("published",)

_T = TypeVar("_T", str, int, float)


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Fit every image by every method with every K and budget, on the CPU, or write it by every codec "
        "at every rate, or reduce it and enlarge it again in every way, and write one record for each. Records that "
        "the file has already are not made again, so that what was broken off continues where it stopped, and what is "
        "new is added."
    )
    add = parser.add_argument
    named = ", ".join(image_folders())
    add("data", nargs="+", metavar="DATA", help=f"image files, folders of images, or downloaded photos: {named}")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--methods", type=_list(str), metavar="NAME,...", help=f"some of {', '.join(METHODS)}")
    kinds.add_argument("--codec", type=_list(str), metavar="NAME,...", help=f"some of {', '.join(codec_names())}")
    zoom = "factors by which images are reduced, and enlarged again by interpolation, by fits and by a network"
    kinds.add_argument("--zoom", type=_list(float), metavar="F,...", help=zoom)
    preset = "published: the methods of papers, each at the numbers of Gaussians and of iterations that papers report "
    preset += "results for, and this project beside them. That takes hours for each photo; how many is said before it "
    preset += "starts. --methods takes some of the methods, and -k, --iterations, --size and --full-size stand in "
    preset += "place of the published numbers"
    add("--preset", choices=PRESETS, help=preset)
    add("-k", "--num-gaussians", type=_list(int), metavar="K,...", help="with --methods or --zoom: numbers of "
        "Gaussians")  # fmt: skip
    network = f"with --zoom: a name in checkpoints/ or a path; none leaves the network out (default: {ZOOM_WEIGHTS})"
    add("--zoom-weights", metavar="NAME_OR_PATH", help=network)
    add("--bpp", type=_list(float), metavar="R,...", help="with --codec: bits per pixel that files may have at most")
    effort = "with --codec: time that an encoder takes for a better image, from 1, the fastest, to 9, where it can "
    effort += "(default: the codec's own)"
    add("--effort", type=_list(int), metavar="N,...", help=effort)
    add("--iterations", type=_list(int), metavar="N,...", help="budgets as numbers of iterations; with --codec, those "
        "of each fit of a codec by Gaussians (default: the codec's own)")  # fmt: skip
    add("--seconds", type=_list(float), metavar="S,...", help="with --methods: budgets as seconds of the iterations")
    sizes = parser.add_mutually_exclusive_group()
    shorter = "resize the shorter side to N pixels, then crop to the centre (default: 512)"
    sizes.add_argument("--size", type=int, metavar="N", help=shorter)
    sizes.add_argument("--full-size", action="store_true", help="keep the size of the images")
    add_seed(parser)
    add("--output", type=local, required=True, metavar="FILE", help="JSON file of the records")
    add("--pictures", type=local, metavar="DIR", help="folder for targets and reconstructions (default: none "
        "are kept)")  # fmt: skip
    add("--workers", type=int, default=1, metavar="N", help="number of processes; with more than 1, seconds do not "
        "measure speed (default: 1)")  # fmt: skip
    parser.set_defaults(run=lambda arguments: _evaluate(parser, arguments))


def _evaluate(parser: Parser, arguments: argparse.Namespace) -> int:
    """Check the options, and measure."""
    _check_shared_options(parser, arguments)
    if arguments.preset is not None:
        _check_preset_options(parser, arguments)
    elif arguments.methods is not None:
        _check_method_options(parser, arguments)
    elif arguments.codec is not None:
        _check_codec_options(parser, arguments)
    else:
        _check_zoom_options(parser, arguments)
    from fastgs.cli.evaluating import evaluate  # deferred: a wrong option is found without torch

    return evaluate(parser, arguments)


def _check_shared_options(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if one of the options that methods and codecs share is wrong."""
    if all(getattr(arguments, kind) is None for kind in ("methods", "codec", "zoom", "preset")):
        parser.error("one of the arguments --methods --codec --zoom --preset is required")
    if arguments.workers < 1:
        parser.error(f"argument --workers: must be at least 1, got {arguments.workers}")
    if arguments.effort is not None and arguments.codec is None:
        parser.error("argument --effort: not allowed without argument --codec")
    if arguments.zoom_weights is not None and arguments.zoom is None:
        parser.error("argument --zoom-weights: not allowed without argument --zoom")
    if arguments.size is None and not arguments.full_size and arguments.preset is None:
        arguments.size = DEFAULT_SIZE
    try:
        check_arguments(num_gaussians=1, seed=arguments.seed, size=arguments.size)
        for iterations in arguments.iterations or []:
            FitOptions(iterations)
    except ValueError as error:
        wrong_argument(parser, error)


def _check_preset_options(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if one of the options is wrong with --preset."""
    for option in ("codec", "zoom", "bpp", "seconds"):
        if getattr(arguments, option) is not None:
            parser.error(f"argument --{option}: not allowed with argument --preset")
    _check_methods_and_counts(parser, arguments)


def _check_method_options(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if one of the options for methods is wrong."""
    _check_methods_and_counts(parser, arguments)
    if arguments.bpp is not None:
        parser.error("argument --bpp: not allowed with argument --methods")
    if arguments.num_gaussians is None:
        parser.error("the following arguments are required with --methods: -k/--num-gaussians")
    if arguments.iterations is None and arguments.seconds is None:
        parser.error("one of the arguments --iterations and --seconds is required")


def _check_methods_and_counts(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if a method is unknown, or a number of Gaussians or of seconds is wrong."""
    unknown = [name for name in arguments.methods or [] if name not in METHODS]
    if unknown:
        parser.error(f"argument --methods: expected some of {', '.join(METHODS)}, got {unknown[0]!r}")
    try:
        for count in arguments.num_gaussians or []:
            check_arguments(num_gaussians=count)
        for seconds in arguments.seconds or []:
            FitOptions(seconds=seconds)
    except ValueError as error:
        wrong_argument(parser, error)


def _check_codec_options(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if one of the options for codecs is wrong."""
    for value, option in ((arguments.num_gaussians, "-k/--num-gaussians"), (arguments.seconds, "--seconds")):
        if value is not None:
            parser.error(f"argument {option}: not allowed with argument --codec")
    if arguments.bpp is None:
        parser.error("the following arguments are required with --codec: --bpp")
    for rate in arguments.bpp:
        if not 0 < rate < math.inf:
            parser.error(f"argument --bpp: must be more than 0 and finite, got {rate:g}")
    try:
        for name in arguments.codec:
            for effort in arguments.effort or [None]:
                check_codec(name, effort)
    except ValueError as error:
        wrong_argument(parser, error)
    if arguments.effort is not None and not any(map(has_efforts, arguments.codec)):
        parser.error(f"argument --effort: {', '.join(arguments.codec)} has none; add fastgs to --codec")


def _check_zoom_options(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if one of the options for zooming is wrong."""
    for value, option in ((arguments.bpp, "--bpp"), (arguments.seconds, "--seconds")):
        if value is not None:
            parser.error(f"argument {option}: not allowed with argument --zoom")
    try:
        for zoom in arguments.zoom:
            check_arguments(num_gaussians=1, zoom=zoom)
        for count in arguments.num_gaussians or []:
            check_arguments(num_gaussians=count)
    except ValueError as error:
        wrong_argument(parser, error)


def _list(kind: Callable[[str], _T]) -> Callable[[str], list[_T]]:
    """Return a type for argparse: values between commas, each once."""

    def parse(text: str) -> list[_T]:
        try:
            return list(dict.fromkeys(kind(part.strip()) for part in text.split(",")))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected numbers between commas, got {text!r}") from error

    return parse
