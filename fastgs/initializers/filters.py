"""Derivatives and smoothing of images, for densities and attributes.

On the CPU they are the kernels of filter_kernels.py. Elsewhere, and for other types than float32, they are operators of
torch, which do not wait for a GPU and work on one channel at a time: the derivatives of all channels of a photo of 24
megapixels would fill gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fastgs.initializers import filter_kernels as kernels
from fastgs.runtime import threads
from fastgs.runtime.precision import widest
from fastgs.runtime.transfer import send

# Pixels up to which one thread is faster than several, and parts of the work per thread otherwise.
ALONE, PARTS = 2**16, 4


def smooth(plane: Tensor, sigma: float) -> Tensor:
    """Blur planes by a Gaussian; beyond the borders, their pixels are repeated.

    Args:
        plane: (..., H, W) planes.
        sigma: Standard deviation in pixels.
    """
    radius = math.ceil(3 * sigma)
    taps = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    weights = [tap / sum(taps) for tap in taps]
    if _has_kernels(plane):
        result = plane.new_empty(plane.shape)
        _run(kernels.smooth, _list(plane, 2), (np.array(weights, np.float32),), _list(result, 2))
        return result
    for axis, borders in ((-2, (0, 0, radius, radius)), (-1, (radius, radius, 0, 0))):
        padded = _repeat_borders(plane, borders)
        plane = torch.zeros_like(plane)
        for start, weight in enumerate(weights):
            plane.add_(padded.narrow(axis, start, plane.shape[axis]), alpha=weight)
    return plane


def measure_curvature(image: Tensor) -> Tensor:
    """Return the (..., H, W) Frobenius norm of the Hessian over space and colour, of (..., C, H, W) images."""
    squared = image.new_zeros(*image.shape[:-3], *image.shape[-2:])
    if _has_kernels(image):
        _run(kernels.curvature, _list(image, 3), (), _list(squared, 2))
        return squared.sqrt_()
    for plane in image.unbind(-3):
        xx, xy, yy = second_derivatives(plane)
        squared += xx * xx + 2 * xy * xy + yy * yy
    return squared.sqrt_()


def measure_structure(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the products xx, xy, yy of the first derivatives of (..., C, H, W) images, summed over colour."""
    xx, xy, yy = image.new_zeros(3, *image.shape[:-3], *image.shape[-2:])
    if _has_kernels(image):
        _run(kernels.structure, _list(image, 3), (), *(_list(each, 2) for each in (xx, xy, yy)))
        return xx, xy, yy
    for plane in image.unbind(-3):
        dx, dy = first_derivatives(plane)
        xx += dx * dx
        xy += dx * dy
        yy += dy * dy
    return xx, xy, yy


def _has_kernels(image: Tensor) -> bool:
    """Tell whether kernels take an image: they know no other type, and no gradients."""
    return image.device.type == "cpu" and image.dtype == torch.float32 and not image.requires_grad


def _list(images: Tensor, dimensions: int) -> Tensor:
    """Return images, of so many dimensions each, as a list."""
    return images.reshape(-1, *images.shape[-dimensions:])


def _run(kernel: Any, images: Tensor, arguments: tuple[Any, ...], *results: Tensor) -> None:
    """Run a kernel on (N, ..., H, W) images, which writes to the (N, H, W) results."""
    parts = threads.parts(
        images.shape[0] * images.shape[-2], 1 if results[0].numel() <= ALONE else PARTS * threads.num_threads()
    )
    threads.run(kernel, (images.contiguous().numpy(), *arguments, *(each.numpy() for each in results)), parts)


def _repeat_borders(plane: Tensor, borders: tuple[int, int, int, int]) -> Tensor:
    """Enlarge planes (..., H, W) by so many pixels at the left, right, top and bottom, which repeat the border."""
    height, width = plane.shape[-2:]
    padded = functional.pad(plane.reshape(1, -1, height, width), borders, mode="replicate")
    return padded.view(*plane.shape[:-2], *padded.shape[-2:])


def _extrapolate(plane: Tensor) -> Tensor:
    """Add one pixel on each side, in line with the two next to it, so that a ramp has no curvature at the border."""
    padded = _repeat_borders(plane, (1, 1, 1, 1))
    if plane.shape[-2] > 1:
        first, last = 2 * padded[..., 1, :] - padded[..., 2, :], 2 * padded[..., -2, :] - padded[..., -3, :]
        padded[..., 0, :], padded[..., -1, :] = first, last
    if plane.shape[-1] > 1:
        first, last = 2 * padded[..., 1] - padded[..., 2], 2 * padded[..., -2] - padded[..., -3]
        padded[..., 0], padded[..., -1] = first, last
    return padded


def first_derivatives(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Return d/dx and d/dy of planes (..., H, W), per pixel, by central differences."""
    padded = _extrapolate(plane)
    across, down = padded[..., 1:-1, :], padded[..., 1:-1]
    return (across[..., 2:] - across[..., :-2]) / 2, (down[..., 2:, :] - down[..., :-2, :]) / 2


def second_derivatives(plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return d2/dx2, d2/dxdy and d2/dy2 of planes (..., H, W), per squared pixel, from the 3 x 3 neighbourhood."""
    padded = _extrapolate(plane)
    across, down, twice = padded[..., 1:-1, :], padded[..., 1:-1], 2 * plane
    xx = across[..., 2:] + across[..., :-2] - twice
    yy = down[..., 2:, :] + down[..., :-2, :] - twice
    above, below = padded[..., :-2, :], padded[..., 2:, :]
    xy = (below[..., 2:] + above[..., :-2] - below[..., :-2] - above[..., 2:]) / 4
    return xx, xy, yy


def shape_feature(feature: Tensor, power: float) -> Tensor:
    """Return a feature to a power; negative values count as 0."""
    return feature.clamp(min=0) ** power


def mix_with_uniform(feature: Tensor, power: float | Sequence[float], uniform: float | Sequence[float]) -> Tensor:
    """Return the density `(1 - uniform) feature^power / sum + uniform / (H W)` of each plane, which sums to 1.

    Args:
        feature: (H, W) feature, or (B, H, W) with B powers and shares; negative values count as 0. If it is 0
            everywhere, as in a flat image, the density is uniform.
        power: Power that the feature is raised to.
        uniform: Share in [0, 1] that is spread evenly.
    """
    if isinstance(power, Sequence):
        shaped = torch.stack([shape_feature(each, by) for each, by in zip(feature, power, strict=True)])
    else:
        shaped = shape_feature(feature, power)
    wide, pixels = widest(feature.device), feature.shape[-2] * feature.shape[-1]
    total = shaped.sum((-2, -1), keepdim=True, dtype=wide)
    even = send(torch.tensor(uniform, dtype=wide), feature.device).reshape(-1, *[1] * (feature.ndim - 1))
    is_flat = total <= 0
    by_feature = ((1 - even) / total).masked_fill_(is_flat, 0).to(feature)
    return shaped.mul_(by_feature).add_((even / pixels).masked_fill_(is_flat, 1 / pixels).to(feature))
