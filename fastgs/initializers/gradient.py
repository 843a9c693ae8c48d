"""Initialization by gradient: the density of positions follows its magnitude, as in Image-GS (arXiv 2407.01866)."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import first_derivatives, mix_with_uniform, smooth
from fastgs.initializers.from_density import gaussians_from_density

UNIFORM = 0.2  # share of the Gaussians that are spread evenly


def density(image: Tensor) -> Tensor:
    """Return the (H, W) density of positions, which sums to 1.

    It is the norm of the gradient over space and colour, smoothed over a pixel, mixed with a uniform share.

    Args:
        image: (3, H, W) image in [0, 1].
    """
    return mix_with_uniform(feature(image), 1.0, UNIFORM)


def feature(image: Tensor) -> Tensor:
    """Return the (..., H, W) norm of the gradient over space and colour, smoothed, of (..., C, H, W) images."""
    squared = torch.zeros_like(image.select(-3, 0))
    for plane in image.unbind(-3):
        dx, dy = first_derivatives(plane)
        squared += dx * dx + dy * dy
    return smooth(squared.sqrt_(), 1.0)


def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Return K Gaussians at positions error-diffused from the gradient density (`fastgs.initializers.Initializer`)."""
    return gaussians_from_density(image, density(image), num_gaussians, generator)
