"""Measuring from the command line: the records that a file has, and what is said while new ones are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import override

from fastgs.cli.console import Failures, Parser, announce, reporting
from fastgs.cli.progress import batch_progress
from fastgs.evaluation.harness import Monitor
from fastgs.evaluation.records import Record, load_records

_RecordT = TypeVar("_RecordT", bound=Record)


class ConsoleMonitor(Monitor):
    """Monitor that moves a bar, writes a line on stdout for each record, and one on stderr for each error.

    Args:
        place: Function that returns the path that lines about a task or a record begin with.
        failures: List that receives what failed.

    Attributes:
        remark: Function that returns what is said behind a record.
    """

    def __init__(self, place: Callable[[Any], str], failures: Failures) -> None:
        self._place = place
        self._failures = failures
        self.remark: Callable[[Any], str] = lambda record: ""
        self._show: Callable[[float, str], None] = lambda done, state: None

    @contextmanager
    def bar(self, total: int) -> Iterator[None]:
        """Show a bar for a number of tasks on stderr, if that is a terminal."""
        with batch_progress(total) as self._show:
            yield

    @override
    def guard(self, subject: object) -> AbstractContextManager[None]:
        return reporting(subject, self._failures)

    @override
    def attempt(self, task: object) -> AbstractContextManager[None]:
        return self.guard(f"{self._place(task)}: {task}")

    @override
    def advance(self, task: object, done: float, state: str) -> None:
        self._show(done, f"{Path(self._place(task)).name}: {task}: {state}")

    @override
    def finish(self, record: Record) -> None:
        with self.guard("standard output"):
            announce(f"{self._place(record)}: {record}  {record.result}{self.remark(record)}")


def existing_records(parser: Parser, path: Path, kind: type[_RecordT], *others: type[Record]) -> dict[Any, _RecordT]:
    """Return the records that a file has already, by task; end with one line if it is no such file.

    Args:
        parser: Parser of the command.
        path: Path of the file, which need not exist.
        kind: Class of the records that are to be in the file.
        others: Classes of records of the same command, which cannot share a file with these.
    """
    if not path.exists():
        return {}
    try:
        found = load_records(path, kind, *others)
    except ValueError as error:
        parser.error(f"argument --output: {error}")
    records = {record.task: record for record in found if isinstance(record, kind)}
    if len(records) < len(found):
        parser.error(f"argument --output: {path}: holds records of another kind; name another file")
    return records
