"""The loop of subcommands that take files: each one that can be processed is, and the others are listed."""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing, contextmanager, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from fastgs.cli.console import FAILED, Failures, Parser, identities, say_error
from fastgs.cli.images import list_sources, make_place
from fastgs.cli.progress import batch_progress
from fastgs.cli.results import Results
from fastgs.cli.tasks import Tasks
from fastgs.cli.work import SECONDS_PER_BATCH, Batches, Item, Plan, Result, Work
from fastgs.io.files import exclusive
from fastgs.io.places import Place
from fastgs.jobs.journal import Journal, OtherSettingsError, Part
from fastgs.jobs.packing import Packer
from fastgs.jobs.sources import Source

# Number of times that a process may die on one image before that is set aside.
TRIES = 3
# Number of images from which on the end of a run is summed up: the lines about fewer are still to be seen.
MANY = 10


class Engine(Protocol):
    """Function that runs tasks as `fastgs.runtime.pool.outcomes` does."""

    def __call__(
        self, tasks: Tasks, measure: Callable[[list[Item]], list[Result]], workers: int
    ) -> Generator[tuple[list[Item], Callable[[], list[Result]]], None, None]:
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
        return FAILED if failures else process_files([sources], plan, Results(failures, place, name), place, together)
    if arguments.shards is not None:  # which images share one follows from the list of all
        names = "\n".join(map(str, sources)).encode("utf-8", "surrogateescape")
        images = hashlib.sha256(names).hexdigest()[:12]
        settings = {**settings, "images": images, "shards": arguments.shards, "shard_kind": arguments.shard_kind}
        settings = {**settings, "parts": part.total}
    sources = [sources[number] for number in part.select(len(sources))]
    results = Results(failures, place, name)
    if len(sources) > 1 or arguments.resume or part.total > 1 or arguments.shards is not None:
        results.journal = _open_journal(parser, arguments, place, settings)
    if results.journal is not None and arguments.shards is not None:
        here = list(map(str, sources))
        results.packer = Packer(place, results.journal, here, arguments.shards, arguments.shard_kind, part)
        place = make_place(parser, str(results.packer.waiting))
    engine = None
    if arguments.engine == "ray":
        engine, workers = _connect(parser, arguments)
    else:
        workers = count_workers(sources) if len(sources) > 1 else 1
    groups = [[source] for source in sources]
    return process_files(groups, plan, results, place, workers=workers, engine=engine, batches=batches)


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
    results: Results,
    place: Place,
    subject: str | None = None,
    workers: int = 1,
    engine: Engine | None = None,
    batches: Batches | None = None,
) -> int:
    """Do the work on every group of input files that it can be done on, and say on which it could not.

    Args:
        groups: Files that are processed together.
        plan: Callable that prepares the work on a group.
        results: Results of the run, none so far; what failed before is in its list of failures.
        place: Folder for the outputs, which is that of the results unless they are packed into shards.
        subject: Name of a group in messages; by default that of its first file.
        workers: Number of processes, each of which takes the next group; with one, it is this one.
        engine: Function that runs tasks elsewhere; by default in processes of this machine.
        batches: Work on several groups at once.

    Returns:
        The exit code.
    """
    journal, packer, failures = results.journal, results.packer, results.failures
    items = _make_items(groups, subject, journal, packer)
    workers = min(workers, len(items))
    apart, rest = _split(items) if workers > 1 or engine is not None else ([], items)
    # Links to inputs count only where files are on this disk.
    inputs = identities(Path(each.location) for group in groups for each in group if not each.is_remote)
    with _open_stage(results.place, journal) as stage:
        if stage is None:
            advice = "wait for its end, or choose another --output"
            say_error(f"{results.place}: another run of this job is at work; {advice}")
            return FAILED
        if journal is not None:
            journal.stage = stage
        if packer is not None:
            packer.open()
        work = Work(plan, batches, place, stage, inputs, failures.empty(), journal is not None)
        try:
            if apart:
                if engine is None:
                    from fastgs.runtime.pool import outcomes  # deferred: brings in what starts processes

                    engine = outcomes
                with batch_progress(len(items)) as show:
                    _process_apart(apart, work, results, workers, engine, show)
            _process_here(rest, work, results, len(items))
        finally:
            results.flush()
    if len(items) >= MANY:
        results.summarize(len(items))
    return FAILED if failures else 0


