"""Stage I targets: optimize Gaussians on their image, relocating the idle ones, and project them back to a density.

Sampling is not differentiable, so the position network learns from where an optimizer takes its samples (Fast-2DGS,
section 3.2: "optimize and project"). Gradient descent alone moves a Gaussian by a pixel or two, and the projection
would repeat the prediction; so the optimizer also takes the Gaussians that do least to where the error is largest.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.methods.fastgs import FASTGS


def optimize(
    target: Tensor, gaussians: Gaussians, iterations: int, generator: torch.Generator | None = None
) -> Gaussians:
    """Fit (K,) Gaussians to a (C, H, W) image with relocation, as long fits do; K stays as it is."""
    return FASTGS.refine(target, gaussians, FitOptions(iterations), generator=generator).gaussians


class TargetStore:
    """Optimized Gaussians of images, kept on disk from one visit to the next.

    A visit is read by the next one only, and written again when a run is resumed from before it; so the last two are
    kept, and what a resumed run reads is what the first run read.

    Args:
        folder: Folder on disk, made when first written to; all processes of a run share it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, index: int, slot: int, visit: int) -> Path:
        return self.folder / f"{index:06d}-{slot}-{visit}.safetensors"

    def load(self, index: int, slot: int, visit: int) -> Gaussians | None:
        """Return the Gaussians that a visit left; None if there was none."""
        try:
            return Gaussians.load(self._path(index, slot, visit))
        except FileNotFoundError:
            return None

    def save(self, index: int, slot: int, visit: int, gaussians: Gaussians) -> None:
        """Keep the Gaussians that a visit leaves, for the next; forget those of the visit before the last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        gaussians.save(self._path(index, slot, visit))
        self._path(index, slot, visit - 2).unlink(missing_ok=True)
