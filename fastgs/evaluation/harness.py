"""Loop that measures: it plans what is still to be done, runs it in this process or in several, and keeps the file.

Records that a file has are not made again, so that a run that was broken off continues where it stopped. The file is
saved after each record.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from fastgs.evaluation.records import ImageRecord, ImageTask, Record, save_records
from fastgs.io.images import load_image
from fastgs.runtime.pool import outcomes

# Function that is called along a measurement with the share that is done, in [0, 1], and the state in a few words.
Progress = Callable[[float, str], None]

TaskT = TypeVar("TaskT", bound=Hashable)
ImageTaskT = TypeVar("ImageTaskT", bound=ImageTask)
RecordT = TypeVar("RecordT", bound=Record)
ImageRecordT = TypeVar("ImageRecordT", bound=ImageRecord)
_TaskT_contra = TypeVar("_TaskT_contra", bound=Hashable, contravariant=True)
_RecordT_co = TypeVar("_RecordT_co", bound=Record, covariant=True)


class Measure(Protocol[_TaskT_contra, _RecordT_co]):
    """Function that measures a task; one that can be pickled runs in several processes, too."""

    def __call__(self, task: _TaskT_contra, /, *, progress: Progress | None = None) -> _RecordT_co:
        """Return the record of a task, and call `progress` along the way."""


class Monitor(Protocol):
    """Receiver of what happens while tasks are measured."""

    def guard(self, subject: object) -> AbstractContextManager[None]:
        """Return a context that reports errors which users can mend, as errors of a file, and suppresses them."""

    def attempt(self, task: Any) -> AbstractContextManager[None]:
        """Return such a context for errors of a task."""

    def advance(self, task: Any, done: float, state: str) -> None:
        """Show how many tasks are done, the share of this one included, and its state in a few words."""

    def finish(self, record: Any) -> None:
        """Announce a record."""


@dataclass
class RecordFile(Generic[TaskT, RecordT]):
    """File of records during a run.

    Attributes:
        path: Path of the file.
        records: Records by task, those of earlier runs included.
        tasks: Tasks of this run, in the order in which the file has their records.
    """

    path: Path
    records: dict[TaskT, RecordT]
    tasks: Sequence[TaskT] = field(default_factory=list)

    def save(self) -> None:
        """Write all records: first those of other runs as they were, then those of this run in the order of its tasks.

        Raises:
            OSError: The folder does not exist or is not writable, or the disk is full.
        """
        known = dict.fromkeys(self.tasks)
        others = [record for task, record in self.records.items() if task not in known]
        save_records(self.path, others + [self.records[task] for task in self.tasks if task in self.records])


def measure_tasks(
    file: RecordFile[TaskT, RecordT],
    pending: Sequence[TaskT],
    measure: Measure[TaskT, RecordT],
    monitor: Monitor,
    workers: int = 1,
) -> None:
    """Measure tasks, and save the file after each record; a task that fails is reported, and the others go on.

    Args:
        file: File of the records.
        pending: Tasks to measure.
        measure: Function that measures one.
        monitor: Receiver of progress, records and errors.
        workers: Number of processes; with one, it is this one.

    Raises:
        BrokenExecutor: A process died.
    """
    done = 0

    def advance(task: TaskT, share: float, state: str) -> None:
        monitor.advance(task, done + min(share, 1), state)

    def watched(task: TaskT) -> RecordT:
        return measure(task, progress=partial(advance, task))

    # Other processes cannot move the bar of this one.
    run = watched if workers == 1 else measure
    for task, outcome in outcomes(deque(pending), run, workers):
        with monitor.attempt(task):
            record = outcome()
            file.records[task] = record
            with monitor.guard(file.path):
                file.save()
            monitor.finish(record)
            monitor.advance(task, done + 1, record.result)
        done += 1


def plan_images(
    file: RecordFile[ImageTaskT, ImageRecordT],
    paths: Iterable[Path],
    make_tasks: Callable[[str, str], Sequence[ImageTaskT]],
    rank: Callable[[ImageTaskT], int],
    pictures: Path | None,
    monitor: Monitor,
) -> list[ImageTaskT]:
    """Set the tasks of a file to all those on the images that can be read.

    Args:
        file: File of the records.
        paths: Paths of images; each counts once.
        make_tasks: Function that returns the tasks on an image, given its path and the SHA-256 of its file.
        rank: Function that returns a number by which tasks are ordered; those of one rank keep the order of images.
        pictures: Folder where pictures are wanted; None if they are not.
        monitor: Receiver of errors.

    Returns:
        The tasks that are still to be done, in order.
    """
    tasks: list[ImageTaskT] = []
    pending: set[ImageTaskT] = set()
    for path in dict.fromkeys(paths):
        with monitor.guard(path):
            mine = make_tasks(str(path), _sha256(path))
            new = {task for task in mine if _is_pending(task, file.records.get(task), pictures)}
            for size in dict.fromkeys(task.size for task in mine if task in new):
                load_image(path, size)  # reports now, and once, what would otherwise be reported for every task
            tasks += mine
            pending |= new
    tasks.sort(key=rank)
    file.tasks = tasks
    return [task for task in tasks if task in pending]


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        ImageError: The file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        load_image(path)  # raises an error that says in one line what is wrong
        raise


def _is_pending(task: ImageTask, record: ImageRecord | None, folder: Path | None) -> bool:
    """Return True if a task has no record, or pictures are wanted that were not kept when it was measured."""
    if record is None:
        return True
    if folder is None or not record.has_picture:
        return False
    picture = folder / task.picture_name()
    return record.picture != str(picture) or not picture.exists()
