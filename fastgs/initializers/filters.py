"""Derivatives and smoothing of planes, for densities and attributes.

All functions take planes (..., H, W), such as one channel of all images of a batch; they do not wait for a GPU. Callers
give them one channel at a time: the derivatives of all channels of a photo of 24 megapixels would fill gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.runtime.precision import widest
from fastgs.runtime.transfer import send


def smooth(plane: Tensor, sigma: float) -> Tensor:
    """Blur planes by a Gaussian; beyond the borders, their pixels are repeated.

    Args:
        plane: (..., H, W) planes.
        sigma: Standard deviation in pixels.
    """
    radius = math.ceil(3 * sigma)
    taps = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    for axis, borders in ((-2, (0, 0, radius, radius)), (-1, (radius, radius, 0, 0))):
        padded = _repeat_borders(plane, borders)
        plane = torch.zeros_like(plane)
        for start, tap in enumerate(taps):
            plane.add_(padded.narrow(axis, start, plane.shape[axis]), alpha=tap / sum(taps))
    return plane


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
