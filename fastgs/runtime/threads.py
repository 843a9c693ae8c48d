"""A thread pool for kernels that release the interpreter lock.

numba's own parallel layers are not used: its OpenMP layer ends the process when a forked child (a DataLoader
worker) enters a kernel, and its workqueue layer is not safe from several Python threads. Plain threads are both,
and each kernel owns what it writes, so results do not depend on the number of threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import torch

_pool: ThreadPoolExecutor | None = None


class _Local(threading.local):
    reserved: int | None = None  # torch counts its threads per calling thread, and so does `reserved`


_local = _Local()


def _forget_pool() -> None:
    global _pool
    _pool = None


# Threads do not survive a fork: the child makes its own pool.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def num_threads() -> int:
    """As many as torch uses on the CPU (`torch.set_num_threads`), or used when `reserved` was entered."""
    return _local.reserved or torch.get_num_threads()


@contextmanager
def reserved() -> Iterator[None]:
    """Keep the cores for kernels: torch's own operators run on one thread meanwhile, in the calling thread.

    OpenMP's idle threads spin for a while after every operator, on the cores that the next kernel needs, and its
    barriers wait for the slowest. For the small operators of a fit one thread is faster: 5.8 ms instead of 7.8 for an
    iteration with 10,000 Gaussians on two cores, and many times faster if another process is using one of them.

    A thread that uses torch for the first time while another holds a reservation starts with one thread: torch hands
    the newest setting on to new threads.
    """
    outer, before = _local.reserved, torch.get_num_threads()
    _local.reserved = num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _local.reserved = outer


def parts(count: int, number: int) -> list[tuple[int, int]]:
    """[0, count) in so many parts of about equal length, fewer if some would be empty."""
    edges = [count * part // number for part in range(number + 1)]
    return [(start, stop) for start, stop in pairwise(edges) if start < stop]


def run(kernel: Callable[..., None], shared: tuple[Any, ...], parts: list[tuple[int, int]]) -> None:
    """Call `kernel(*shared, start, stop)` for every part, in this thread and in the pool.

    Threads take the next part when they are done with one, so give several parts per thread: a worker may need a
    millisecond to wake up, and one that comes too late is not waited for.
    """
    global _pool
    workers = min(num_threads(), len(parts)) - 1
    if workers > 0 and _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="fastgs")
    pending = deque(parts)

    def drain() -> None:
        with suppress(IndexError):
            while True:
                kernel(*shared, *pending.popleft())

    futures = [_pool.submit(drain) for _ in range(workers)] if _pool is not None else []
    drain()
    for future in futures:
        if not future.cancel():
            future.result()
