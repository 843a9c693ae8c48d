"""Execution of independent tasks, one by one in this process or in parallel in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar

from fastgs.runtime import threads
from fastgs.runtime.plugins import load_plugins

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_Next = TypeVar("_Next", covariant=True)

PATIENCE = 10.0  # seconds that interrupted workers have to remove what they have half-written


class Queue(Protocol[_Next]):
    """Tasks to come, such as those of a `collections.deque`."""

    def __len__(self) -> int:
        """Return 0 if there is no task."""

    def popleft(self) -> _Next:
        """Take the next task."""


def outcomes(
    tasks: Queue[_Task], measure: Callable[[_Task], _Result], workers: int = 1
) -> Generator[tuple[_Task, Callable[[], _Result]], None, None]:
    """Run tasks, and yield the outcome of each.

    Args:
        tasks: Tasks, which are taken one after the other. More may come until the last outcome was yielded and used.
        measure: Function that returns the result of a task. With several workers, it, the tasks and the results must
            be picklable.
        workers: Number of processes, from 1 (this one) up. They share the threads of this one.

    Yields:
        (task, outcome), in the order of the tasks for one worker, else in the order in which they end. Calling the
        outcome returns the result, or raises the exception of `measure`, or BrokenExecutor if the process died that
        worked on the task; the tasks after it run in a new one.
    """
    if workers == 1:
        while tasks:
            task = tasks.popleft()
            yield task, partial(measure, task)
        return
    # One executor for each process: when a process dies, its own task is known, and the other ones go on.
    others = set(multiprocessing.active_children())
    crew = [_Worker(measure, max(1, threads.num_threads() // workers)) for _ in range(workers)]
    idle, busy = list(crew), dict[Future[_Result], tuple[_Worker[_Task, _Result], _Task]]()

    def occupy() -> None:
        while idle and tasks:
            worker, task = idle.pop(), tasks.popleft()
            busy[worker.submit(task)] = worker, task

    try:
        occupy()
        while busy:
            ended = [(future, *busy.pop(future)) for future in wait(busy, return_when=FIRST_COMPLETED).done]
            idle += [worker for _, worker, _ in ended]
            occupy()
            while ended:
                future, _, task = ended.pop()
                yield task, future.result  # not kept here: results can be large
                del future
            occupy()  # by tasks that came with these outcomes
        for each in crew:
            each.executor.shutdown(wait=False)
        for each in crew:
            each.executor.shutdown()
    finally:
        for each in crew:
            each.executor.shutdown(wait=False, cancel_futures=True)
        _interrupt(set(multiprocessing.active_children()) - others)


class _Worker(Generic[_Task, _Result]):
    """A process that runs tasks, and is replaced when it dies.

    Args:
        measure: Function that returns the result of a task.
        num_threads: Number of threads of the process.
    """

    def __init__(self, measure: Callable[[_Task], _Result], num_threads: int) -> None:
        self._arguments = (measure, num_threads)
        self.executor = self._make_executor()

    def submit(self, task: _Task) -> Future[_Result]:
        """Run a task; the first one starts the process."""
        with _holding_interrupts():
            try:
                return self.executor.submit(_run, task)
            except BrokenExecutor:  # the process has died
                self.executor = self._make_executor()
                return self.executor.submit(_run, task)

    def _make_executor(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # threads do not survive a fork
        return ProcessPoolExecutor(1, context, _start_worker, self._arguments)


def _interrupt(processes: set[BaseProcess]) -> None:
    """End processes, and wait until those that are at work have removed what they have half-written."""
    for process in processes:
        process.terminate()
    for process in processes:
        if not connection.wait([process.sentinel], PATIENCE):
            process.kill()


@contextmanager
def _holding_interrupts() -> Iterator[None]:
    """Let processes that are started within this context hold back Ctrl-C until they are ready for it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    handler, held = signal.getsignal(signal.SIGINT), list[int]()
    # A thread of another library takes the signal that this one blocks, and it would interrupt this one all the same.
    defers = callable(handler) and threading.current_thread() is threading.main_thread()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        if defers:
            signal.signal(signal.SIGINT, lambda number, _: held.append(number))
        yield
    finally:
        if defers:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if held:
            signal.raise_signal(signal.SIGINT)


# Of a worker: the function that runs its tasks, and whether it runs one.
_measure: Callable[[Any], Any]
_is_busy = False


def _start_worker(measure: Callable[[Any], Any], num_threads: int) -> None:
    """Prepare a new process for tasks."""
    global _measure
    _measure = measure
    threads.set_num_threads(num_threads)
    load_plugins()  # the first process has told of those that cannot be used
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _run(task: Any) -> Any:
    """Return the result of a task, in a worker."""
    global _is_busy
    _is_busy = True
    try:
        return _measure(task)
    except _StopError:
        pass
    finally:
        _is_busy = False
    os._exit(1)  # only here: the frames of the task are gone, and contexts that it was about to enter are closed


class _StopError(BaseException):
    """End of a task before its time."""


def _stop(*_: object) -> None:
    """End this worker quietly, since the first process reports the interruption; a task first removes its files."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if _is_busy:
        raise _StopError
    os._exit(1)


def _exit_with(sentinel: int) -> None:
    """End this process when the parent process ends; a worker would otherwise wait for tasks forever."""
    connection.wait([sentinel])
    os._exit(1)
