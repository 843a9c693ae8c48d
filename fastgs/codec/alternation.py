"""Search and fit in turns, so that the continuous fit makes up for what rounding to symbols has cost.

A search moves one Gaussian by one symbol at a time, and a gradient moves all Gaussians at once by less than a symbol.
Each ends where it cannot go on and the other one can: after three sweeps a few steps of the fit, which begin at what
the symbols stand for, find the directions that many Gaussians must take together, and the next search rounds anew. What
is not worth its bits has gone by then, and the others have moved into its place. benchmarks/LOG.md, section
"Alternation", has what it is worth.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from fastgs.codec.filling import COARSEST, FINEST, MIDDLE, USUAL, Start, estimate_size, find_step
from fastgs.codec.tuning import WeightedSquaredError
from fastgs.fitting.fit import fit
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions

SWEEPS = 3  # of each search
STEPS = 20  # of each fit
RATE = 0.1  # rates of these fits, in units of those of the fit before them
GROWTH = 1.055  # of the file in the last search, where bits cost less
# Of a busy photo, half of the Gaussians and more are dropped on the way, for a better image. If the others would need
# steps finer than this to fill the file, there are too few.
LEAST = 0.55 * USUAL


def alternate(
    image: Tensor,
    start: Start,
    target_bytes: int | None,
    rounds: int,
    rates: LearningRates,
    model: int | None = None,
    importance: Tensor | None = None,
    ends: bool = True,
) -> Start | None:
    """Search and fit in turns, at steps that bring the file nearer to a size.

    Args:
        image: (C, H, W) in [0, 1].
        start: Fitted Gaussians, and the factor of the quantization steps to begin with.
        target_bytes: Size that the file should have in the end; None for those steps.
        rounds: Number of searches, each with a fit behind it.
        rates: Learning rates of the fit of these Gaussians.
        model: Number of the learned model of symbols, for RGB; None for models that are fitted to each layer.
        importance: (H, W) factors of the squared errors of pixels; None for 1.
        ends: True to end where too few Gaussians are left; otherwise the price falls there, so that no more go.

    Returns:
        What the last search begins with; None if too few Gaussians are left.
    """
    loss = None if importance is None else WeightedSquaredError(importance)
    optimization = _reduce(rates).config(loss)
    for _ in range(rounds):
        searching = start.search(image, model, importance)
        searching.run(SWEEPS)
        if not searching.count:
            break
        coarseness, price = start.coarseness, searching.price
        if target_bytes is not None:
            size, wanted = GROWTH * estimate_size(searching.bits), MIDDLE * target_bytes
            coarseness = min(COARSEST, max(FINEST, coarseness * math.exp(find_step(searching, size, wanted))))
            if coarseness < LEAST and ends:
                return None
            if coarseness < LEAST:
                price *= min(1.0, size / wanted)
        fitted = fit(image, searching.gaussians.to(image.device), FitOptions(STEPS), optimization=optimization)
        start = Start(fitted.gaussians, coarseness, price)
    return start


def _reduce(rates: LearningRates) -> LearningRates:
    """Return rates for steps from a place that is nearly the best one, the same for all steps."""
    attributes = ("means", "scales", "rotations", "colors")
    return replace(rates, decay=1.0, **{name: RATE * getattr(rates, name) for name in attributes})
