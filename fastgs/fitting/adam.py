"""Adam with a memory that grows with the run.

Early gradients point somewhere else than late ones: an average that goes far back would hold a fit to where it came
from, and one that does not never settles. So both averages begin with hardly any memory and go back further with each
step, which beats memories that are constant over a run and the best for its length (benchmarks/LOG.md, "Memory that
grows").
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.options import ADAM_EPSILON


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


@lru_cache(maxsize=16)
def _tabulate(schedule: BetaSchedule, count: int) -> NDArray[np.float64]:
    return np.array(list(islice(weights(schedule), count)))


def tabulate(schedule: BetaSchedule, start: int, stop: int) -> NDArray[np.float64]:
    """Return the weights of steps [start, stop) as rows; fits of small images take them from one table."""
    return _tabulate(schedule, 1 << max(6, stop.bit_length()))[start:stop]


class GrowingAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba, 2015) with betas that change from step to step.

    It calls the fused kernel of `torch.optim.Adam` itself: methods of torch's optimizers import its compiler on first
    use, which takes as long as a short fit. Of those methods it has `step` and `zero_grad` only.

    Args:
        params: Parameters, or groups of them as `torch.optim.Adam` takes them, with their "lr", to be set before every
            step.
        gradient: Memory of the average of gradients.
        square: Memory of the average of squared gradients.
    """

    def __init__(self, params: Iterable[Any], gradient: BetaSchedule, square: BetaSchedule) -> None:
        given = list(params)
        self.param_groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        self.state = defaultdict(dict)
        self._weights = weights(gradient), weights(square)
        self._taken = 0

    @override
    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for each in group["params"]:
                each.grad = None

    @torch.no_grad()
    @override
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self._taken += 1
        gradient, square = (next(each) for each in self._weights)
        betas = 1 - gradient.new, 1 - square.new
        # The kernel corrects averages for their start at zero as if betas had always been what they are now.
        believed = [1 - beta**self._taken for beta in betas]
        correction = believed[0] / gradient.known * math.sqrt(square.known / believed[1])
        for group in self.param_groups:
            self._move(group["params"], group["lr"] * correction, betas)

    def _move(self, params: list[Tensor], rate: float, betas: tuple[float, float]) -> None:
        """Move parameters by their gradients, where they have some."""
        params = [each for each in params if each.grad is not None]
        gradients = [each.grad for each in params if each.grad is not None]
        if not params:
            return
        for each in params:
            if not self.state[each]:
                self.state[each] = {
                    "step": torch.zeros((), dtype=torch.float32, device=each.device),
                    "exp_avg": torch.zeros_like(each),
                    "exp_avg_sq": torch.zeros_like(each),
                }
        states = [self.state[each] for each in params]
        steps, averages, squares = ([each[name] for each in states] for name in ("step", "exp_avg", "exp_avg_sq"))
        for step in steps:
            step += 1
        torch._fused_adam_(
            params, gradients, averages, squares, [], steps,
            lr=rate, beta1=betas[0], beta2=betas[1], weight_decay=0.0, eps=ADAM_EPSILON, amsgrad=False, maximize=False,
        )  # fmt: skip
