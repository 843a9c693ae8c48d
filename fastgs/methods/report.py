"""Record of a fitted image for report.json, which `fastgs predict` and the refinement of a dataset write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastgs.io.version import installed_version
from fastgs.methods.result import Result

Record = dict[str, Any]


def describe(
    result: Result,
    *,
    image: str | Path,
    init: str,
    weights: str | None,
    seed: int,
    loss: str,
    zoom_weights: str | None = None,
    target_psnr: float | None = None,
) -> Record:
    """Return the record of a result.

    Args:
        result: Fitted image.
        image: Path of the image.
        init: Name of the initializer.
        weights: Name or path of the networks; None for a heuristic.
        seed: Random seed.
        loss: Name of the loss.
        zoom_weights: Name or path of the network of zooming; None if there was none.
        target_psnr: PSNR in dB that K followed from.

    Returns:
        Numbers and strings by name; if K followed from a PSNR, also that and what the first fit had. `zoom` is the
        factor by which the canvas is larger than the image, and `psnr_small` the PSNR of the reconstruction, reduced
        again, against the image; None without zoom. `psnr_of` says which values the PSNR is of; `psnr_linear` is the
        PSNR in linear light, None without high dynamic range; `ms_ssim` is None where the image is too small for it.
    """
    from fastgs.metrics.quality import ms_ssim  # deferred: imports torchmetrics

    _, height, width = result.target.shape
    wish = {}
    if result.trials:
        first = result.trials[0]
        wish = {"target_psnr": target_psnr, "num_gaussians_first": first.num_gaussians, "psnr_first": first.psnr}
    return {
        "image": str(image),
        "height": height,
        "width": width,
        "zoom": None if result.small is None else height / result.small.shape[1],
        "zoom_weights": zoom_weights,
        "channels": result.gaussians.channels,
        "alpha": result.gaussians.alpha,
        "num_gaussians": len(result.gaussians),
        **wish,
        "iterations": result.iterations,
        "init": init,
        "weights": weights,
        "seed": seed,
        "blend": result.gaussians.blend,
        "loss": loss,
        "psnr_init": result.psnr_init,
        "psnr": result.psnr,
        "psnr_of": _describe_values(result),
        "psnr_small": result.psnr_small,
        "psnr_linear": result.psnr_linear,
        "ms_ssim": ms_ssim(result.image, result.target),
        "seconds_init": result.seconds_init,
        "seconds_fit": result.seconds_fit,
        "history": [tuple(entry) for entry in result.history],
        "fastgs": installed_version(),
    }


def _describe_values(result: Result) -> str:
    """Return which values were fitted, and so compared."""
    colors = "premultiplied colours and alpha" if result.gaussians.alpha else "colours"
    picture = result.picture
    if picture is None:
        return colors
    if picture.is_hdr:
        return f"{colors}, encoded as {picture.transfer}"
    return f"{colors}, numbers of the file" if picture.profile is not None else f"{colors}, sRGB"
