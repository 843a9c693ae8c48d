"""The `fastgs` command, which hands over to its subcommands: one file each beside this one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import override

from fastgs.cli.console import (
    INTERRUPTED,
    Parser,
    remove_empty_folders,
    say_warning,
    showing_compilation,
    showing_warnings,
)
from fastgs.runtime.plugins import load_plugins

# Subcommands, each a module of this folder, with their lines in the help.
COMMANDS = {
    "predict": "fit Gaussians to images",
    "encode": "write images as .fgs files",
    "decode": "draw .fgs files",
    "info": "tell what is in a .fgs file",
    "view": "look at Gaussians in the browser, or as one HTML file",
    "download": "fetch photos to train or compare on",
    "evaluate": "measure methods or codecs on images",
    "splats": "make datasets of Gaussians, and measure autoencoders on them",
    "table": "summarize what `fastgs evaluate` measured",
}


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
    argv = sys.argv[1:] if argv is None else argv
    if any(argument in COMMANDS for argument in argv):  # a help without a command names nothing from outside
        for problem in load_plugins():
            say_warning(problem)
    try:
        arguments = _parser().parse_args(argv)
        run = vars(arguments).pop("run")  # not an argument, and could not be sent to another process
        with showing_warnings(), showing_compilation():
            return int(run(arguments))
    except SystemExit as stop:  # argparse's way of ending after --help and errors
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        print("fastgs: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        compiler_process = sys.modules.get("fastgs.runtime.compiler_process")  # not imported for what does without
        if compiler_process is not None:
            compiler_process.stop()
        remove_empty_folders()


class _Version(argparse.Action):
    """Option that prints the version and ends; it is looked up only then."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from fastgs.io.version import installed_version

        print(f"fastgs {installed_version()}")
        parser.exit()


def _parser() -> Parser:
    parser = Parser(prog="fastgs", description="A photo as a few thousand 2D Gaussians.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, module=f"fastgs.cli.{name}")
    return parser
