"""Initialization at random: positions are uniform and independent, as in GaussianImage (arXiv 2403.08551)."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgs.gaussians import Gaussians
from fastgs.initializers.from_density import gaussians_at


def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Return K Gaussians anywhere on the canvas (`fastgs.initializers.Initializer`)."""
    _, height, width = image.shape
    means = torch.rand(num_gaussians, 2, generator=generator) * torch.tensor([width, height])
    return gaussians_at(means.to(image.device), image, image.new_full((height, width), 1 / (height * width)))
