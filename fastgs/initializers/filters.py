"""Derivatives and smoothing of single planes, for densities and attributes.

They take one (H, W) plane at a time: a photo of 24 megapixels fills gigabytes with derivatives of all channels at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def smooth(plane: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (H, W) with a standard deviation in pixels; borders repeat their last pixel."""
    radius = math.ceil(3 * sigma)
    taps = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    for axis, borders in ((0, (0, 0, radius, radius)), (1, (radius, radius, 0, 0))):
        padded = functional.pad(plane[None, None], borders, mode="replicate")[0, 0]
        plane = torch.zeros_like(plane)
        for start, tap in enumerate(taps):
            plane.add_(padded.narrow(axis, start, plane.shape[axis]), alpha=tap / sum(taps))
    return plane


def _pad(plane: Tensor) -> Tensor:
    """One pixel more on each side, in line with the two next to it, so that a ramp does not bend at the border."""
    padded = functional.pad(plane[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    if plane.shape[0] > 1:
        padded[0], padded[-1] = 2 * padded[1] - padded[2], 2 * padded[-2] - padded[-3]
    if plane.shape[1] > 1:
        padded[:, 0], padded[:, -1] = 2 * padded[:, 1] - padded[:, 2], 2 * padded[:, -2] - padded[:, -3]
    return padded


def first_derivatives(plane: Tensor) -> tuple[Tensor, Tensor]:
    """d/dx and d/dy of (H, W) by central differences, per pixel."""
    padded = _pad(plane)
    return (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2


def second_derivatives(plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """d2/dx2, d2/dxdy and d2/dy2 of (H, W) on the 3 x 3 neighbourhood, per squared pixel."""
    padded = _pad(plane)
    xx = padded[1:-1, 2:] + padded[1:-1, :-2] - 2 * plane
    yy = padded[2:, 1:-1] + padded[:-2, 1:-1] - 2 * plane
    xy = (padded[2:, 2:] + padded[:-2, :-2] - padded[2:, :-2] - padded[:-2, 2:]) / 4
    return xx, xy, yy


def mix_with_uniform(feature: Tensor, power: float, uniform: float) -> Tensor:
    """A density from an (H, W) feature: `(1 - uniform) feature^power / sum + uniform / (H W)`; it sums to 1.

    A feature that is zero everywhere (a flat image) gives the uniform density.
    """
    shaped = feature.clamp(min=0) ** power
    total = shaped.sum(dtype=torch.float64).item()
    if not total > 0:
        return torch.full_like(feature, 1 / feature.numel())
    return shaped.mul_((1 - uniform) / total).add_(uniform / feature.numel())
