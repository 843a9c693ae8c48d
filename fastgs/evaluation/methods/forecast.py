"""Forecast of how long fits take: from records of the same configuration, or from a short trial."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from statistics import fmean

from fastgs.evaluation.methods.measure import time_iteration
from fastgs.evaluation.methods.records import MethodRecord, MethodTask
from fastgs.evaluation.tables import group_by
from fastgs.runtime import threads
from fastgs.runtime.pool import outcomes

Kind = tuple[str, int, int | None]  # method, K and size, on which the time of an iteration depends


def _kind(task: MethodTask) -> Kind:
    """Return what the time of an iteration depends on."""
    return task.method, task.num_gaussians, task.size


class Forecast:
    """Seconds that pending fits take; records of this run mend it.

    Fits of a number of iterations, on processes that work side by side.

    Args:
        pending: Fits that are still to be done.
        records: Records of earlier runs.
        workers: Number of processes.
    """

    def __init__(self, pending: Sequence[MethodTask], records: Iterable[MethodRecord], workers: int) -> None:
        self._pending = set(pending)
        self._workers = workers
        share = max(1, threads.num_threads() // workers)
        usable = [each for each in records if each.iterations and (each.workers, each.threads) == (workers, share)]
        self._seconds = {
            kind: fmean(each.seconds_fit / each.iterations for each in members)
            for kind, members in group_by(usable, _kind).items()
        }

    def measure(self) -> None:
        """Time a few iterations of each kind of fit that no record tells of, as many at once as there are processes."""
        unknown = {_kind(task): task for task in self._pending if _kind(task) not in self._seconds}
        tasks = sorted(unknown.values(), key=lambda task: str(_kind(task)))
        for task, outcome in outcomes(deque(tasks), time_iteration, min(self._workers, max(1, len(tasks)))):
            with suppress(ValueError, OSError):  # the fit itself will report what is wrong
                self._seconds[_kind(task)] = outcome()

    def add(self, record: MethodRecord) -> None:
        """Take a fit that is done into account."""
        self._pending.discard(record.task)
        if record.iterations:
            self._seconds[_kind(record)] = record.seconds_fit / record.iterations

    @property
    def left(self) -> timedelta:
        """Time until all fits are done."""
        seconds = sum(self._seconds.get(_kind(task), 0.0) * (task.budget.iterations or 0) for task in self._pending)
        return timedelta(seconds=round(seconds / self._workers))
