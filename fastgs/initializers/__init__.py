"""Where a fit starts: one file per idea, each `(image, num_gaussians, generator) -> Gaussians`.

The heuristics differ in the density alone: positions are drawn from it by sampling.py, and scales, rotations and
colours follow from image and density by the one rule in from_density.py, so that comparing two compares densities. Only
"nearest" has a rule of its own.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature, gradient, grid, nearest, random, saliency


class Initializer(Protocol):
    """An initializer.

    Args:
        image: (3, H, W) float32 in [0, 1].
        num_gaussians: K, from 0 up; exactly as many are made.
        generator: the source of everything random; by default torch's global one.
    """

    def __call__(self, image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
        """Make `num_gaussians` Gaussians on the canvas of `image`."""
        ...


INITIALIZERS: dict[str, Initializer] = {
    "curvature": curvature.initialize,
    "gradient": gradient.initialize,
    "saliency": saliency.initialize,
    "grid": grid.initialize,
    "random": random.initialize,
    "nearest": nearest.initialize,
}

# The best at every K and number of iterations in benchmarks/results/quality.json.
DEFAULT = "curvature"
