"""`fastgs splats`: datasets of Gaussians, and autoencoders of them."""

from __future__ import annotations

from fastgs.cli.console import Parser


def declare(parser: Parser) -> None:
    """Declare the options of the subcommand, which has subcommands of its own."""
    parser.description = "Datasets of many small images as Gaussians, and autoencoders of them."
    parts = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parts.add_parser("make", help="fit Gaussians to every image of a dataset", module="fastgs.cli.splats_make")
    evaluate = "measure autoencoders on a dataset of Gaussians"
    parts.add_parser("evaluate", help=evaluate, module="fastgs.cli.splats_evaluate")
