"""Method x image x K x budget: each cell is one fit on the CPU, in this process or in several.

Results do not depend on the number of workers or threads: torch's own operators, whose sums change in the last bits
with the number of threads (and the networks' predictions with them), run on one thread throughout, and the kernels,
which have all threads of the process, do not care. The price is a slower prediction of the networks. Seconds are those
of an undisturbed machine with one worker only.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial
from multiprocessing.connection import wait
from pathlib import Path

import torch

from fastgs.fitting import HistoryEntry
from fastgs.gaussians import Gaussians
from fastgs.images import load_image, save_image
from fastgs.methods import METHODS
from fastgs.metrics import MIN_SSIM_SIZE, ms_ssim, ssim
from fastgs.perceptual import lpips
from fastgs.records import Record, Task
from fastgs.render import render, threads
from fastgs.version import installed_version

RENDERINGS = 5  # of each result, for the median of their seconds


def evaluate(
    tasks: Sequence[Task],
    pictures: Path | None = None,
    workers: int = 1,
    callback: Callable[[Task, HistoryEntry], None] | None = None,
) -> Iterator[tuple[Task, Callable[[], Record]]]:
    """Measure tasks.

    Args:
        tasks: what to measure.
        pictures: an existing folder for targets and reconstructions; None keeps none.
        workers: number of processes, from 1 (this one) up, which share the threads.
        callback: called with a task and every new entry of its history; by one worker, not by several.

    Yields:
        (task, outcome), with more workers in the order in which they end. The outcome gives the record, or raises what
        `measure` does, or BrokenExecutor if a process died.
    """
    if workers == 1:
        for task in tasks:
            yield task, partial(measure, task, pictures, callback=callback and partial(callback, task))
        return
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # threads do not survive a fork
    pool = ProcessPoolExecutor(workers, context, _start_worker, (max(1, threads.num_threads() // workers),))
    try:
        futures = {pool.submit(measure, task, pictures, workers): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result
        pool.shutdown()
    finally:
        # After an interruption nobody waits for fits that still run.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


def measure(
    task: Task,
    pictures: Path | None = None,
    workers: int = 1,
    callback: Callable[[HistoryEntry], None] | None = None,
) -> Record:
    """Fit one image by one method, and measure the result.

    Args:
        task: what to do.
        pictures: see `evaluate`.
        workers: how many processes measure, for the record.
        callback: see `fastgs.fitting.fit`.

    Raises:
        ImageError: the image cannot be used.
        ValueError: the method cannot fit it, or ended with another number of Gaussians than was asked for.
        OSError: a picture cannot be written.
    """
    target = load_image(task.image, task.size)
    with threads.reserved():
        _warm_up(task.method)
        peak_is_known = _reset_peak_memory()
        run = METHODS[task.method](
            target,
            task.num_gaussians,
            iterations=task.budget.iterations,
            seconds=task.budget.seconds,
            seed=task.seed,
            callback=callback,
        )
        peak = _peak_memory() if peak_is_known else None
        gaussians, image, history = run.fit.gaussians, run.fit.image, run.fit.history
        if len(gaussians) != task.num_gaussians:
            raise ValueError(
                f"{task.method} ended with {len(gaussians)} Gaussians; {task.num_gaussians} were asked for"
            )
        picture = None if pictures is None else pictures / task.picture_name()
        if picture is not None:
            save_image(picture.with_name(task.target_name()), target)
            save_image(picture, image)
        return Record(
            **vars(task),
            height=gaussians.height,
            width=gaussians.width,
            iterations=history[-1].iteration,
            psnr_init=history[0].psnr,
            psnr=history[-1].psnr,
            ssim=ssim(image, target) if min(image.shape[1:]) >= MIN_SSIM_SIZE else None,
            ms_ssim=ms_ssim(image, target),
            lpips=lpips(image, target),
            seconds_network=run.seconds_network,
            seconds_sampling=run.seconds_init - run.seconds_network,
            seconds_fit=history[-1].seconds,
            seconds_render=_seconds_to_render(gaussians),
            peak_memory_mb=peak,
            workers=workers,
            threads=threads.num_threads(),
            bytes=_bytes(gaussians),
            picture=None if picture is None else str(picture),
            fastgs=installed_version(),
            history=[(entry.iteration, round(entry.seconds, 4), round(entry.psnr, 4)) for entry in history],
        )


@cache
def _warm_up(method: str) -> None:
    """Load what a method needs, so that its first fit is not slower than the others."""
    METHODS[method](torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)), 64, iterations=1)


def _seconds_to_render(gaussians: Gaussians) -> float:
    seconds = []
    for _ in range(RENDERINGS):
        start = time.perf_counter()
        render(gaussians)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _bytes(gaussians: Gaussians) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gaussians.safetensors"
        gaussians.save(path)
        return path.stat().st_size


def _reset_peak_memory() -> bool:
    """Begin a new peak; False where that cannot be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed
        return False
    return True


def _peak_memory() -> float:
    """Most memory in use since the last reset, in 10^6 bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024 / 1e6


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
