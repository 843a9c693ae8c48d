"""Thread pool for kernels that release the interpreter lock.

The parallel layers of numba are not used: the OpenMP layer ends the process when a forked child (a DataLoader worker)
enters a kernel, and the workqueue layer must not be called from several Python threads. Plain threads allow both. Each
call of a kernel owns the memory that it writes, so results do not depend on the number of threads.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_pool: ThreadPoolExecutor | None = None


class _Local(threading.local):
    reserved: int | None = None  # per thread, like torch's number of threads


_local = _Local()


def _forget_pool() -> None:
    global _pool
    _pool = None


# Threads do not survive a fork: the child makes its own pool.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def num_threads() -> int:
    """Return the number of threads of kernels: torch's (`torch.set_num_threads`), or that before `reserved`.

    Where torch is not imported, it is the number that torch would begin with, about.
    """
    torch = sys.modules.get("torch")
    return _local.reserved or (_count_cores() if torch is None else int(torch.get_num_threads()))


def set_num_threads(number: int) -> None:
    """Set the number of threads of kernels and of torch, also if torch is imported later."""
    os.environ["OMP_NUM_THREADS"] = str(number)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(number)


def _count_cores() -> int:
    """Return OMP_NUM_THREADS, or the number of cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def reserved(number: int | None = None) -> Iterator[None]:
    """Keep the cores for kernels: within this context, operators of torch run in the calling thread alone.

    Idle threads of OpenMP spin for a while after every operator, on the cores that the next kernel needs, and its
    barriers wait for the slowest thread. For the small operators of a fit one thread is faster: 5.8 ms instead of 7.8
    for an iteration with 10,000 Gaussians on two cores, and many times faster if another process uses one of them.

    The setting is that of the calling thread. But torch hands the newest setting on to new threads: one that uses torch
    for the first time within this context starts with one thread.

    Args:
        number: Number of threads of kernels in this context, at least 1; by default as many as outside.
    """
    import torch  # deferred: kernels run without it

    outer, before = _local.reserved, torch.get_num_threads()
    _local.reserved = num_threads() if number is None else number
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _local.reserved = outer


def parts(count: int, number: int) -> list[tuple[int, int]]:
    """Split [0, count) into intervals of about equal length.

    Args:
        count: Length of the whole, from 0 up.
        number: Number of intervals, at least 1; empty ones are left out.

    Returns:
        (start, stop) of each.
    """
    edges = [count * part // number for part in range(number + 1)]
    return [(start, stop) for start, stop in pairwise(edges) if start < stop]


def shares(count: int, number: int) -> list[tuple[int, int]]:
    """Split [0, count) into so many intervals for each thread of kernels, or into one if there is one thread."""
    threads = num_threads()
    return parts(count, number * threads if threads > 1 else 1)


def run(kernel: Callable[..., None], shared: tuple[Any, ...], parts: list[tuple[int, int]]) -> None:
    """Call `kernel(*shared, start, stop)` for every part, in this thread and in the pool.

    Each thread takes the next part when it is done with one. There should be several parts per thread: a worker may
    need a millisecond to wake up, and a worker that comes too late finds no part left and is not waited for.

    Args:
        kernel: Function that releases the interpreter lock, and writes only what belongs to its part.
        shared: Arguments of all calls.
        parts: (start, stop) of each call.
    """
    global _pool
    workers = min(num_threads(), len(parts)) - 1
    if workers > 0 and _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="fastgs")
    pending = deque(parts)

    def drain() -> None:
        while True:
            try:
                part = pending.popleft()
            except IndexError:
                return
            try:
                kernel(*shared, *part)
            except BaseException:
                pending.clear()  # also what other threads would go on with
                raise

    futures = [_pool.submit(drain) for _ in range(workers)] if _pool is not None else []
    drain()
    for future in futures:
        if not future.cancel():
            future.result()


def apply(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Return `function(item)` for every item, in their order; each call has one thread for itself.

    For tasks that are too short to share each among the threads, and that spend most of their time without the
    interpreter lock. In a call, kernels and operators of torch run in its own thread, as within `reserved(1)`.
    """
    results: dict[int, _Result] = {}

    def work(start: int, stop: int) -> None:
        with reserved(1):
            for number in range(start, stop):
                results[number] = function(items[number])

    run(work, (), parts(len(items), max(1, len(items))))
    return [results[number] for number in range(len(items))]
