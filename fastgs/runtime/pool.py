"""Execution of independent tasks, one by one in this process or in parallel in several."""

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
from fastgs.runtime.plugins import load_plugins

_Task = TypeVar("_Task", bound=Hashable)
_Result = TypeVar("_Result")


def outcomes(
    tasks: Sequence[_Task], measure: Callable[[_Task], _Result], workers: int = 1
) -> Iterator[tuple[_Task, Callable[[], _Result]]]:
    """Run tasks, and yield the outcome of each.

    Args:
        tasks: Tasks, each of them once.
        measure: Function that returns the result of a task. With several workers, it, the tasks and the results must
            be picklable.
        workers: Number of processes, from 1 (this one) up. They share the threads of torch.

    Yields:
        (task, outcome), in the order of the tasks for one worker, else in the order in which they end. Calling the
        outcome returns the result, or raises the exception of `measure`, or BrokenExecutor if a process died.
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
            yield futures.pop(future), future.result  # not kept here: results can be large
        pool.shutdown()
    finally:
        # After an interruption, do not wait for tasks that still run.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


def _start_worker(num_threads: int) -> None:
    """Prepare a new process for tasks."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end quietly: the first process reports the interruption
    torch.set_num_threads(num_threads)
    load_plugins()  # the first process has told of those that cannot be used
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()


def _exit_with(sentinel: int) -> None:
    """End this process when the parent process ends; a worker would otherwise wait for tasks forever."""
    wait([sentinel])
    os._exit(1)
