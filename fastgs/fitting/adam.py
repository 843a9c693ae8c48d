"""Adam with a memory that grows with the run.

Early gradients point somewhere else than late ones: an average that goes far back would hold a fit to where it came
from, and one that does not never settles. So both averages begin with hardly any memory and go back further with each
step, which beats memories that are constant over a run and the best for its length (benchmarks/LOG.md, "Memory that
grows").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from typing_extensions import override

# The mean over pixels makes gradients small: Adam's usual eps of 1e-8 would swallow them.
EPSILON = 1e-15


class BetaSchedule(NamedTuple):
    """Schedule of the memory of an exponential average: the number of steps that it goes back, `1 / (1 - beta)`.

    Attributes:
        first: Memory at the first step, at least 1.
        growth: Growth with each step, at least 0.
        longest: Memory at which growth ends.
    """

    first: float
    growth: float
    longest: float

    def beta(self, step: int) -> float:
        """Return the decay of the average at a step, counted from 0."""
        return 1 - 1 / min(self.longest, self.first + self.growth * step)


class Weights(NamedTuple):
    """Weights in an exponential average that began at zero, at one step.

    Attributes:
        new: Weight of the newest value.
        known: Sum of the weights of all values so far, `1 - product of the betas`: the average is divided by it.
    """

    new: float
    known: float


def weights(schedule: BetaSchedule) -> Iterator[Weights]:
    """Yield the weights of every step, from the first on."""
    zero, step = 1.0, 0
    while True:
        beta = schedule.beta(step)
        zero *= beta
        yield Weights(1 - beta, 1 - zero)
        step += 1


class GrowingAdam(torch.optim.Adam):
    """Adam (Kingma and Ba, 2015) with betas that change from step to step.

    Args:
        params: Groups of parameters as `torch.optim.Adam` takes them, with their "lr", to be set before every step.
        gradient: Memory of the average of gradients.
        square: Memory of the average of squared gradients.
    """

    def __init__(self, params: Iterable[Any], gradient: BetaSchedule, square: BetaSchedule) -> None:
        super().__init__(params, betas=(gradient.beta(0), square.beta(0)), eps=EPSILON, fused=True)
        self._weights = weights(gradient), weights(square)
        self._taken = 0

    @torch.no_grad()
    @override
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        # The rates are used up: they are multiplied by a correction.
        self._taken += 1
        gradient, square = (next(each) for each in self._weights)
        betas = 1 - gradient.new, 1 - square.new
        # The base class corrects averages for their start at zero as if betas had always been what they are now.
        believed = [1 - beta**self._taken for beta in betas]
        correction = believed[0] / gradient.known * math.sqrt(square.known / believed[1])
        for group in self.param_groups:
            group["betas"] = betas
            group["lr"] *= correction
        super().step()
