"""Work on one item of a run, which is a group of input files: what was done before is known, the rest is made."""

from __future__ import annotations

import io
import os
import socket
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fastgs.cli.console import Failures, check_outputs, reporting, showing_warnings
from fastgs.io.places import Place
from fastgs.io.records import format_record
from fastgs.jobs.journal import Line, is_done, join_digests
from fastgs.jobs.sources import Source


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
        outputs: Names of the files to write; none may be an input, or the output of other work.
        run: Callable that does the work, and writes these files to a folder.
    """

    outputs: list[str]
    run: Callable[[Path], Done]


# Seconds after which a process reports what it has done; what it does meanwhile is lost if it is killed.
SECONDS_PER_TASK = 0.05
# The same where several images are worked on at once, of which it takes some to gain by that.
SECONDS_PER_BATCH = 0.5

# Input files, label for the progress bar -> work on them. It is picklable where several processes may work.
Plan = Callable[[list[Source], str], Job]


class Batches(NamedTuple):
    """Work on several images at once, before each of them is planned by itself.

    Attributes:
        prepare: Callable that does it for images that it is of use for, leaves the results where the plan finds them,
            and returns these images; picklable like a plan.
        size: Number of images; None for as many as take `SECONDS_PER_BATCH`, if the results do not depend on it.
    """

    prepare: Callable[[list[Source]], Collection[Source]]
    size: int | None = None


class Item(NamedTuple):
    """A group of files that is processed.

    Attributes:
        number: Place in the order of the groups.
        sources: The files.
        subject: Name in messages.
        label: Text for its progress bar.
        lines: Lines of a journal that may be of these files.
        taken: Names of files that were made from others, by an earlier run of the job, and those others.
        is_packed: True if its files are in a shard.
    """

    number: int
    sources: list[Source]
    subject: str
    label: str
    lines: list[Line]
    taken: dict[str, str]
    is_packed: bool


class Result(NamedTuple):
    """Result of an item.

    Attributes:
        line: Files that were written, and the record; None if it failed.
        text: Line to print.
        said: Text for stderr.
        error: Reason of the failure.
        is_kept: True if it was done before.
        seconds: Wall clock that it took; 0 where that is not of interest.
    """

    line: Line | None
    text: str = ""
    said: str = ""
    error: str = ""
    is_kept: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Work:
    """Work on items, in any process.

    Attributes:
        plan: Callable that prepares the work on a group.
        batches: Work on several groups at once; None if there is none.
        place: Folder for the outputs.
        stage: Folder on this machine where files are made; empty for that of the system.
        inputs: Identities of all files.
        failures: Empty list.
        is_journaled: True if the contents of the inputs are to be known.
    """

    plan: Plan
    batches: Batches | None
    place: Place
    stage: str
    inputs: set[tuple[int, int]]
    failures: Failures
    is_journaled: bool
    _looked_up: dict[int, tuple[str | None, Line | None]] = field(default_factory=dict, init=False, repr=False)

    def run(self, item: Item, written: Mapping[str, str]) -> Result:
        """Do the work on an item; what fails is said on stderr.

        Args:
            item: The item.
            written: Names of the files that the run has written so far, with the input of each.
        """
        failures = self.failures.empty()
        with ExitStack() as stack:
            stack.enter_context(reporting(item.subject, failures))
            for each in item.sources:
                stack.callback(each.forget)
            known = self._looked_up.pop(item.number) if item.number in self._looked_up else None
            digest, line = known or self._look_up(item)
            if line is not None:
                return Result(line, is_kept=True)
            job = self.plan(item.sources, item.label)
            self._check(job.outputs, {**item.taken, **written})
            with self._make_folder() as folder:
                done = job.run(folder)
                record = None if done.record is None else format_record(done.record)
                files = self.place.put(folder / name for name in job.outputs)
            return Result(Line(item.subject, digest or "", tuple(files), record), done.line)
        return Result(None, error=failures.reason)

    def _check(self, outputs: Sequence[str], written: Mapping[str, str]) -> None:
        """Check that no output overwrites an input, a folder, or what was written for another input.

        Raises:
            ValueError: An output would overwrite something.
        """
        for name in outputs:
            if name in written:
                output = self.place.file(name)
                raise ValueError(f"would overwrite {output}, made from {written[name]}; rename it or run it by itself")
        if self.place.is_local:
            check_outputs([self.place.path(name) for name in outputs], self.inputs)

    def run_quietly(self, items: list[Item]) -> list[Result]:
        """Do the work on items that cannot meet others; what is to be said is in the results.

        Unless batches have a size, there are results of the first ones alone if they take more than `SECONDS_PER_TASK`,
        and of those that were prepared.
        """
        prepared, share = self.prepare(items)
        begin = now = time.perf_counter()
        results: list[Result] = []
        for item in items:
            is_prepared = item.number in prepared
            if results and self.can_stop and not is_prepared and now - begin > SECONDS_PER_TASK:
                break
            with redirect_stderr(io.StringIO()) as said, showing_warnings():
                result = self.run(item, {})
            before, now = now, time.perf_counter()
            seconds = now - before + is_prepared * share
            results.append(result._replace(said=said.getvalue(), seconds=seconds))
        return results

    @property
    def can_stop(self) -> bool:
        """Tell whether the items of a task are independent, so that others may do a part of them."""
        return self.batches is None or self.batches.size is None

    def prepare(self, items: list[Item]) -> tuple[set[int], float]:
        """Do what is done for several items at once, unless all of them were done before.

        Batches of a given size are done for all of them even if some were, since there results depend on each other by
        rounding.

        Returns:
            The numbers of the items that are prepared, and the seconds that each has taken.
        """
        begin = time.perf_counter()
        self._looked_up.clear()
        if self.batches is not None:
            self._looked_up.update((item.number, self._look_up(item)) for item in items)
            missing = [item for item in items if self._looked_up[item.number][1] is None]
            chosen = missing if self.batches.size is None else items
            if missing:
                found = self.batches.prepare([source for item in chosen for source in item.sources])
                numbers = {item.number for item in chosen if item.sources[0] in found}
                return numbers, (time.perf_counter() - begin) / max(1, len(numbers))
        return set(), 0.0

    def _look_up(self, item: Item) -> tuple[str | None, Line | None]:
        """Return the SHA-256 of an item, and the line of a journal by which it was done before."""
        digest = join_digests([each.sha256(keep=True) for each in item.sources]) if self.is_journaled else None
        done = (line for line in item.lines if is_done(line, digest, self.place, item.is_packed))
        return digest, next(done, None)

    @contextmanager
    def _make_folder(self) -> Iterator[Path]:
        """Yield an empty folder for the files of an item."""
        if not self.stage or not self.is_journaled:
            with tempfile.TemporaryDirectory(dir=self.stage or None, prefix=".fastgs-") as folder:
                yield Path(folder)
            return
        # One for each process: to make and remove a folder can take as long as a small fit.
        own = Path(self.stage) / f"{socket.gethostname()}-{os.getpid()}"
        own.mkdir(exist_ok=True)
        try:
            yield own
        finally:
            for leftover in own.iterdir():
                leftover.unlink()
