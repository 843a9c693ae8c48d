"""Record of a fitted image for report.json, which `fastgs predict` and the refinement of a dataset write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastgs.io.version import installed_version
from fastgs.methods.method import Result

Record = dict[str, Any]


def describe(result: Result, *, image: str | Path, init: str, weights: str | None, seed: int, loss: str) -> Record:
    """Return the record of a result.

    Args:
        result: Fitted image.
        image: Path of the image.
        init: Name of the initializer.
        weights: Name or path of the networks; None for a heuristic.
        seed: Random seed.
        loss: Name of the loss.

    Returns:
        Numbers and strings by name; `ms_ssim` is None where the image is too small for it.
    """
    from fastgs.metrics.quality import ms_ssim  # deferred: imports torchmetrics

    _, height, width = result.target.shape
    return {
        "image": str(image),
        "height": height,
        "width": width,
        "num_gaussians": len(result.gaussians),
        "iterations": result.iterations,
        "init": init,
        "weights": weights,
        "seed": seed,
        "blend": result.gaussians.blend,
        "loss": loss,
        "psnr_init": result.psnr_init,
        "psnr": result.psnr,
        "ms_ssim": ms_ssim(result.image, result.target),
        "seconds_init": result.seconds_init,
        "seconds_fit": result.seconds_fit,
        "history": result.history,
        "fastgs": installed_version(),
    }
