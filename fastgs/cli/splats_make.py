"""`fastgs splats make`: turns a dataset of images into a dataset of Gaussians. splats_making.py does the work."""

from __future__ import annotations

import argparse
import os

from fastgs.cli.console import Parser, local, wrong_argument
from fastgs.cli.images import add_seed
from fastgs.data.datasets import DATASETS
from fastgs.fitting.options import FitOptions
from fastgs.methods.arguments import check_arguments
from fastgs.splats.kinds import COLORS, INITS, ITERATIONS, SHARD_SIZE


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Fit Gaussians to many small images at once, and write them with their pixels to a folder: "
        "index.json and shard-*.safetensors. A run that was broken off continues where it stopped."
    )
    add = parser.add_argument
    add("data", nargs="+", metavar="DATA", help="image files, folders of images, folders of folders of images (whose "
        f"names are labels), or downloaded ones: {', '.join(DATASETS)}")  # fmt: skip
    add("-k", "--num-gaussians", type=int, default=1024, metavar="K", help="Gaussians per image (default: 1024)")
    add("--init", choices=INITS, default=INITS[0], help=f"initialization of the fits (default: {INITS[0]})")
    add("--iterations", type=int, default=ITERATIONS, metavar="N", help=f"steps of each fit (default: {ITERATIONS})")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--size", type=int, default=32, metavar="N", help="resize the shorter side to N pixels, then "
        "crop the centre (default: 32)")  # fmt: skip
    sizes.add_argument("--full-size", action="store_true", help="keep the size of the images")
    add("--crops", type=int, metavar="N", help="instead of resizing, cut N squares of --size anywhere in each image")
    add("--channels", choices=tuple(COLORS), default="rgb", help="channels of the images, to which each is converted; "
        "without alpha, transparent pixels are composited on white (default: rgb)")  # fmt: skip
    add_seed(parser)
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: one per core)")
    add("--shard-size", type=int, default=SHARD_SIZE, metavar="N", help="images per file; a run that was broken off "
        f"continues after the last complete file (default: {SHARD_SIZE})")  # fmt: skip
    add("--output", type=local, required=True, metavar="DIR", help="folder to write to")
    parser.set_defaults(run=lambda arguments: _make(parser, arguments))


def _make(parser: Parser, arguments: argparse.Namespace) -> int:
    """Check the options, and fit the images that can be read."""
    _check_usage(parser, arguments)
    from fastgs.cli.splats_making import make_dataset  # deferred: a wrong option is found without torch

    return make_dataset(parser, arguments)


def _check_usage(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line about the first wrong option; apply --full-size."""
    if arguments.full_size:
        arguments.size = None
        if arguments.crops is not None:
            parser.error("argument --crops: not allowed with argument --full-size")
    for name in ("workers", "shard_size", "crops"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            wrong_argument(parser, ValueError(f"{name}: must be at least 1, got {value}"))
    try:
        check_arguments(num_gaussians=arguments.num_gaussians, seed=arguments.seed, size=arguments.size)
        FitOptions(arguments.iterations)
    except ValueError as error:
        wrong_argument(parser, error)
