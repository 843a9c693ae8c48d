"""Initialization on a regular grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastgs.gaussians import Gaussians
from fastgs.initializers.from_density import gaussians_at


def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Return K Gaussians in rows of nearly equal length, whose cells are nearly square.

    This is a `fastgs.initializers.Initializer` in which nothing is random.
    """
    _, height, width = image.shape
    rows = min(max(1, round(math.sqrt(num_gaussians * height / width))), max(1, num_gaussians))
    edges = [num_gaussians * row // rows for row in range(rows + 1)]
    lines = []
    for row in range(rows):
        columns = edges[row + 1] - edges[row]
        x = (torch.arange(columns) + 0.5) * width / max(1, columns)
        lines.append(torch.stack([x, torch.full_like(x, (row + 0.5) * height / rows)], dim=1))
    return gaussians_at(torch.cat(lines).to(image.device), image, image.new_full((height, width), 1 / (height * width)))
