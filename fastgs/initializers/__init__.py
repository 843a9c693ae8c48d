"""Initializers: where a fit starts. One file per idea, each `(image, num_gaussians, generator) -> Gaussians`.

The heuristics differ in the density alone: positions are drawn from it by sampling.py, and scales, rotations and
colours follow from image and density by the one rule in from_density.py, so that comparing two compares densities. Only
"nearest" has a rule of its own. "learned", the networks, is declared by `fastgs.methods`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fastgs.runtime.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fastgs.gaussians import Gaussians

__all__ = ["DEFAULT", "INITIALIZERS", "BatchInitializer", "Initializer"]


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


@runtime_checkable
class BatchInitializer(Initializer, Protocol):
    """Initializer that also places Gaussians on many images at once, which for small ones is several times as fast."""

    def batch(self, images: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> list[Gaussians]:
        """Make Gaussians on the canvas of each image, as if it were alone, to the bit.

        Args:
            images: (B, C, H, W) float32 in [0, 1].
            num_gaussians: K of each image, from 0 up.
            generator: Source of everything random, which each image finds in the same state.
        """
        ...


INITIALIZERS: Registry[Initializer] = Registry("initializer")
INITIALIZERS.declare("curvature", "fastgs.initializers.curvature:initialize")
INITIALIZERS.declare("gradient", "fastgs.initializers.gradient:initialize")
INITIALIZERS.declare("saliency", "fastgs.initializers.saliency:initialize")
INITIALIZERS.declare("grid", "fastgs.initializers.grid:initialize")
INITIALIZERS.declare("random", "fastgs.initializers.random:initialize")
INITIALIZERS.declare("nearest", "fastgs.initializers.nearest:initialize")

# The best at every K and number of iterations in benchmarks/results/quality.json.
DEFAULT = "curvature"
