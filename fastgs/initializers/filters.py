"""Derivatives and smoothing of single planes, for densities and attributes.

All functions take one (H, W) plane at a time: the derivatives of all channels of a photo of 24 megapixels at once would
fill gigabytes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def smooth(plane: Tensor, sigma: float) -> Tensor:
    """Blur a plane by a Gaussian; beyond the borders, their pixels are repeated.

    Args:
        plane: (H, W) plane.
        sigma: Standard deviation in pixels.
    """
    radius = math.ceil(3 * sigma)
    taps = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    for axis, borders in ((0, (0, 0, radius, radius)), (1, (radius, radius, 0, 0))):
        padded = functional.pad(plane[None, None], borders, mode="replicate")[0, 0]
        plane = torch.zeros_like(plane)
        for start, tap in enumerate(taps):
            plane.add_(padded.narrow(axis, start, plane.shape[axis]), alpha=tap / sum(taps))
    return plane


def _extrapolate(plane: Tensor) -> Tensor:
    """Add one pixel on each side, in line with the two next to it, so that a ramp has no curvature at the border."""
    padded = functional.pad(plane[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    if plane.shape[0] > 1:
        padded[0], padded[-1] = 2 * padded[1] - padded[2], 2 * padded[-2] - padded[-3]
    if plane.shape[1] > 1:
        padded[:, 0], padded[:, -1] = 2 * padded[:, 1] - padded[:, 2], 2 * padded[:, -2] - padded[:, -3]
    return padded


def first_derivatives(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Return d/dx and d/dy of an (H, W) plane, per pixel, by central differences."""
    padded = _extrapolate(plane)
    return (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2


def second_derivatives(plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return d2/dx2, d2/dxdy and d2/dy2 of an (H, W) plane, per squared pixel, from the 3 x 3 neighbourhood."""
    padded = _extrapolate(plane)
    xx = padded[1:-1, 2:] + padded[1:-1, :-2] - 2 * plane
    yy = padded[2:, 1:-1] + padded[:-2, 1:-1] - 2 * plane
    xy = (padded[2:, 2:] + padded[:-2, :-2] - padded[2:, :-2] - padded[:-2, 2:]) / 4
    return xx, xy, yy


def shape_feature(feature: Tensor, power: float) -> Tensor:
    """Return a feature to a power; negative values count as 0."""
    return feature.clamp(min=0) ** power


def mix_with_uniform(feature: Tensor, power: float, uniform: float) -> Tensor:
    """Return the (H, W) density `(1 - uniform) feature^power / sum + uniform / (H W)`, which sums to 1.

    Args:
        feature: (H, W) feature; negative values count as 0. If it is 0 everywhere, as in a flat image, the density is
            uniform.
        power: Power that the feature is raised to.
        uniform: Share in [0, 1] that is spread evenly.
    """
    shaped = shape_feature(feature, power)
    total = shaped.sum(dtype=torch.float64).item()
    if not total > 0:
        return torch.full_like(feature, 1 / feature.numel())
    return shaped.mul_((1 - uniform) / total).add_(uniform / feature.numel())
