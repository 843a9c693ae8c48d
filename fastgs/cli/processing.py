"""The loop of subcommands that take files: each one that can be processed is, and the others are listed."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fastgs.cli.console import (
    FAILED,
    Failures,
    Parser,
    announce,
    batch_progress,
    check_outputs,
    identities,
    reporting,
    say,
    say_error,
    showing_warnings,
)
from fastgs.cli.images import list_sources, make_place
from fastgs.io.files import exclusive
from fastgs.io.places import Place
from fastgs.io.records import format_records, write_records
from fastgs.jobs.journal import Journal, Line, OtherSettingsError, Part, Throttle, is_done, join_digests
from fastgs.jobs.packing import Packer
from fastgs.jobs.sources import Source

# Number of times that a process may die on one image before that is set aside.
TRIES = 3
# Number of images from which on the end of a run is summed up: the lines about fewer are still to be seen.
MANY = 10


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


# Input files, label for the progress bar -> work on them. It is picklable where several processes may work.
Plan = Callable[[list[Source], str], Job]


class Batches(NamedTuple):
    """Work on several images at once, before each of them is planned by itself.

    Attributes:
        size: Number of images.
        prepare: Callable that does it, and leaves the results where the plan finds them; picklable like a plan.
    """

    size: int
    prepare: Callable[[list[Source]], None]


class Engine(Protocol):
    """Function that runs tasks as `fastgs.runtime.pool.outcomes` does."""

    def __call__(
        self, tasks: Sequence[list[_Item]], measure: Callable[[list[_Item]], list[_Result]], workers: int
    ) -> Generator[tuple[list[_Item], Callable[[], list[_Result]]], None, None]:
        """Run tasks, and yield the outcome of each."""


def process_images(
    parser: Parser,
    arguments: argparse.Namespace,
    plan: Plan,
    count_workers: Callable[[list[Source]], int],
    place: Place,
    settings: Mapping[str, Any],
    together: str | None = None,
    report: bool = False,
    batches: Batches | None = None,
) -> int:
    """Process every image that can be, and say which could not.

    Args:
        parser: Parser of the subcommand, which has the options of `add_images` and `add_job`.
        arguments: Its arguments.
        plan: Callable that prepares the work on one image, or on all of them.
        count_workers: Callable that returns the number of processes for the images.
        place: Folder for the outputs.
        settings: Everything that decides about the results.
        together: Name of all images as one subject, which is processed once; by default each is processed alone.
        report: True to write report.json, the records of what was done.
        batches: Work on several images at once; by default each is done by itself.

    Returns:
        The exit code.
    """
    failures = Failures(parser)
    sources = list_sources(arguments, failures)
    part: Part = arguments.shard
    name = part.name("report", ".json") if report else None
    if together is not None:
        return FAILED if failures else process_files([sources], plan, failures, place, together, report=name)
    if arguments.shards is not None:  # which images share one follows from the list of all
        names = "\n".join(map(str, sources)).encode("utf-8", "surrogateescape")
        images = hashlib.sha256(names).hexdigest()[:12]
        settings = {**settings, "images": images, "shards": arguments.shards, "shard_kind": arguments.shard_kind}
        settings = {**settings, "parts": part.total}
    sources = [sources[number] for number in part.select(len(sources))]
    journal = packer = None
    if len(sources) > 1 or arguments.resume or part.total > 1 or arguments.shards is not None:
        journal = _open_journal(parser, arguments, place, settings)
    if journal is not None and arguments.shards is not None:
        packer = Packer(place, journal, list(map(str, sources)), arguments.shards, arguments.shard_kind, part)
        place = make_place(parser, str(packer.waiting))
    engine = None
    if arguments.engine == "ray":
        engine, workers = _connect(parser, arguments)
    else:
        workers = count_workers(sources) if len(sources) > 1 else 1
    groups = [[source] for source in sources]
    return process_files(
        groups,
        plan,
        failures,
        place,
        workers=workers,
        engine=engine,
        report=name,
        journal=journal,
        packer=packer,
        batches=batches,
    )


def _connect(parser: Parser, arguments: argparse.Namespace) -> tuple[Engine, int]:
    """Connect to a Ray cluster; return its engine, and the number of workers."""
    from fastgs.distributed import engine

    try:
        engine.connect()
    except ValueError as error:
        parser.error(f"argument --engine: {error}")
    gpus = getattr(arguments, "backend", "cpu") in ("auto", "cuda")
    return partial(engine.outcomes, gpus=gpus), arguments.workers or engine.count_workers(gpus)


def _open_journal(parser: Parser, arguments: argparse.Namespace, place: Place, settings: Mapping[str, Any]) -> Journal:
    """Open the journal of a job; exit with one line if it cannot be gone on with."""
    try:
        return Journal(place, arguments.shard.name("jobs", ".jsonl"), settings, arguments.resume)
    except OtherSettingsError as error:
        parser.error(
            f"argument --resume: {error}; give the same settings or another --output, or begin anew without --resume"
        )
    except ValueError as error:
        parser.error(f"argument --resume: {error}")
    except OSError as error:
        parser.error(f"argument --resume: {place} cannot be read ({error.strerror or error})")


def process_files(
    groups: Sequence[list[Source]],
    plan: Plan,
    failures: Failures,
    place: Place,
    subject: str | None = None,
    workers: int = 1,
    engine: Engine | None = None,
    report: str | None = None,
    journal: Journal | None = None,
    packer: Packer | None = None,
    batches: Batches | None = None,
) -> int:
    """Do the work on every group of input files that it can be done on, and say on which it could not.

    Args:
        groups: Files that are processed together.
        plan: Callable that prepares the work on a group.
        failures: List of what failed, also before.
        place: Folder for the outputs.
        subject: Name of a group in messages; by default that of its first file.
        workers: Number of processes, each of which takes the next group; with one, it is this one.
        engine: Function that runs tasks elsewhere; by default in processes of this machine.
        report: Name of the file for the records of what was done, in the order of the groups; it is written from time
            to time, and at the end.
        journal: Journal of what is done, in the folder of the report; None for work that is not resumed.
        packer: Packer of what is done into shards; the outputs then go to its folder of waiting files.
        batches: Work on several groups at once.

    Returns:
        The exit code.
    """
    items = _make_items(groups, subject, journal, packer)
    home = place if journal is None else journal.place
    results = _Results(failures, home, report, journal, packer)
    workers = min(workers, len(items))
    apart, rest = _split(items) if workers > 1 or engine is not None else ([], items)
    # Links to inputs count only where files are on this disk.
    inputs = identities(Path(each.location) for group in groups for each in group if not each.is_remote)
    with _open_stage(home, journal) as stage:
        if stage is None:
            say_error(f"{home}: another run of this job is at work; wait for its end, or choose another --output")
            return FAILED
        if journal is not None:
            journal.stage = stage
        if packer is not None:
            packer.open()
        work = _Work(plan, batches, place, stage, inputs, failures.empty(), journal is not None)
        try:
            if apart:
                if engine is None:
                    from fastgs.runtime.pool import outcomes  # deferred: brings in what starts processes

                    engine = outcomes
                with batch_progress(len(items)) as show:
                    _process_apart(_chunk(apart, batches), work, results, workers, engine, show)
            for task in _chunk(rest, batches):
                work.prepare(task)
                for item in task:
                    label = item.label + results.describe_pace(len(items))
                    results.add(item, work.run(item._replace(label=label), results.written))
        finally:
            results.flush()
    if len(items) >= MANY:
        results.summarize(len(items))
    return FAILED if failures else 0


class _Item(NamedTuple):
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


class _Result(NamedTuple):
    """Result of an item.

    Attributes:
        line: Files that were written, and the record; None if it failed.
        text: Line to print.
        said: Text for stderr.
        error: Reason of the failure.
        is_kept: True if it was done before.
    """

    line: Line | None
    text: str = ""
    said: str = ""
    error: str = ""
    is_kept: bool = False


@dataclass(frozen=True)
class _Work:
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

    def run(self, item: _Item, written: Mapping[str, str]) -> _Result:
        """Do the work on an item; what fails is said on stderr.

        Args:
            item: The item.
            written: Names of the files that the run has written so far, with the input of each.
        """
        failures = self.failures.empty()
        with reporting(item.subject, failures):
            digest, line = self._look_up(item)
            if line is not None:
                return _Result(line, is_kept=True)
            job = self.plan(item.sources, item.label)
            self._check(job.outputs, {**item.taken, **written})
            with self._make_folder() as folder:
                done = job.run(folder)
                files = self.place.put(folder / name for name in job.outputs)
            return _Result(Line(item.subject, digest or "", tuple(files), done.record), done.line)
        return _Result(None, error=failures.reason)

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

    def run_quietly(self, items: list[_Item]) -> list[_Result]:
        """Do the work on items that cannot meet others; what is to be said is in the results."""
        self.prepare(items)
        results = []
        for item in items:
            with redirect_stderr(io.StringIO()) as said, showing_warnings():
                result = self.run(item, {})
            results.append(result._replace(said=said.getvalue()))
        return results

    def prepare(self, items: list[_Item]) -> None:
        """Do what is done for several items at once, unless all of them were done before.

        It is done for all of them even if some were, since results depend on each other by rounding.
        """
        if self.batches is not None and any(self._look_up(item)[1] is None for item in items):
            self.batches.prepare([source for item in items for source in item.sources])

    def _look_up(self, item: _Item) -> tuple[str | None, Line | None]:
        """Return the SHA-256 of an item, and the line of a journal by which it was done before."""
        digest = join_digests([each.sha256() for each in item.sources]) if self.is_journaled else None
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


@dataclass
class _Results:
    """Results of a run: they are written down at once, and lines printed in the order of the items.

    So what a run prints does not depend on the number of processes.

    Attributes:
        failures: List of what failed.
        place: Folder of the report and the journal.
        report: Name of the file for the records; None if there is none.
        journal: Journal of what is done; None if there is none.
        packer: Packer of what is done into shards; None if there are none.
        written: Names of the files that were written, with the input of each.
    """

    failures: Failures
    place: Place
    report: str | None
    journal: Journal | None
    packer: Packer | None = None
    written: dict[str, str] = field(default_factory=dict)
    _records: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _waiting: dict[int, _Result] = field(default_factory=dict)
    _next: int = 0
    _counts: Counter[str] = field(default_factory=Counter)
    _begin: float = field(default_factory=time.perf_counter)
    _throttle: Throttle = field(default_factory=Throttle)
    _is_reported: bool = True

    def add(self, item: _Item, result: _Result) -> None:
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

    def _write_down(self, item: _Item, result: _Result) -> None:
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
        records = (record for _, record in sorted(self._records.items()))
        with reporting(self.place.file(self.report), self.failures):
            if self.journal is not None:
                self.place.write(self.report, format_records(records), self.journal.stage)
            else:
                write_records(self.place.path(self.report), records)
        self._throttle.wrote(time.perf_counter() - begin)

    def _print(self, number: int) -> None:
        result = self._waiting.pop(number)
        print(result.said, end="", file=sys.stderr)
        if result.line is not None and not result.is_kept:
            with reporting("standard output", self.failures):
                announce(result.text)


def _make_items(
    groups: Sequence[list[Source]], subject: str | None, journal: Journal | None, packer: Packer | None
) -> list[_Item]:
    """Return the items of a run, each with the lines of a journal that may be of its files."""
    subjects = [subject or str(group[0]) for group in groups]
    here, items = set(subjects), []
    for number, (group, name) in enumerate(zip(groups, subjects, strict=True)):
        label = subject or (group[0].name if len(groups) == 1 else f"{group[0].name} ({number + 1} of {len(groups)})")
        lines = [] if journal is None else journal.find(group[0].stem)
        taken = {output.name: line.name for line in lines if line.name not in here for output in line.outputs}
        is_packed = packer is not None and name in packer.packed
        items.append(_Item(number, group, name, label, lines, taken, is_packed))
    return items


def _chunk(items: Sequence[_Item], batches: Batches | None) -> list[list[_Item]]:
    """Return tasks of as many items as are done at once."""
    size = 1 if batches is None else batches.size
    return [list(items[first : first + size]) for first in range(0, len(items), size)]


def _process_apart(
    tasks: Sequence[list[_Item]],
    work: _Work,
    results: _Results,
    workers: int,
    engine: Engine,
    show: Callable[[float, str], None],
) -> None:
    """Process items in other processes; those on which a process dies come again, alone, when the others are done."""
    count, pending = 0, tasks
    for attempt in range(1, TRIES + 1):
        died: list[list[_Item]] = []
        with closing(engine(pending, work.run_quietly, workers)) as ended:
            for task, outcome in ended:
                try:
                    found = outcome()
                except BrokenExecutor:
                    if attempt < TRIES:
                        died += [[item] for item in task]
                        continue
                    found = [_give_up(item) for item in task]
                for item, result in zip(task, found, strict=True):
                    results.add(item, result)
                count += len(task)
                show(count, task[-1].sources[0].name + results.describe_pace())
        pending = died
        if not pending:
            return


def _give_up(item: _Item) -> _Result:
    """Return the result of an item on which process after process has died."""
    error = f"its process was killed {TRIES} times, perhaps for lack of memory; try fewer --workers"
    with redirect_stderr(io.StringIO()) as said:
        say_error(f"{item.subject}: {error}")
    return _Result(None, said=said.getvalue(), error=error)


@contextmanager
def _open_stage(place: Place, journal: Journal | None) -> Iterator[str | None]:
    """Yield the folder where files are made, on the disk of the outputs if that is local.

    A job has one of its own, and what was killed does not outlive the next run, which empties it. It is also a lock.

    Yields:
        The folder, empty for that of the system; None if another run of this job uses it.
    """
    if journal is None or not place.is_local:
        yield place.location if place.is_local else ""
        return
    stage = place.path(f".{Path(journal.name).stem}")
    stage.mkdir(exist_ok=True)
    with exclusive(stage) as is_free:
        if not is_free:
            yield None
            return
        try:
            for leftover in stage.iterdir():  # not the folder itself, which is the lock
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink()
            yield str(stage)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _split(items: Sequence[_Item]) -> tuple[list[_Item], list[_Item]]:
    """Split items into those that can be processed in any order, and others, whose outputs may be those of one before.

    Outputs are named after the input, STEM or STEM-plots with some suffix, so that only inputs of one stem can meet.
    """
    apart: dict[str, _Item] = {}
    rest = []
    for item in items:
        # Some file systems do not tell capitals from small letters.
        key = re.sub(r"(-plots)*$", "", item.sources[0].stem.casefold())
        if apart.setdefault(key, item) is not item:
            rest.append(item)
    return list(apart.values()), rest
