"""Stage I targets: optimize Gaussians on their image, relocating the idle ones, and project them back to a density.

Sampling is not differentiable, so the position network learns from where an optimizer takes its samples (Fast-2DGS,
section 3.2: "optimize and project"). Gradient descent alone moves a Gaussian by a pixel or two, and the projection
would repeat the prediction; so the optimizer also takes the Gaussians that do least to where the error is largest.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.methods.fastgs import FASTGS

if TYPE_CHECKING:
    from lightning.pytorch.strategies import Strategy

# Number of visits that are looked for, the last one first: it is rare that an epoch leaves out an image, and rarer that
# the next one of the same slot does so again.
LOOK_BACK = 4


def optimize(
    target: Tensor, gaussians: Gaussians, iterations: int, generator: torch.Generator | None = None
) -> Gaussians:
    """Fit (K,) Gaussians to a (C, H, W) image with relocation, as long fits do; K stays as it is."""
    return FASTGS.refine(target, gaussians, FitOptions(iterations), generator=generator).gaussians


class TargetStore:
    """Optimized Gaussians of images, kept on disk from one visit to the next.

    A visit is read by the next one, and written again when a run is resumed from before it; so the last two are kept,
    and what a resumed run reads is what the first run read. An image that an epoch left out, as epochs do that the
    number of devices does not divide, goes on from the visit before.

    Args:
        folder: Folder on disk, made when first written to; all processes of a run share it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, index: int, slot: int, visit: int) -> Path:
        return self.folder / f"{index:06d}-{slot}-{visit}.safetensors"

    def load(self, index: int, slot: int, visit: int) -> Gaussians | None:
        """Return the Gaussians that a visit left, or else one of the few before it; None if there was none."""
        for each in range(visit, max(visit - LOOK_BACK, -1), -1):
            with suppress(FileNotFoundError):
                return Gaussians.load(self._path(index, slot, each))
        return None

    def save(self, index: int, slot: int, visit: int, gaussians: Gaussians) -> None:
        """Keep the Gaussians that a visit leaves, for the next; forget all but the last visit before it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        gaussians.save(self._path(index, slot, visit))
        before = [self._path(index, slot, each) for each in range(visit - 1, max(visit - 2 - LOOK_BACK, -1), -1)]
        last = next((place for place, path in enumerate(before) if path.exists()), len(before))
        for path in before[last + 1 :]:
            path.unlink(missing_ok=True)

    def check_shared(self, strategy: Strategy) -> None:
        """Check that all processes of a run see the same folder.

        Args:
            strategy: Strategy of the trainer.

        Raises:
            ValueError: One of them does not; raised in all of them, one line that begins with the argument.
        """
        mark: str = strategy.broadcast(uuid.uuid4().hex if strategy.is_global_zero else "")
        path = self.folder / f".{mark}"
        try:
            if strategy.is_global_zero:
                self.folder.mkdir(parents=True, exist_ok=True)
                path.touch()
            strategy.barrier()
            is_seen = strategy.reduce_boolean_decision(path.exists(), all=True)
        finally:
            if strategy.is_global_zero:
                path.unlink(missing_ok=True)
        if not is_seen:
            raise ValueError(
                f"model.targets: {self.folder} is not one folder for all processes, which read each other's targets; "
                "name one on a disk that all machines share"
            )
