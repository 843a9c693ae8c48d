"""GaussianImage++ (Li et al., AAAI 2026, arXiv 2512.19108): half the Gaussians at first, more where errors are.

Constants are those of github.com/Sweethyh/GaussianImage_plus, train.py and models/gaussianimage_covariance.py. An
event adds 1000 Gaussians, as their code does, or more if the last event would have to add more than that; by the paper
it is half of what is missing, which is worse (benchmarks/LOG.md, "Published lengths"). They are black, as in the code,
and not of the colours of the image, to which they would add up. Two things differ. Their code prunes every 100 steps
what is no covariance any more, and may end with fewer Gaussians; here that is drawn so thin that it cannot be seen, and
replaced at the next event. And of its steps, it keeps the best state, where this looks at every tenth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.covariance import SMALLEST, axes, covariances
from fastgs.fitting.densification import Edit
from fastgs.fitting.loss_functions import CLAMPED_MSE
from fastgs.fitting.optimizer import Descent, OptimizationConfig
from fastgs.fitting.parametrization import Attributes, Parametrization
from fastgs.gaussians import Gaussians
from fastgs.methods.gaussianimage import ITERATIONS, constant, halving
from fastgs.methods.method import Method

RATE = 0.018  # learning rate of all variables: pixels, squared pixels, colours
EPSILON = 1e-15  # eps of Adam
HALVED_EVERY = 20_000  # steps after which the rates are halved
GROWN_EVERY = 5_000  # steps after which Gaussians are added, but not after the last
ADDED = 1000  # Gaussians that an event adds
ALPHA = 9 * math.pi  # of the content-aware filter
WIDEST_FILTER = 300.0  # largest variance of the filter in squared pixels
BOUND = 0.5  # squared pixels, added to the variances of Gaussians that are added later


def filter_variance(height: int, width: int, num_gaussians: int) -> float:
    """Return the variance of the content-aware filter, s = H W / (9 pi N) in squared pixels, at most 300.

    Sigma is a variable plus s I, with the s of the N that there are when the Gaussian is born, for good. So the filter
    is a larger start, and nothing else: neither gradients nor Adam can tell where the zero of a variable lies.
    """
    return min(height * width / (ALPHA * num_gaussians), WIDEST_FILTER)


class Covariance(Parametrization):
    """Entries xx, xy, yy of the filtered covariance, and centres in pixels, as they are."""

    NAMES = ("means", "covariances", "colors")

    @override
    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        free = {
            "means": gaussians.means.detach().clone(),
            "covariances": covariances(gaussians.scales, gaussians.rotations),
            "colors": gaussians.colors.detach().clone(),
        }
        return free, {}

    @override
    def attributes(self) -> Attributes:
        return Attributes(self.free["means"], *axes(self.free["covariances"]), self.free["colors"])


def _draw_black(image: Tensor, means: Tensor, variance: float, generator: torch.Generator | None) -> Gaussians:
    """Draw black Gaussians: variances uniform in [0, 1] plus `variance`, covariance uniform in [0, 1] if it can be.

    Their matrices may be no covariances, and are pruned if so; here the entry stays under the geometric mean of the
    variances.
    """
    variances, mixed = torch.rand(len(means), 3, generator=generator).to(means).split([2, 1], dim=1)  # type: ignore[no-untyped-call]
    variances = variances + variance
    mixed = mixed * (0.99 * variances.prod(1, keepdim=True).sqrt()).clamp(max=1)
    matrices = torch.cat([variances[:, :1], mixed, variances[:, 1:]], dim=1)
    black = means.new_zeros(len(means), len(image))
    return Gaussians(means, *axes(matrices), black, image.shape[1], image.shape[2], "sum")


def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Place Gaussians uniformly."""
    _, height, width = image.shape
    means = torch.rand(num_gaussians, 2, generator=generator).to(image) * image.new_tensor([width, height])
    return _draw_black(image, means, filter_variance(height, width, max(num_gaussians, 1)), generator)


@dataclass
class DistortionDriven:
    """Adds Gaussians at the pixels of largest error every tenth of the run, the last time all that are missing.

    Attributes:
        num_gaussians: K at the end.
        generator: Random generator of the shapes.
        halves: True: An event adds half of what is missing. False: It adds 1000, or as many more as the last event
            would have to add otherwise.
        events: Shares of the run at which it acts, see `fastgs.fitting.densification.Densification`.
        grows: True: Gaussians are missing until the last event.
    """

    num_gaussians: int
    generator: torch.Generator | None = None
    halves: bool = False
    events: ClassVar[Sequence[float]] = tuple(step / ITERATIONS for step in range(GROWN_EVERY, ITERATIONS, GROWN_EVERY))
    grows: ClassVar[bool] = True

    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Add Gaussians at the pixels of largest error."""
        keep = descent.gaussians().scales[:, 1] > 1.001 * SMALLEST  # the others are no covariances
        there = int(keep.sum())
        missing = self.num_gaussians - there
        left = len(self.events) - event
        count = min(missing, math.ceil(missing / 2) if self.halves and left > 1 else max(ADDED, -(-missing // left)))
        _, height, width = target.shape
        errors = (descent.image().clamp(0, 1) - target).abs().sum(0).flatten()
        worst = errors.argsort(descending=True)
        pixels = worst[torch.arange(count, device=worst.device) % len(worst)]  # again from the first if K is that large
        means = torch.stack([pixels % width, pixels // width], dim=1).to(target) + 0.5
        variance = BOUND + filter_variance(height, width, max(there + count, 1))
        return Edit(keep, _draw_black(target, means, variance, self.generator))


METHOD = Method(
    source="arXiv 2512.19108, github.com/Sweethyh/GaussianImage_plus",
    iterations=ITERATIONS,
    initialize=initialize,
    blend="sum",
    optimization=OptimizationConfig(
        Covariance,
        partial(torch.optim.Adam, eps=EPSILON, fused=True),
        constant(RATE, Covariance.NAMES),
        halving(HALVED_EVERY),
        CLAMPED_MSE,
        keep_best=True,
    ),
    densification=lambda num_gaussians, _pixels, _steps, generator: DistortionDriven(num_gaussians, generator),
    start=lambda num_gaussians: math.ceil(num_gaussians / 2),
)
