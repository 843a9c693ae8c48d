"""Measurement of one enlargement: an image is reduced by the camera's filter, enlarged, and compared with itself."""

from __future__ import annotations

import time
from functools import lru_cache, partial
from pathlib import Path

from torch import Tensor

from fastgs.evaluation.harness import Progress
from fastgs.evaluation.measuring import describe, keep_pictures, score
from fastgs.evaluation.zoom.records import ZoomRecord, ZoomTask
from fastgs.fitting.fit import HistoryEntry
from fastgs.io.images import load_image
from fastgs.io.resampling import interpolate, reduce
from fastgs.io.version import installed_version
from fastgs.metrics.quality import psnr
from fastgs.predictor import Predictor
from fastgs.render import render
from fastgs.runtime import threads

# Ways without a network: interpolation; a fit that knows nothing of zooming; and one to a consistent interpolation.
KERNELS = ("bicubic", "lanczos")
PLAIN_FIT, ZOOM_FIT = "fit", "fit-zoom"


def measure(
    task: ZoomTask, pictures: Path | None = None, workers: int = 1, progress: Progress | None = None
) -> ZoomRecord:
    """Reduce and enlarge one image, and measure the result.

    Args:
        task: Task.
        pictures: Existing folder for the target and the enlarged image; None keeps none.
        workers: Number of processes that measure, for the record.
        progress: Function that is called along the fit.

    Raises:
        ImageError: The image cannot be used.
        OSError: A picture cannot be written.
    """
    target = load_image(task.image, task.size)
    _, height, width = target.shape
    small_height, small_width = (max(1, round(side / task.zoom)) for side in (height, width))
    # Rounded to 8 bits, as a file would be.
    small = reduce(target[None], small_height, small_width)[0].clamp(0, 1).mul(255).round().div(255)
    _load(task)
    begin = time.perf_counter()
    enlarged = _enlarge(task, small, height, width, progress).clamp(0, 1)
    seconds = time.perf_counter() - begin
    return ZoomRecord(
        **vars(task),
        height=height,
        width=width,
        psnr=psnr(enlarged, target),
        psnr_small=psnr(reduce(enlarged[None], small_height, small_width)[0], small),
        **score(enlarged, target),
        seconds=seconds,
        workers=workers,
        threads=threads.num_threads(),
        picture=keep_pictures(task, pictures, target, enlarged),
        fastgs=installed_version(),
    )


def _enlarge(task: ZoomTask, small: Tensor, height: int, width: int, progress: Progress | None) -> Tensor:
    """Return a (3, height, width) image made of a small one in the way of a task."""
    if task.num_gaussians is None:
        return interpolate(small, height, width, "lanczos" if task.enlarger == "lanczos" else "bicubic")
    assert task.num_gaussians is not None
    assert task.iterations is not None
    assert task.seed is not None
    result = _load(task)(
        small,
        task.num_gaussians,
        task.iterations,
        seed=task.seed,
        # The canvas has the size of the original, which the factor need not divide.
        zoom=None if task.enlarger == PLAIN_FIT else height / small.shape[1],
        callback=progress and partial(_report, progress, task.iterations),
    )
    return render(result.gaussians, height, width)


def _load(task: ZoomTask) -> Predictor:
    """Return the predictor of a task, which is kept for the next one."""
    return _load_predictor(task.enlarger if task.weights is not None else None)


@lru_cache(maxsize=2)
def _load_predictor(weights: str | None) -> Predictor:
    return Predictor(zoom_weights=weights)


def _report(progress: Progress, iterations: int, entry: HistoryEntry) -> None:
    """Tell how much of a fit is done."""
    progress(entry.iteration / max(iterations, 1), describe(entry))
