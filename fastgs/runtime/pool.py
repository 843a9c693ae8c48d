"""Tasks one after the other in this process, or side by side in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing.connection import wait
from typing import TypeVar

import torch

from fastgs.runtime import threads

_Task = TypeVar("_Task", bound=Hashable)
_Result = TypeVar("_Result")


def outcomes(
    tasks: Sequence[_Task], measure: Callable[[_Task], _Result], workers: int = 1
) -> Iterator[tuple[_Task, Callable[[], _Result]]]:
    """Measure tasks.

    Args:
        tasks: what to measure.
        measure: gives the result of a task; with several workers, what can be pickled.
        workers: number of processes, from 1 (this one) up, which share the threads.

    Yields:
        (task, outcome), with more workers in the order in which they end. The outcome gives the result, or raises what
        `measure` does, or BrokenExecutor if a process died.
    """
    if workers == 1:
        for task in tasks:
            yield task, partial(measure, task)
        return
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # threads do not survive a fork
    pool = ProcessPoolExecutor(workers, context, _start_worker, (max(1, threads.num_threads() // workers),))
    try:
        futures = {pool.submit(measure, task): task for task in tasks}
        for future in as_completed(list(futures)):
            yield futures.pop(future), future.result  # kept no longer than the caller does: results can be large
        pool.shutdown()
    finally:
        # After an interruption nobody waits for fits that still run.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


def _start_worker(num_threads: int) -> None:
    """Make a new process ready for tasks."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # quiet: the first process says that it was interrupted
    torch.set_num_threads(num_threads)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """Without this, workers of a process that was killed would wait for tasks for ever."""
    wait([sentinel])
    os._exit(1)
