"""Items of a run as the tasks of processes: several small ones at once, large ones one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from fastgs.cli.work import SECONDS_PER_TASK, Item, Result

MOST = 32  # items of a task: what they say and print waits until it is done


class Tasks:
    """Queue of tasks, for `fastgs.runtime.pool.outcomes`.

    To hand over an image takes about a millisecond, which is a quarter of the fit of a small one. So a task has as many
    items as take its time, by those that were done last; the first one has one. What a process had no time
    for comes back, so that neither a large image behind small ones nor a process that is killed holds up many.

    Args:
        items: The items, in order.
        workers: Number of processes.
        size: Number of items of each task, which are done together; by default it follows from their time.
        seconds: Time of a task then.
    """

    def __init__(
        self, items: Iterable[Item], workers: int, size: int | None = None, seconds: float = SECONDS_PER_TASK
    ) -> None:
        self._items = deque(items)
        self._workers = workers
        self._fixed, self._seconds = size, seconds
        self._size = 1

    def __len__(self) -> int:
        return len(self._items)

    def popleft(self) -> list[Item]:
        """Take the next task; the last items are shared among the processes."""
        share = -(-len(self._items) // self._workers)
        size = min(self._size, share) if self._fixed is None else min(self._fixed, len(self._items))
        return [self._items.popleft() for _ in range(size)]

    def done(self, task: Sequence[Item], results: Sequence[Result]) -> None:
        """Take note of the results of the first items of a task; the other ones come next."""
        self._items.extendleft(reversed(task[len(results) :]))
        seconds = sum(each.seconds for each in results) / len(results)
        self._size = max(1, min(MOST, int(self._seconds / max(seconds, 1e-6))))
