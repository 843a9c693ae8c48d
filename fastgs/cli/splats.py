"""`fastgs splats`: datasets of Gaussians, and autoencoders of them."""

from __future__ import annotations

import argparse

from fastgs.cli import splats_evaluate, splats_make
from fastgs.cli.console import Parser


def declare(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the subcommand, which has subcommands of its own."""
    parser = commands.add_parser(
        "splats",
        help="make datasets of Gaussians, and measure autoencoders on them",
        description="Datasets of many small images as Gaussians, and autoencoders of them.",
        allow_abbrev=False,
    )
    parts = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (splats_make, splats_evaluate):
        command.declare(parts)
