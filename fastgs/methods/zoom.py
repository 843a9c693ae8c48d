"""Images larger than the photo: what an enlarged image shows is estimated first, and then fitted as any image is.

The estimate comes from a trained network, or from interpolation. Either is moved to the nearest image whose reduction
is the photo, x = x + A' (A A')^-1 (y - A x), see `fastgs.io.resampling.make_consistent`. A fit of x with squared errors
then does both that one can ask of a refinement: its average over the pixels of the photo is compared with the photo,
`||A r - A x|| = ||A r - y||`, and where the photo says nothing, in the null space of A, it stays near the prior.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastgs.fitting.fit import Callback
from fastgs.fitting.options import FitOptions
from fastgs.io.resampling import Filter, interpolate, make_consistent
from fastgs.methods.result import Result

if TYPE_CHECKING:
    from fastgs.models.zoom import ZoomNetwork

ZOOM = 2.0  # factor unless another is asked for
ZOOM_FORMAT = "fastgs.zoom"  # format of the weights of the network
RGB = 3


@torch.no_grad()
def estimate(
    image: Tensor, height: int, width: int, network: ZoomNetwork | None = None, filter: Filter = "bicubic"
) -> Tensor:
    """Estimate what an image with more pixels would show.

    Args:
        image: (C, h, w) in [0, 1].
        height: Height of the result in pixels, at least h.
        width: Width of the result in pixels, at least w.
        network: Trained network; by default Lanczos interpolation takes its place.
        filter: Filter by which the image came from a larger one; the network has its own.

    Returns:
        (C, height, width) in [0, 1], whose reduction is the image as far as clamping leaves it. The network sees gray
        as RGB, and the first three of more channels; all others are interpolated.
    """
    if network is None:
        plain = interpolate(image, height, width, "lanczos")
        return make_consistent(plain[None], image[None], filter)[0].clamp(0, 1)
    if len(image) < RGB:
        gray = network.enlarge(image[:1].expand(RGB, -1, -1), height, width).mean(0, keepdim=True)
        colors = make_consistent(gray[None], image[None, :1], network.filter)[0].clamp(0, 1)
    else:
        colors = network.enlarge(image[:RGB], height, width).clamp(0, 1)
    others = image[len(colors) :]
    if len(others):
        colors = torch.cat([colors, estimate(others, height, width, filter=network.filter)])
    return colors


def enlarged_size(height: int, width: int, zoom: float) -> tuple[int, int]:
    """Return height and width of an image that is so many times as large."""
    return max(height, round(height * zoom)), max(width, round(width * zoom))


def fit_enlarged(
    fit: Callable[..., Result],
    image: Tensor,
    zoom: float,
    options: FitOptions | None = None,
    *,
    network: ZoomNetwork | None = None,
    seed: int = 0,
    alpha: bool = False,
    device: torch.device | None = None,
    callback: Callback | None = None,
) -> Result:
    """Fit Gaussians to what an image would show at a larger size.

    Args:
        fit: Callable that fits Gaussians to an image, such as a `Method` with a number of Gaussians.
        image: (C, h, w) in [0, 1].
        zoom: Factor, at least 1.
        options: Limits, loss and renderer of the fit.
        network: Trained network, on any device; None interpolates.
        seed: Random seed.
        alpha: True if the last channel is opacity and the other ones are multiplied by it.
        device: Device to work on; by default that of the image.
        callback: Callable that gets every new entry of the history.

    Returns:
        The result on the enlarged canvas, whose target is the estimate and whose `small` is the image.
    """
    begin = time.perf_counter()
    work = image.device if device is None else device
    network = None if network is None else network.to(work)
    height, width = enlarged_size(image.shape[1], image.shape[2], zoom)
    target = estimate(image.to(work), height, width, network).to(image.device)
    seconds = time.perf_counter() - begin
    result = fit(image=target, options=options, seed=seed, alpha=alpha, device=device, callback=callback)
    used = 0.0 if network is None else seconds
    return replace(
        result,
        small=image,
        filter="bicubic" if network is None else network.filter,
        seconds_init=result.seconds_init + seconds,
        seconds_network=result.seconds_network + used,
    )