def _make_items(
    groups: Sequence[list[Source]], subject: str | None, journal: Journal | None, packer: Packer | None
) -> list[Item]:
    """Return the items of a run, each with the lines of a journal that may be of its files."""
    subjects = [subject or str(group[0]) for group in groups]
    here, items = set(subjects), []
    for number, (group, name) in enumerate(zip(groups, subjects, strict=True)):
        label = subject or (group[0].name if len(groups) == 1 else f"{group[0].name} ({number + 1} of {len(groups)})")
        lines = [] if journal is None else journal.find(group[0].stem)
        taken = {output.name: line.name for line in lines if line.name not in here for output in line.outputs}
        is_packed = packer is not None and name in packer.packed
        items.append(Item(number, group, name, label, lines, taken, is_packed))
    return items


def _process_here(items: Sequence[Item], work: Work, results: Results, total: int) -> None:
    """Process items of a run of so many in this process."""
    tasks = Tasks(items, 1, 1) if work.batches is None else Tasks(items, 1, work.batches.size, SECONDS_PER_BATCH)
    while tasks:
        task, found, begin = tasks.popleft(), list[Result](), time.perf_counter()
        work.prepare(task)
        for item in task:
            label = item.label + results.describe_pace(total)
            found.append(work.run(item._replace(label=label), results.written))
            results.add(item, found[-1])
        seconds = (time.perf_counter() - begin) / len(task)
        tasks.done(task, [each._replace(seconds=seconds) for each in found])


def _process_apart(
    items: Sequence[Item],
    work: Work,
    results: Results,
    workers: int,
    engine: Engine,
    show: Callable[[float, str], None],
) -> None:
    """Process items in other processes; those on which a process dies come again, alone, when the others are done."""
    count, batches = 0, work.batches
    tasks = Tasks(items, workers) if batches is None else Tasks(items, workers, batches.size, SECONDS_PER_BATCH)
    for attempt in range(1, TRIES + 1):
        died: list[Item] = []
        with closing(engine(tasks, work.run_quietly, workers)) as ended:
            for task, outcome in ended:
                try:
                    found = outcome()
                except BrokenExecutor:
                    if attempt < TRIES:
                        died += task
                        continue
                    found = [_give_up(item) for item in task]
                tasks.done(task, found)
                for item, result in zip(task, found, strict=False):  # the rest has come back
                    results.add(item, result)
                count += len(found)
                show(count, task[len(found) - 1].sources[0].name + results.describe_pace())
        tasks = Tasks(died, workers, 1)
        if not tasks:
            return


def _give_up(item: Item) -> Result:
    """Return the result of an item on which process after process has died."""
    error = f"its process was killed {TRIES} times, perhaps for lack of memory; try fewer --workers"
    with redirect_stderr(io.StringIO()) as said:
        say_error(f"{item.subject}: {error}")
    return Result(None, said=said.getvalue(), error=error)


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


def _split(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Split items into those that can be processed in any order, and others, whose outputs may be those of one before.

    Outputs are named after the input, STEM or STEM-plots with some suffix, so that only inputs of one stem can meet.
    """
    apart: dict[str, Item] = {}
    rest = []
    for item in items:
        # Some file systems do not tell capitals from small letters.
        key = re.sub(r"(-plots)*$", "", item.sources[0].stem.casefold())
        if apart.setdefault(key, item) is not item:
            rest.append(item)
    return list(apart.values()), rest
