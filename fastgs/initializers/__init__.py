"""Initializers: where a fit starts. One file per idea, each `(image, num_gaussians, generator) -> Gaussians`.

The heuristics differ in the density alone: positions are drawn from it by sampling.py, and scales, rotations and
colours follow from image and density by the one rule in from_density.py, so that comparing two compares densities. Only
"nearest" has a rule of its own. "learned", the networks, is registered by `fastgs.methods.fastgs`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature, gradient, grid, nearest, random, saliency
from fastgs.runtime.registry import Registry

__all__ = ["DEFAULT", "INITIALIZERS", "Initializer"]


class Initializer(Protocol):
    """Callable that places Gaussians on an image."""

    def __call__(self, image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
        """Make Gaussians on the canvas of an image.

        Args:
            image: (C, H, W) float32 in [0, 1].
            num_gaussians: K, from 0 up; exactly as many are made.
            generator: Source of everything random; by default the global one of torch.
        """
        ...


INITIALIZERS: Registry[Initializer] = Registry("initializer")
INITIALIZERS.register("curvature", curvature.initialize)
INITIALIZERS.register("gradient", gradient.initialize)
INITIALIZERS.register("saliency", saliency.initialize)
INITIALIZERS.register("grid", grid.initialize)
INITIALIZERS.register("random", random.initialize)
INITIALIZERS.register("nearest", nearest.initialize)

# The best at every K and number of iterations in benchmarks/results/quality.json.
DEFAULT = "curvature"
