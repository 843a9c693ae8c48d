"""Measurement of one method on one image: each task is one fit on the CPU.

Results do not depend on the number of workers or threads. The sums of torch's own operators change in the last bits
with the number of threads, and with them the predictions of the networks, so these operators run on one thread
throughout; the kernels, whose results do not depend on it, have all threads of the process. The price is a slower
prediction of the networks. Seconds are those of an undisturbed machine with one worker only.
"""

from __future__ import annotations

import math
import tempfile
from functools import cache, partial
from pathlib import Path

import torch

from fastgs.evaluation.harness import Progress
from fastgs.evaluation.measuring import describe, keep_pictures, median_seconds, score
from fastgs.evaluation.methods.records import Budget, MethodRecord, MethodTask
from fastgs.fitting.fit import HistoryEntry
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.io.images import load_image
from fastgs.io.version import installed_version
from fastgs.methods import METHODS
from fastgs.metrics.quality import psnr
from fastgs.render import render
from fastgs.runtime import threads

# Number of iterations by which the time of all is foretold.
TRIAL_ITERATIONS = 20


def measure(
    task: MethodTask, pictures: Path | None = None, workers: int = 1, progress: Progress | None = None
) -> MethodRecord:
    """Fit one image by one method, and measure the result.

    Args:
        task: Task.
        pictures: Existing folder for the target and the reconstruction; None keeps none.
        workers: Number of processes that measure, for the record.
        progress: Function that is called along the fit.

    Raises:
        ImageError: The image cannot be used.
        ValueError: The method cannot fit it, or ended with another number of Gaussians than was asked for.
        OSError: A picture cannot be written.
    """
    target = load_image(task.image, task.size)

    with threads.reserved():
        _warm_up(task.method)
        peak_is_known = _reset_peak_memory()
        result = METHODS[task.method](
            target,
            task.num_gaussians,
            FitOptions(task.budget.iterations, task.budget.seconds),
            seed=task.seed,
            callback=progress and partial(_report, progress, task.budget),
        )
        peak = _peak_memory() if peak_is_known else None
        gaussians = result.gaussians
        if len(gaussians) != task.num_gaussians:
            raise ValueError(
                f"{task.method} ended with {len(gaussians)} Gaussians; {task.num_gaussians} were asked for"
            )
        return MethodRecord(
            **vars(task),
            height=gaussians.height,
            width=gaussians.width,
            iterations=result.iterations,
            psnr_init=result.psnr_init,
            psnr=result.psnr,
            psnr_8bit=psnr(result.image.mul(255).round().div(255), target),
            **score(result.image, target),
            seconds_network=result.seconds_network,
            seconds_sampling=result.seconds_init - result.seconds_network,
            seconds_fit=result.seconds_fit,
            seconds_render=median_seconds(lambda: render(gaussians)),
            peak_memory_mb=peak,
            workers=workers,
            threads=threads.num_threads(),
            bytes=_count_bytes(gaussians),
            picture=keep_pictures(task, pictures, target, result.image),
            fastgs=installed_version(),
            history=[(entry.iteration, round(entry.seconds, 4), round(entry.psnr, 4)) for entry in result.history],
        )


def time_iteration(task: MethodTask) -> float:
    """Return the seconds of an iteration of a fit, from a short one, whose schedule is shrunk like everything else.

    Args:
        task: Task with a budget of iterations.

    Raises:
        ImageError: The image cannot be used.
        ValueError: The method cannot fit it.
    """
    target, iterations = load_image(task.image, task.size), min(task.budget.iterations or 0, TRIAL_ITERATIONS)
    with threads.reserved():
        _warm_up(task.method)
        result = METHODS[task.method](target, task.num_gaussians, FitOptions(iterations), seed=task.seed)
    return result.seconds_fit / max(iterations, 1)


def _report(progress: Progress, budget: Budget, entry: HistoryEntry) -> None:
    """Tell how much of a fit is done."""
    if budget.iterations is None:
        share = entry.seconds / (budget.seconds or math.inf)
    else:
        share = entry.iteration / max(budget.iterations, 1)
    progress(share, describe(entry))


@cache
def _warm_up(method: str) -> None:
    """Load what a method needs, so that its first fit is not slower than the others."""
    METHODS[method](torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)), 64, FitOptions(1))


def _count_bytes(gaussians: Gaussians) -> int:
    """Return the size of the Gaussians as a safetensors file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gaussians.safetensors"
        gaussians.save(path)
        return path.stat().st_size


def _reset_peak_memory() -> bool:
    """Begin a new peak of memory; return False if that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:  # not Linux, or not allowed
        return False
    return True


def _peak_memory() -> float:
    """Return the most memory in use since the last reset, in 10^6 bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024 / 1e6
