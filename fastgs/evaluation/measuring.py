"""Measurements that methods and codecs share: scores and pictures of the image that comes out, and seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from torch import Tensor

from fastgs.evaluation.records import ImageTask
from fastgs.fitting.fit import HistoryEntry
from fastgs.io.images import save_image
from fastgs.metrics.lpips import lpips
from fastgs.metrics.quality import MIN_SSIM_SIZE, ms_ssim, ssim

# Number of repetitions of which the median counts, so that one interruption by the system does not.
REPETITIONS = 5


class Scores(TypedDict):
    """Fields of a record beside PSNR that compare an image with its target; None where that is not possible."""

    ssim: float | None
    ms_ssim: float | None
    lpips: float | None


def score(image: Tensor, target: Tensor) -> Scores:
    """Compare two (3, H, W) images in [0, 1]."""
    return {
        "ssim": ssim(image, target) if min(image.shape[1:]) >= MIN_SSIM_SIZE else None,
        "ms_ssim": ms_ssim(image, target),
        "lpips": lpips(image, target),
    }


def keep_pictures(task: ImageTask, folder: Path | None, target: Tensor, image: Tensor) -> str | None:
    """Write target and result of a task as PNG.

    Args:
        task: Task, which names the files.
        folder: Existing folder; None writes nothing.
        target: (3, H, W) image that was measured on, in [0, 1].
        image: (3, H, W) image that came out, in [0, 1].

    Returns:
        The path of the result; None if nothing was written.

    Raises:
        OSError: A file cannot be written.
    """
    if folder is None:
        return None
    picture = folder / task.picture_name()
    save_image(picture.with_name(task.target_name()), target)
    save_image(picture, image)
    return str(picture)


def median_seconds(call: Callable[[], object]) -> float:
    """Return the median wall-clock seconds of some calls."""
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def describe(entry: HistoryEntry) -> str:
    """Return the state of a fit in a few words."""
    return f"step {entry.iteration:,}, {entry.psnr:.2f} dB"
