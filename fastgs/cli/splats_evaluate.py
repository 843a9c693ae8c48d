"""`fastgs splats evaluate`: measures autoencoders on a dataset of Gaussians. splats_evaluating.py does the work."""

from __future__ import annotations

import argparse
from typing import get_args

from fastgs.cli.console import Parser, local, wrong_argument
from fastgs.splats.kinds import Split


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand."""
    parser.description = (
        "Code the images of a dataset by every autoencoder, and write a record for each, and one for the "
        "fitted Gaussians themselves. Where images have classes, a record also says how well a linear classifier tells "
        "them from the codes, and there is one for the pixels. Records that the file has already are not made again."
    )
    add = parser.add_argument
    add("dataset", type=local, metavar="DIR", help="written by `fastgs splats make`")
    add("--autoencoders", nargs="+", type=local, default=[], metavar="WEIGHTS", help="exported by train.py, named by "
        "file, or by folder where that is called weights (default: none)")  # fmt: skip
    add("--split", choices=get_args(Split), default="test", help="images to measure on (default: test)")
    add("--output", type=local, required=True, metavar="FILE", help="JSON file of the records")
    add("--pictures", type=local, metavar="DIR", help="folder for DATASET-SPLIT.png: originals, fits, and what each "
        "autoencoder makes of them (default: none)")  # fmt: skip
    add("--images", type=int, default=8, metavar="N", help="rows of that picture (default: 8)")
    parser.set_defaults(run=lambda arguments: _evaluate(parser, arguments))


def _evaluate(parser: Parser, arguments: argparse.Namespace) -> int:
    """Check the options, and measure."""
    if arguments.images < 1:
        wrong_argument(parser, ValueError(f"images: must be at least 1, got {arguments.images}"))
    from fastgs.cli.splats_evaluating import evaluate  # deferred: a wrong option is found without torch

    return evaluate(parser, arguments)
