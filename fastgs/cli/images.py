"""Options and the loop of subcommands that take files: each one that can be processed is, failures are listed."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ImageColor

from fastgs.cli.console import (
    FAILED,
    Failures,
    Parser,
    announce,
    batch_progress,
    check_outputs,
    identities,
    reporting,
    say_error,
    showing_warnings,
)
from fastgs.io.finding import PICTURE_SUFFIXES, find_images
from fastgs.io.records import write_records


class Done(NamedTuple):
    """Work that was done.

    Attributes:
        line: Line to print.
        record: Record for the report of the run; None if there is none.
    """

    line: str
    record: Mapping[str, Any] | None = None


class Job(NamedTuple):
    """Work on input files, ready to be done.

    Attributes:
        outputs: Files to write; none may be an input, or the output of other work.
        run: Callable that does the work.
    """

    outputs: list[Path]
    run: Callable[[], Done]


# Input files, label for the progress bar -> work on them. It is picklable where several processes may work.
Plan = Callable[[list[Path], str], Job]


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


def process_images(
    parser: Parser,
    given: Sequence[str],
    plan: Plan,
    count_workers: Callable[[list[Path]], int],
    together: str | None = None,
    report: Path | None = None,
) -> int:
    """Process every image that can be, and say which could not.

    Args:
        parser: Parser of the subcommand.
        given: Image files and folders.
        plan: Callable that prepares the work on one image, or on all of them.
        count_workers: Callable that returns the number of processes for the images.
        together: Name of all images as one subject, which is processed once; by default each is processed alone.
        report: File for the records of what was done.

    Returns:
        The exit code.
    """
    failures = Failures(parser)
    paths: list[Path] = []
    for each in given:
        with reporting(Path(each), failures):
            paths += find_images(each, PICTURE_SUFFIXES)
    if together is not None:
        return FAILED if failures else process_files([paths], plan, failures, together, report=report)
    workers = count_workers(paths) if len(paths) > 1 else 1
    return process_files([[path] for path in paths], plan, failures, workers=workers, report=report)


def process_files(
    groups: Sequence[list[Path]],
    plan: Plan,
    failures: Failures,
    subject: str | None = None,
    workers: int = 1,
    report: Path | None = None,
) -> int:
    """Do the work on every group of input files that it can be done on, and say on which it could not.

    Args:
        groups: Files that are processed together.
        plan: Callable that prepares the work on a group.
        failures: List of what failed, also before.
        subject: Name of a group in messages; by default the path of its first file.
        workers: Number of processes, each of which takes the next group; with one, it is this one.
        report: File for the records of what was done, in the order of the groups; it is written after each.

    Returns:
        The exit code.
    """
    items = [
        _Item(
            number,
            group,
            subject or str(group[0]),
            subject or (group[0].name if len(groups) == 1 else f"{group[0].name} ({number + 1} of {len(groups)})"),
        )
        for number, group in enumerate(groups)
    ]
    work = _Work(plan, identities(path for group in groups for path in group), failures.empty())
    results = _Results(failures, report)
    workers = min(workers, len(items))
    apart, rest = _split(items) if workers > 1 else ([], items)
    try:
        if apart:
            from fastgs.runtime.pool import outcomes  # deferred: brings in what starts processes

            with batch_progress(len(items)) as show, closing(outcomes(apart, work.run_quietly, workers)) as ended:
                for count, (item, outcome) in enumerate(ended, start=1):
                    results.add(item, _result(item, outcome, failures))
                    show(count, item.paths[0].name)
        for item in rest:
            results.add(item, work.run(item, results.written))
    finally:
        results.flush()
    return FAILED if failures else 0


class _Item(NamedTuple):
    """A group of files that is processed.

    Attributes:
        number: Place in the order of the groups.
        paths: The files.
        subject: Name in messages.
        label: Text for its progress bar.
    """

    number: int
    paths: list[Path]
    subject: str
    label: str


class _Result(NamedTuple):
    """Result of an item.

    Attributes:
        outputs: Files that were written.
        done: What was done; None if it failed.
        said: Text for stderr.
    """

    outputs: list[Path]
    done: Done | None
    said: str = ""


@dataclass(frozen=True)
class _Work:
    """Work on items, in any process.

    Attributes:
        plan: Callable that prepares the work on a group.
        inputs: Identities of all files.
        failures: Empty list.
    """

    plan: Plan
    inputs: set[tuple[int, int]]
    failures: Failures

    def run(self, item: _Item, written: Mapping[Path, Path]) -> _Result:
        """Do the work on an item; what fails is said on stderr.

        Args:
            item: The item.
            written: Paths that the run has written so far, with the input of each, see `check_outputs`.
        """
        with reporting(item.subject, self.failures.empty()):
            job = self.plan(item.paths, item.label)
            check_outputs(job.outputs, self.inputs, written)
            return _Result(job.outputs, job.run())
        return _Result([], None)

    def run_quietly(self, item: _Item) -> _Result:
        """Do the work on an item that cannot meet another one; what is to be said is in the result."""
        with redirect_stderr(io.StringIO()) as said, showing_warnings():
            result = self.run(item, {})
        return result._replace(said=said.getvalue())


@dataclass
class _Results:
    """Results of a run: records are written at once, and lines printed in the order of the items.

    So what a run prints does not depend on the number of processes.

    Attributes:
        failures: List of what failed.
        report: File for the records.
        written: Paths that were written, with the input of each.
    """

    failures: Failures
    report: Path | None
    written: dict[Path, Path] = field(default_factory=dict)
    _records: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _waiting: dict[int, tuple[_Item, _Result]] = field(default_factory=dict)
    _next: int = 0

    def add(self, item: _Item, result: _Result) -> None:
        """Take the result of an item, and print the lines whose turn it is."""
        if result.done is None:
            self.failures.append(item.subject)
        else:
            self.written |= dict.fromkeys(result.outputs, item.paths[0])
            if self.report is not None and result.done.record is not None:
                self._records[item.number] = result.done.record
                with reporting(self.report, self.failures):
                    write_records(self.report, (record for _, record in sorted(self._records.items())))
        self._waiting[item.number] = item, result
        while self._next in self._waiting:
            self._print(self._next)
            self._next += 1

    def flush(self) -> None:
        """Print the lines that wait for those of items before them, which will not come any more."""
        for number in sorted(self._waiting):
            self._print(number)

    def _print(self, number: int) -> None:
        _, result = self._waiting.pop(number)
        print(result.said, end="", file=sys.stderr)
        if result.done is not None:
            with reporting("standard output", self.failures):
                announce(result.done.line)


def _result(item: _Item, outcome: Callable[[], _Result], failures: Failures) -> _Result:
    """Return the result of an item from another process, which may have been killed."""
    try:
        return outcome()
    except BrokenExecutor:
        with redirect_stderr(io.StringIO()) as said:
            say_error(f"{item.subject}: its process was killed, perhaps for lack of memory; try fewer --workers")
        return _Result([], None, said.getvalue())


def _split(items: Sequence[_Item]) -> tuple[list[_Item], list[_Item]]:
    """Split items into those that can be processed in any order, and others, whose outputs may be those of one before.

    Outputs are named after the input, STEM or STEM-plots with some suffix, so that only inputs of one stem can meet.
    """
    apart: dict[str, _Item] = {}
    rest = []
    for item in items:
        # Some file systems do not tell capitals from small letters.
        key = re.sub(r"(-plots)*$", "", item.paths[0].stem.casefold())
        if apart.setdefault(key, item) is not item:
            rest.append(item)
    return list(apart.values()), rest


def _color(text: str) -> tuple[float, ...]:
    """Parse a colour name, #RRGGBB or R,G,B into R, G, B; their range is checked with the other options."""
    try:
        return ImageColor.getrgb(f"rgb({text})" if text[:1].isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a colour name, #RRGGBB or R,G,B, got {text!r}") from error
