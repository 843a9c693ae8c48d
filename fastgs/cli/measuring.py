"""What measuring methods and codecs share: images, records that are there already, and one file kept up to date."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from fastgs.cli.console import FAILED, Failures, Parser, announce, batch_progress, make_folder, reporting, say_error
from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.evaluation.methods.records import Record
from fastgs.evaluation.records import Storable, load_records, save_records
from fastgs.fitting.fit import HistoryEntry
from fastgs.io.images import find_images, load_image
from fastgs.runtime.pool import outcomes

# Where `fastgs download` puts them, and how to call it.
DATASETS = {"kodak": ("data/kodak", "kodak"), "div2k": ("data/DIV2K_valid_HR", "div2k --split valid")}


class Cell(Hashable, Protocol):
    """What is to be measured on an image, and what tells its record from all others."""

    @property
    def image(self) -> str:
        """Path."""

    def picture_name(self) -> str:
        """Name of the file for what comes out, where pictures are kept."""


_Task = TypeVar("_Task", bound=Cell)


class Outcome(Storable, Protocol):
    """A record of a cell."""

    @property
    def task(self) -> Any:
        """The cell."""

    @property
    def result(self) -> str:
        """In a few words."""

    @property
    def picture(self) -> str | None:
        """Path of what came out, if it was kept."""

    @property
    def has_picture(self) -> bool:
        """Whether anything came out that can be kept."""


_Record = TypeVar("_Record", bound=Outcome)
_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class Work(Generic[_Task, _Record]):
    """A kind of measurement.

    Attributes:
        cells: the tasks on an image, given its path and the SHA-256 of its file.
        rank: tasks come in the order of this number, and those of one rank in the order of images.
        measure: see `fastgs.evaluation.methods.measure.measure`.
        share: how much of a task is done, in [0, 1], if this is the newest entry of its history.
        kind: of the records.
    """

    cells: Callable[[str, str], Sequence[_Task]]
    rank: Callable[[_Task], int]
    measure: Callable[..., _Record]
    share: Callable[[_Task, HistoryEntry], float]
    kind: type[_Record]


def measure_all(parser: Parser, arguments: argparse.Namespace, work: Work[_Task, _Record]) -> int:
    """Measure what can be and is not yet, say what could not, and keep the file up to date.

    Args:
        parser: ends with one line where the arguments are wrong.
        arguments: data, size, output, pictures and workers.
        work: what to do on every image.

    Returns:
        The exit code.
    """
    failures = Failures(parser)
    paths: list[Path] = []
    for given in arguments.data:
        with reporting(Path(given), failures):
            paths += find_images(_resolve(parser, given))
    records = _existing_records(parser, arguments.output, work.kind)
    make_folder(parser, arguments.output.parent)
    if arguments.pictures is not None:
        make_folder(parser, arguments.pictures, "--pictures")

    tasks, pending = _plan(arguments, paths, work, records, failures)
    if records:
        with reporting(arguments.output, failures):
            save_records(arguments.output, ordered(records, tasks))
    try:
        for record in _measured(arguments, pending, work, failures):
            records[record.task] = record
            with reporting(arguments.output, failures):
                save_records(arguments.output, ordered(records, tasks))
            with reporting("standard output", failures):
                announce(f"{record.task.image}: {record.task}  {record.result}")
    except BrokenExecutor:
        say_error("a worker process was killed, perhaps for lack of memory; repeat with fewer --workers to go on")
        return FAILED
    return FAILED if failures else 0


def _measured(
    arguments: argparse.Namespace, pending: Sequence[_Task], work: Work[_Task, _Record], failures: Failures
) -> Iterator[_Record]:
    """The records of tasks as they come, with a bar on stderr."""
    with batch_progress(len(pending)) as show:
        done = 0

        def watch(task: _Task, entry: HistoryEntry) -> None:
            state = f"{Path(task.image).name}: {task}: step {entry.iteration:,}, {entry.psnr:.2f} dB"
            show(done + min(work.share(task, entry), 1), state)

        workers = min(arguments.workers, max(1, len(pending)))
        # Other processes have no bar to move.
        options = {"callback": watch} if workers == 1 else {}
        measure = partial(work.measure, pictures=arguments.pictures, workers=workers, **options)
        for task, outcome in outcomes(pending, measure, workers):
            with reporting(f"{task.image}: {task}", failures):
                record = outcome()
                yield record
                show(done + 1, f"{Path(task.image).name}: {task}: {record.result}")
            done += 1


def _resolve(parser: Parser, given: str) -> str:
    """A path, which may be that of a dataset."""
    if given not in DATASETS:
        return given
    folder, arguments = DATASETS[given]
    if not Path(folder).is_dir():
        parser.error(f"argument DATA: {given} is not at {folder}; get it with `fastgs download {arguments}`")
    return folder


def _existing_records(parser: Parser, path: Path, kind: type[_Record]) -> dict[Any, _Record]:
    """The records that a file has already; end with one line if it is no such file."""
    if not path.exists():
        return {}
    try:
        found: list[Record | CodecRecord] = load_records(path, Record, CodecRecord)
    except ValueError as error:
        parser.error(f"argument --output: {error}")
    records: dict[Any, _Record] = {record.task: record for record in found if isinstance(record, kind)}
    if len(records) < len(found):
        parser.error(f"argument --output: {path}: methods and codecs cannot share a file; name another")
    return records


def _plan(
    arguments: argparse.Namespace,
    paths: list[Path],
    work: Work[_Task, _Record],
    records: dict[Any, _Record],
    failures: Failures,
) -> tuple[list[_Task], list[_Task]]:
    """All tasks on the images that can be read, in order, and those of them that are still to be done."""
    tasks: list[_Task] = []
    pending: set[_Task] = set()
    for path in dict.fromkeys(paths):
        with reporting(path, failures):
            mine = work.cells(str(path), _sha256(path))
            new = {task for task in mine if task not in records or _lacks_picture(records[task], arguments.pictures)}
            if new:
                load_image(path, arguments.size)  # says now, and once, what would else be said of every task
            tasks += mine
            pending |= new
    tasks.sort(key=work.rank)  # stable: images keep their order
    return tasks, [task for task in tasks if task in pending]


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        load_image(path)  # which says in one line what is wrong
        raise


def _lacks_picture(record: Outcome, folder: Path | None) -> bool:
    """Whether pictures are asked for now, but were not when the record was made."""
    if folder is None or not record.has_picture:
        return False
    picture = folder / record.task.picture_name()
    return record.picture != str(picture) or not picture.exists()


def ordered(records: Mapping[Any, _Kept], tasks: Sequence[Any]) -> list[_Kept]:
    """Records by task as a file has them: those of other commands as they were, then this one's in order."""
    mine = dict.fromkeys(tasks)
    others = [record for task, record in records.items() if task not in mine]
    return others + [records[task] for task in tasks if task in records]
