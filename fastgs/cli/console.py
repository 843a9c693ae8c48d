"""Console of all subcommands: exit codes, and one line for each mistake."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from fastgs.io.files import make_folders
from fastgs.io.places import is_url

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Parser that reports a mistake in one line, without the usage, and that can wait with its options.

    Args:
        module: Module of a subcommand; its function `declare` adds the options when the subcommand is used.
        options: Arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, *, module: str | None = None, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        self._module = module

    def declare(self) -> None:
        """Declare the options, unless that is done."""
        module, self._module = self._module, None
        if module is not None:
            importlib.import_module(module).declare(self)

    @override
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.declare()
        given = sys.argv[1:] if args is None else list(args)
        self._check_options(given)
        return super().parse_known_args(given, namespace)

    def _check_options(self, given: Sequence[str]) -> None:
        """Exit with one line if a long option is unknown, before a missing one is missed.

        Args:
            given: Arguments of this parser; those behind the name of a subcommand are for its own parser.
        """
        if self._subparsers is not None:
            given = list(takewhile(lambda argument: argument.startswith("-"), given))
        for argument in takewhile(lambda argument: argument != "--", given):
            name, known = argument.partition("=")[0], self._option_string_actions
            if name.startswith("--") and name not in known:
                from difflib import get_close_matches  # deferred: a right command takes without

                near = get_close_matches(name, known, n=1, cutoff=0.7)
                advice = f"; did you mean {near[0]}?" if near else f"; {self.prog} --help lists all options"
                self.error(f"unknown option {name}{advice}")

    def error(self, message: str) -> NoReturn:
        """Exit with one line and the exit code of wrong usage."""
        self.exit(WRONG_USAGE, f"{self.prog}: error: {one_line(message)}\n")


def one_line(text: str) -> str:
    """Return a text without line breaks, which file names can hold."""
    return " ".join(text.splitlines())


def say_error(text: str) -> None:
    """Print one line on stderr."""
    print(f"fastgs: error: {one_line(text)}", file=sys.stderr)


def say(text: str) -> None:
    """Print one line on stderr about how things stand."""
    print(f"fastgs: {one_line(text)}", file=sys.stderr)


def say_warning(text: str) -> None:
    """Print one line on stderr about something that is not as it should be, and is done nevertheless."""
    print(f"fastgs: warning: {one_line(text)}", file=sys.stderr)


@contextmanager
def showing_warnings() -> Iterator[None]:
    """Print warnings about images as one line each, instead of with their place in the code."""
    from fastgs.io.pixels import ImageWarning  # deferred: brings in numpy, which a help takes without

    with warnings.catch_warnings():
        warnings.simplefilter("always", ImageWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *arguments: Any, **options: Any) -> None:
            if issubclass(category, ImageWarning):
                say_warning(str(message))
            else:
                usual(message, category, *arguments, **options)

        warnings.showwarning = show
        yield


@contextmanager
def showing_compilation() -> Iterator[None]:
    """Print a line on stderr, if it is a terminal, when kernels are compiled: nothing else moves meanwhile."""
    if not sys.stderr.isatty():
        yield
        return
    import logging  # deferred: a help takes without

    logger, handler = logging.getLogger("fastgs.runtime.jit"), logging.Handler()
    # Printed to what stderr is then: a progress bar puts lines above itself.
    handler.emit = lambda record: print(f"fastgs: {record.getMessage()}", file=sys.stderr)  # type: ignore[method-assign]
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def local(text: str) -> Path:
    """Return the path of an option of argparse that takes no URL."""
    if is_url(text):
        raise argparse.ArgumentTypeError(f"expected a path on this machine, got {text}; predict and encode take URLs")
    return Path(text)


def identities(paths: Iterable[Path]) -> set[tuple[int, int]]:
    """Return the device and inode of each file that exists, which identify it however its path is spelled."""
    return {found for path in paths if (found := _identify(path)) is not None}


def _identify(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file; None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_outputs(outputs: Iterable[Path], inputs: set[tuple[int, int]], option: str = "--output") -> None:
    """Check that no output overwrites an input or a folder.

    Args:
        outputs: Paths to write.
        inputs: Identities of the inputs of the run, from `identities`.
        option: Option that says where outputs go, for messages.

    Raises:
        ValueError: An output would overwrite something.
    """
    for output in outputs:
        if output.is_dir():
            raise ValueError(f"cannot write {output}, which is a folder; choose another {option}")
        if _identify(output) in inputs:
            raise ValueError(f"would overwrite the input {output}; choose another {option}")


def announce(line: str) -> None:
    """Print one line on stdout.

    Raises:
        OSError: The line cannot be written.
    """
    write(one_line(line) + "\n")


def write(text: str) -> None:
    """Print a text on stdout.

    Raises:
        OSError: The text cannot be written.
    """
    try:
        print(text, end="", flush=True)
    except OSError:
        # Python would try to write the same again when it exits, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def wrong_argument(parser: Parser, error: ValueError) -> NoReturn:
    """Exit with one line for an error whose message begins with the name of the argument."""
    name, _, reason = str(error).partition(": ")
    parser.error(f"argument --{name.replace('_', '-')}: {reason}")


# Folders that the command has made for its outputs, inner ones before outer ones.
_made: list[Path] = []


def remember_folders(folders: Iterable[Path]) -> None:
    """Take note of folders that were made, inner ones first, for `remove_empty_folders`."""
    _made.extend(folders)


def remove_empty_folders() -> None:
    """Remove the folders that the command has made if nothing came into them: a mistake leaves nothing behind."""
    for folder in _made:
        with suppress(OSError):  # it has files, or is gone
            folder.rmdir()
    _made.clear()


def make_folder(parser: Parser, folder: Path, option: str = "--output") -> None:
    """Make a folder and check that it can be written to; exit with one line otherwise."""
    try:
        remember_folders(make_folders(folder))
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        parser.error(f"argument {option}: cannot write to {folder} ({error.strerror})")


class Failures(list[object]):
    """Subjects of a run that failed, such as paths.

    Args:
        parser: Parser of the command; advice names options that it has.

    Attributes:
        for_memory: Message for failures from lack of memory, with that advice.
        reason: Reason of the last failure.
    """

    reason = ""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        known = parser.format_usage()
        options = {"--size": "a smaller", "--scale": "a smaller", "--tile": "a smaller", "--workers": "fewer"}
        ways = [f"{change} {option}" for option, change in options.items() if f"{option} " in known]
        self.for_memory = f"not enough memory; try {' or '.join(ways)}" if ways else "not enough memory"

    def empty(self) -> Failures:
        """Return a list without subjects and with the same messages."""
        other = copy(self)
        other.clear()
        return other


@contextmanager
def reporting(subject: object, failures: Failures) -> Iterator[None]:
    """Report errors that users can mend, in one line on stderr, and go on; a bug keeps its traceback.

    Args:
        subject: Subject of the message, such as a path.
        failures: List that the subject is appended to if it fails.
    """
    try:
        yield
    except (OSError, ValueError, MemoryError, RuntimeError) as error:
        match error:
            case OSError():
                # Reading raises ImageError, so this error is about the output.
                reason = f"cannot be written ({error.strerror or error})"
            case ValueError():
                reason = str(error).removeprefix(f"{subject}: ")
            case MemoryError():
                reason = failures.for_memory
            case RuntimeError() if _lacks_memory(error):
                reason = failures.for_memory
            case _:
                raise
        say_error(f"{subject}: {reason}")
        failures.reason = reason
        failures.append(subject)


def _lacks_memory(error: RuntimeError) -> bool:
    """Tell whether torch raised an error for lack of memory, on a CPU or on a GPU."""
    torch = sys.modules.get("torch")
    return "allocate memory" in str(error) or (torch is not None and isinstance(error, torch.OutOfMemoryError))
