"""Search and fit in turns, so that the continuous fit makes up for what rounding to symbols has cost.

A search moves one Gaussian by one symbol at a time, and a gradient moves all Gaussians at once by less than a symbol.
Each ends where it cannot go on and the other one can: after two sweeps a few steps of the fit, which begin at what the
symbols stand for, find the directions that many Gaussians must take together, and the next search rounds anew. What is
not worth its bits has gone by then, and the others have moved into its place. benchmarks/LOG.md, section
"Alternation", has what it is worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from fastgs.codec.rdo import Search
from fastgs.codec.tuning import WeightedSquaredError
from fastgs.fitting.fit import fit
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians

SWEEPS = 2  # of each search
STEPS = 20  # of each fit
RATE = 0.1  # rates of these fits, in units of those of the fit before them


@dataclass(frozen=True)
class Rounded:
    """Gaussians near symbols.

    Attributes:
        gaussians: Gaussians, for a search to round.
        coarseness: Factor of the quantization steps of that search.
        price: Squared error that a bit is worth at most.
    """

    gaussians: Gaussians
    coarseness: float
    price: float = math.inf


def alternate(
    image: Tensor,
    start: Rounded,
    rounds: int,
    rates: LearningRates,
    search: Callable[[Rounded], Search],
    steer: Callable[[Search, Rounded], Rounded],
    least: float,
    importance: Tensor | None = None,
) -> Rounded:
    """Return Gaussians after a number of searches with a short fit behind each.

    Args:
        image: (C, H, W) in [0, 1].
        start: Fitted Gaussians, and what the first search begins with.
        rounds: Number of searches.
        rates: Learning rates of the fit of these Gaussians.
        search: Callable that makes the search of the symbols of Gaussians.
        steer: Callable that returns what the next search begins with, given a search and what it began with; the
            Gaussians are those that the search has found.
        least: Coarseness below which there are no further searches, as there are too few Gaussians for finer steps.
        importance: (H, W) factors of the squared errors of pixels; None for 1.
    """
    loss = None if importance is None else WeightedSquaredError(importance)
    optimization = _reduce(rates).config(loss)
    state = start
    for _ in range(rounds):
        searching = search(state)
        searching.run(SWEEPS)
        if not searching.count:
            break
        state = steer(searching, state)
        if state.coarseness < least:
            break
        fitted = fit(image, state.gaussians.to(image.device), FitOptions(STEPS), optimization=optimization)
        state = replace(state, gaussians=fitted.gaussians)
    return state


def _reduce(rates: LearningRates) -> LearningRates:
    """Return rates for steps from a place that is nearly the best one, the same for all steps."""
    attributes = ("means", "scales", "rotations", "colors")
    return replace(rates, decay=1.0, **{name: RATE * getattr(rates, name) for name in attributes})
