"""Derivatives and smoothing of images, for densities and attributes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def smooth(channels: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (C, H, W) with a standard deviation in pixels; borders repeat their last pixel."""
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=channels.dtype) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(channels.device)
    padded = functional.pad(channels[:, None], (radius,) * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def first_derivatives(image: Tensor) -> tuple[Tensor, Tensor]:
    """d/dx and d/dy of (C, H, W) by central differences, per pixel."""
    padded = functional.pad(image[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    return (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2, (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2


def second_derivatives(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """d2/dx2, d2/dxdy and d2/dy2 of (C, H, W) on the 3 x 3 neighbourhood, per squared pixel."""
    padded = functional.pad(image[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    center = padded[:, 1:-1, 1:-1]
    xx = padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2] - 2 * center
    yy = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] - 2 * center
    xy = (padded[:, 2:, 2:] + padded[:, :-2, :-2] - padded[:, 2:, :-2] - padded[:, :-2, 2:]) / 4
    return xx, xy, yy


def mix_with_uniform(feature: Tensor, power: float, uniform: float) -> Tensor:
    """A density from an (H, W) feature: `(1 - uniform) feature^power / sum + uniform / (H W)`; it sums to 1.

    A feature that is zero everywhere (a flat image) gives the uniform density.
    """
    shaped = feature.clamp(min=0) ** power
    total = shaped.sum()
    flat = torch.full_like(feature, 1 / feature.numel())
    return (1 - uniform) * shaped / total + uniform * flat if total > 0 else flat
