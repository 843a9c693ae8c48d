"""The `fastgs` command, which hands over to its subcommands: one file each beside this one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastgs.cli import decode, download, encode, evaluate, info, predict, splats, table
from fastgs.cli.console import INTERRUPTED, Parser, say_warning, showing_warnings
from fastgs.io.version import installed_version
from fastgs.runtime.plugins import load_plugins


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments, by default those of the process.

    Returns:
        The exit code: 0 all good, 1 something failed (said on stderr), 2 wrong usage, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
    for problem in load_plugins():
        say_warning(problem)
    try:
        arguments = _parser().parse_args(argv)
        with showing_warnings():
            return int(arguments.run(arguments))
    except SystemExit as stop:  # argparse's way of ending after --help and errors
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        print("fastgs: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> Parser:
    parser = Parser(prog="fastgs", description="A photo as a few thousand 2D Gaussians.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fastgs {installed_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (predict, encode, decode, info, download, evaluate, splats, table):
        command.declare(commands)
    return parser
