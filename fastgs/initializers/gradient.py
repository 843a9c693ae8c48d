"""Positions where the image changes: density by gradient magnitude (Image-GS, arXiv 2407.01866, samples so)."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import first_derivatives, mix_with_uniform, smooth
from fastgs.initializers.from_density import gaussians_from_density

UNIFORM = 0.2  # share of the Gaussians that are spread evenly; measured in benchmarks/LOG.md


def density(image: Tensor) -> Tensor:
    """(H, W), sums to 1: the gradient's norm over space and colour, smoothed over a pixel, plus a uniform share."""
    squared = torch.zeros_like(image[0])
    for plane in image:
        dx, dy = first_derivatives(plane)
        squared += dx * dx + dy * dy
    return mix_with_uniform(smooth(squared.sqrt_(), 1.0), 1.0, UNIFORM)


def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """K positions error-diffused from the gradient density; see `fastgs.initializers.Initializer`."""
    return gaussians_from_density(image, density(image), num_gaussians, generator)
