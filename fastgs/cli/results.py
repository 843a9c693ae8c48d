"""Results of a run: the lines that are printed, the report, the journal and the shards."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from fastgs.cli.console import Failures, announce, reporting, say
from fastgs.cli.work import Item, Result
from fastgs.io.places import Place
from fastgs.io.records import join_records
from fastgs.jobs.journal import Journal, Throttle
from fastgs.jobs.packing import Packer


@dataclass
class Results:
    """Results of a run: they are written down at once, and lines printed in the order of the items.

    So what a run prints does not depend on the number of processes.

    Attributes:
        failures: List of what failed.
        place: Folder of the report and the journal.
        report: Name of the file for the records of what was done, in the order of the items, which is written from time
            to time and at the end; None if there is none.
        journal: Journal of what is done; None for work that is not resumed.
        packer: Packer of what is done into shards, whose folder of waiting files has the outputs; None without shards.
        written: Names of the files that were written, with the input of each.
    """

    failures: Failures
    place: Place
    report: str | None = None
    journal: Journal | None = None
    packer: Packer | None = None
    written: dict[str, str] = field(default_factory=dict)
    _records: dict[int, str] = field(default_factory=dict)
    _waiting: dict[int, Result] = field(default_factory=dict)
    _next: int = 0
    _counts: Counter[str] = field(default_factory=Counter)
    _begin: float = field(default_factory=time.perf_counter)
    _throttle: Throttle = field(default_factory=Throttle)
    _is_reported: bool = True

    def add(self, item: Item, result: Result) -> None:
        """Take the result of an item, and print the lines whose turn it is."""
        if result.line is None:
            self.failures.append(item.subject)
            self._counts["failed"] += 1
        else:
            self._counts["kept" if result.is_kept else "done"] += 1
            self.written |= {each.name: item.subject for each in result.line.outputs}
            if result.line.record is not None:
                self._records[item.number] = result.line.record
                self._is_reported = False
        self._write_down(item, result)
        if not self._is_reported and self._throttle.is_due():
            self._write_report()
        self._waiting[item.number] = result
        while self._next in self._waiting:
            self._print(self._next)
            self._next += 1

    def flush(self) -> None:
        """Write the files that wait, and print the lines that wait for those of items that will not come any more."""
        if not self._is_reported:
            self._write_report()
        if self.journal is not None:
            with reporting(self.place, self.failures):
                self.journal.close()
        if self.packer is not None:
            self.packer.close()
        for number in sorted(self._waiting):
            self._print(number)

    def describe_pace(self, total: int | None = None) -> str:
        """Return how many images a second there are, and how long all will take; nothing before the first one."""
        done = self._counts["done"]
        seconds = time.perf_counter() - self._begin
        if not done or not seconds > 0:
            return ""
        pace = f"  {done / seconds:.1f} images/s"
        if total is None:
            return pace
        left = timedelta(seconds=round((total - self._counts.total()) * seconds / done))
        return f"{pace}, {left} left"

    def summarize(self, total: int) -> None:
        """Say on stderr how many images are done, and which ones failed."""
        kept = f", {self._counts['kept']} of them before" if self._counts["kept"] else ""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        say(f"{total - self._counts['failed']} of {total} images are done{kept}{failed}{self.describe_pace()}")
        for subject in self.failures:
            say(f"failed: {subject}")

    def _write_down(self, item: Item, result: Result) -> None:
        """Append the result to the journal, and to a shard."""
        if self.journal is None:
            return
        with reporting(self.place, self.failures):
            if result.line is None:
                self.journal.add_error(item.subject, result.error)
            elif not result.is_kept:
                self.journal.add(result.line)
            if self.packer is not None:
                self.packer.add(item.number, result.line)

    def _write_report(self) -> None:
        """Write the records so far; a list on disk cannot be appended to, so each time takes longer."""
        self._is_reported = True
        if self.report is None:
            return
        begin = time.perf_counter()
        content = join_records(record for _, record in sorted(self._records.items()))
        with reporting(self.place.file(self.report), self.failures):
            self.place.write(self.report, content, "" if self.journal is None else self.journal.stage)
        self._throttle.wrote(time.perf_counter() - begin)

    def _print(self, number: int) -> None:
        result = self._waiting.pop(number)
        print(result.said, end="", file=sys.stderr)
        if result.line is not None and not result.is_kept:
            with reporting("standard output", self.failures):
                announce(result.text)
