"""Method x image x K x budget: each cell is one fit on the CPU.

Results do not depend on the number of workers or threads: torch's own operators, whose sums change in the last bits
with the number of threads (and the networks' predictions with them), run on one thread throughout, and the kernels,
which have all threads of the process, do not care. The price is a slower prediction of the networks. Seconds are those
of an undisturbed machine with one worker only.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch

from fastgs.evaluation.methods.records import Record, Task
from fastgs.fitting.fit import HistoryEntry
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.io.images import load_image, save_image
from fastgs.io.version import installed_version
from fastgs.methods import METHODS
from fastgs.metrics.lpips import lpips
from fastgs.metrics.quality import MIN_SSIM_SIZE, ms_ssim, ssim
from fastgs.render import render
from fastgs.runtime import threads

RENDERINGS = 5  # of each result, for the median of their seconds


def measure(
    task: Task,
    pictures: Path | None = None,
    workers: int = 1,
    callback: Callable[[Task, HistoryEntry], None] | None = None,
) -> Record:
    """Fit one image by one method, and measure the result.

    Args:
        task: what to do.
        pictures: an existing folder for the target and the reconstruction; None keeps none.
        workers: how many processes measure, for the record.
        callback: called with the task and every new entry of its history.

    Raises:
        ImageError: the image cannot be used.
        ValueError: the method cannot fit it, or ended with another number of Gaussians than was asked for.
        OSError: a picture cannot be written.
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
            callback=callback and partial(callback, task),
        )
        peak = _peak_memory() if peak_is_known else None
        gaussians, image, history = result.gaussians, result.image, result.history
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
            seconds_network=result.seconds_network,
            seconds_sampling=result.seconds_init - result.seconds_network,
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
    METHODS[method](torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)), 64, FitOptions(1))


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
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:  # not Linux, or not allowed
        return False
    return True


def _peak_memory() -> float:
    """Most memory in use since the last reset, in 10^6 bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024 / 1e6
