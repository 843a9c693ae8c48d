"""The camera of zooming: how a large image becomes a small one, and which large images are consistent with a small one.

A small image is a linear map of the large one, y = A x: along each axis by one matrix, since all filters are separable.
Where y is known, an estimate x can be moved to the nearest image with that reduction, x + A' (A A')^-1 (y - A x).
Everything that y says is then in the estimate, and all else is as it was.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

Filter = Literal["bicubic", "bilinear", "area"]
FILTERS: tuple[str, ...] = get_args(Filter)
Kernel = Literal["bicubic", "lanczos"]

# Singular values of the camera that are smaller than this are not inverted in full: what rounding to 8 bits did to
# frequencies that the filter hardly lets through would be amplified.
DAMPING = 0.1


def reduce(images: Tensor, height: int, width: int, filter: Filter = "bicubic") -> Tensor:
    """Reduce images as a camera with fewer pixels would see them; differentiable.

    Args:
        images: (B, C, H, W).
        height: Height of the result in pixels, at most H.
        width: Width of the result in pixels, at most W.
        filter: Kernel, as wide as the factor asks for: "bicubic" (that of Pillow), "bilinear" (a triangle), or "area"
            (the mean over each pixel).

    Returns:
        (B, C, height, width), not clamped.

    Raises:
        ValueError: The filter is unknown, or the size is larger than that of the images.
    """
    check_filter(filter)
    if height > images.shape[-2] or width > images.shape[-1]:
        raise ValueError(
            f"size: {width} x {height} pixels are more than the {images.shape[-1]} x {images.shape[-2]} of the image"
        )
    if filter == "area":
        return functional.interpolate(images, (height, width), mode="area")
    if width > 1:
        return functional.interpolate(images, (height, width), mode=filter, antialias=True)
    # torch 2.14 reduces columns wrongly where there is only one, so it gets two that are the same.
    line = functional.interpolate(images, (images.shape[-2], 1), mode=filter, antialias=True)
    pair = line.expand(*line.shape[:-1], 2)
    return functional.interpolate(pair, (height, 2), mode=filter, antialias=True)[..., :1]


def make_consistent(estimates: Tensor, small: Tensor, filter: Filter = "bicubic") -> Tensor:
    """Move enlarged images to the nearest ones whose reductions are the small images.

    Args:
        estimates: (B, C, H, W) enlarged images.
        small: (B, C, h, w) images that they were made of, not larger.
        filter: Filter of `reduce`.

    Returns:
        (B, C, H, W) images x with `reduce(x) = small`, but for frequencies that the filter hardly lets through.

    Raises:
        ValueError: The filter is unknown, or the small images are larger.
    """
    height, width = small.shape[-2:]
    missing = small - reduce(estimates, height, width, filter)
    down = _inverse(estimates.shape[-2], height, filter).to(missing)
    across = _inverse(estimates.shape[-1], width, filter).to(missing)
    return estimates + down @ missing @ across.T


def interpolate(image: Tensor, height: int, width: int, kernel: Kernel = "bicubic") -> Tensor:
    """Enlarge a (C, h, w) image by a kernel of Pillow, in float32 and not clamped, without gradient."""
    method = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}[kernel]
    planes = [Image.fromarray(plane).resize((width, height), method) for plane in image.detach().cpu().float().numpy()]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes])).to(image)


def check_filter(filter: str) -> None:
    """Check the name of a filter of `reduce`.

    Raises:
        ValueError: It is unknown.
    """
    if filter not in FILTERS:
        raise ValueError(f"filter: expected one of {', '.join(FILTERS)}, got {filter!r}")


@lru_cache(maxsize=32)
def _inverse(large: int, small: int, filter: Filter) -> Tensor:
    """Return the (large, small) damped inverse A' (A A' + d^2 I)^-1 of the reduction of one axis."""
    matrix = reduce(torch.eye(large, dtype=torch.float64)[None, None], small, large, filter)[0, 0]
    gram: Tensor = matrix @ matrix.T
    gram.diagonal().add_(DAMPING**2 * gram.diagonal().mean())
    inverse: Tensor = torch.linalg.solve(gram, matrix)
    return inverse.T.contiguous()
