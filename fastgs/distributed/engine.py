"""Execution of independent tasks on a Ray cluster, as `fastgs.runtime.pool.outcomes` does it in processes."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Generator
from concurrent.futures import BrokenExecutor
from functools import partial
from typing import Any, TypeVar

from fastgs.runtime import threads
from fastgs.runtime.plugins import load_plugins
from fastgs.runtime.pool import Queue

PATIENCE = 20.0  # seconds that a cluster has to answer

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def connect() -> None:
    """Connect to the Ray cluster of RAY_ADDRESS or of this machine, or start one on this machine.

    Raises:
        ValueError: Ray is not installed, or there is no such cluster; one line.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"needs Ray ({error}); install it by: pip install 'fastgs[ray]'") from error
    if ray.is_initialized():
        return
    try:
        host, colon, port = os.environ.get("RAY_ADDRESS", "").rpartition("//")[2].partition(":")
        if colon and port.isdecimal():  # Ray itself would wait for an address that does not answer
            socket.create_connection((host, int(port)), PATIENCE).close()
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"cannot connect to a Ray cluster ({reason}); check RAY_ADDRESS") from error


def count_workers(gpus: bool) -> int:
    """Return the number of workers that the cluster has room for.

    Args:
        gpus: True if each needs a GPU, where the cluster has some.
    """
    import ray

    resources = ray.cluster_resources()
    count = resources.get("GPU", 0) if gpus else 0
    return max(1, int(count or resources.get("CPU", 1)))


def outcomes(
    tasks: Queue[_Task], measure: Callable[[_Task], _Result], workers: int, gpus: bool = False
) -> Generator[tuple[_Task, Callable[[], _Result]], None, None]:
    """Run tasks on the cluster, and yield the outcome of each, see `fastgs.runtime.pool.outcomes`.

    Args:
        tasks: Tasks; more may come until the last outcome was yielded and used.
        measure: Function that returns the result of a task; it, the tasks and the results must be picklable.
        workers: Number of workers, each on one CPU.
        gpus: True to give each worker a GPU, where the cluster has some.

    Yields:
        (task, outcome), in the order in which they end. Calling the outcome returns the result, or raises the exception
        of `measure`, or BrokenExecutor if the worker died that worked on the task.
    """
    import ray

    need = 1 if gpus and ray.cluster_resources().get("GPU", 0) else 0
    # A worker is replaced here and not by Ray, which would try a task that kills its worker forever.
    kind = ray.remote(_Worker).options(num_cpus=1, num_gpus=need, max_restarts=0)
    function = ray.put(measure)
    idle, busy, crew = list[Any](), dict[Any, tuple[Any, _Task]](), set[Any]()
    try:
        while busy or tasks:
            while tasks and (idle or len(crew) < workers):
                worker, task = idle.pop() if idle else kind.remote(function), tasks.popleft()
                crew.add(worker)
                busy[worker.run.remote(task)] = worker, task
            ended, _ = ray.wait(list(busy), num_returns=1)
            for reference in ended:
                worker, task = busy.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayActorError:
                    crew.discard(worker)
                    outcome: Callable[[], _Result] = partial(_fail, BrokenExecutor("its worker died"))
                except Exception as error:
                    idle.append(worker)
                    outcome = partial(_fail, error)
                else:
                    idle.append(worker)
                    outcome = partial(_give, result)
                yield task, outcome
    finally:
        for worker in crew:
            ray.kill(worker)


class _Worker:
    """A worker of the cluster, with one thread where others work beside it.

    Args:
        measure: Function that returns the result of a task.
    """

    def __init__(self, measure: Callable[[Any], Any]) -> None:
        threads.set_num_threads(1)
        load_plugins()
        self._measure = measure

    def run(self, task: Any) -> Any:
        """Return the result of a task."""
        return self._measure(task)


def _give(result: _Result) -> _Result:
    return result


def _fail(error: Exception) -> Any:
    raise error
