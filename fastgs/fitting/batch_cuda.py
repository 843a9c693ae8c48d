"""Fits of many images of one size at once on a GPU, by the kernels of a fit of one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.batch_descent import Batch, join
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.optimizer_cuda import CudaDescent
from fastgs.fitting.parametrization import Attributes, Relative
from fastgs.gaussians import Gaussians


class KernelBatch(Batch, CudaDescent):
    """Descent of images of one size: a step of all is one launch of each kernel, and ten steps are one graph.

    Args:
        targets: B images (C, H, W), C at most `fastgs.render.cuda.MOST_CHANNELS`.
        starts: B sets of Gaussians, at least one in all, each on the canvas of its image; of one blend rule.
        rates: Learning rates.
    """

    def __init__(self, targets: Sequence[Tensor], starts: Sequence[Gaussians], rates: LearningRates) -> None:
        self.starts = starts
        super().__init__(Relative(join(starts)), torch.stack(list(targets)), rates, [len(each) for each in starts])

    @override
    def attributes(self) -> Attributes:
        found = self.unchecked()
        return Attributes(found.means, found.scales, found.rotations, found.colors)

    @override
    @torch.no_grad()
    def mean_errors(self, low: float = -math.inf, high: float = math.inf) -> Tensor:
        return (self.image().clamp(low, high) - self._targets).square().mean((1, 2, 3))
