"""Numba kernels of the distributions that the learned model of symbols answers with, see surroundings_kernels.py."""

from __future__ import annotations

import math

import numpy as np

from fastgs.codec.surroundings_kernels import COLUMNS, UNIT, exponential
from fastgs.runtime.jit import jit

WEIGHT = 128  # units of weights in 1
ACTIVE = 4095  # largest activation in units of 1 / `UNIT`

COMPONENTS = 3  # logistic distributions that a symbol's is a mixture of
OUTPUTS = 3 * COMPONENTS  # their places, logarithms of scales and of shares
MEANS = 2 * COLUMNS  # features that the last layer sees, too
MEANS_BEGIN = 8  # first of them among the common features

SHARES = 256  # sum of the shares of the components
PART = 64  # units of places in a symbol, and of the argument of the logistic function in 1
LOGISTIC_BITS = 20
TOTAL_BITS = 24
FLOOR_BITS = 14  # bits of the frequency that all symbols of a table share evenly

_STRICT: frozenset[str] = frozenset()


def _mix(outputs, unit, scale, center, table, places, inverses, shares):
    """Fill in the mixtures that outputs stand for.

    Args:
        outputs: (n, `OUTPUTS`) whole numbers in units of 1 / (`UNIT` * `WEIGHT`).
        unit: Value of a symbol.
        scale: Factor of values in features.
        center: Middle value of the layer.
        table: Exponential function.
        places: (n, `COMPONENTS`) int64 places in units of 1 / `PART` symbols; filled in.
        inverses: (n, `COMPONENTS`) float64 inverse scales, per symbol; filled in.
        shares: (n, `COMPONENTS`) int64 shares, whose sum is `SHARES`; filled in.
    """
    one = float(UNIT * WEIGHT)
    weights = np.zeros(COMPONENTS)
    for i in range(len(outputs)):
        total = 0.0
        for k in range(COMPONENTS):
            value = outputs[i, 0] / one
            if k > 0:
                value = (outputs[i, 0] + outputs[i, k]) / one
            places[i, k] = math.floor((value / scale + center) / unit * PART + 0.5)
            inverses[i, k] = unit * scale * exponential(table, -outputs[i, COMPONENTS + k] / one)
            weights[k] = exponential(table, min(max(outputs[i, 2 * COMPONENTS + k] / one, -8.0), 8.0))
            total += weights[k]
        shares[i, 0] = SHARES
        for k in range(1, COMPONENTS):
            shares[i, k] = math.floor(SHARES * weights[k] / total)
            shares[i, 0] -= shares[i, k]


mix = jit(_mix, flags=_STRICT)


def _tabulate(places, inverses, shares, logistic, bound, frequencies):
    """Fill in the frequencies of residuals, each less 1, whose sum is 2^24 less their number.

    Args:
        places: (n, `COMPONENTS`) as from `mix`, likewise the next two.
        inverses: (n, `COMPONENTS`) inverse scales.
        shares: (n, `COMPONENTS`) shares.
        logistic: Logistic function times 2^`LOGISTIC_BITS`, at multiples of 1 / `PART`, 0 in its middle.
        bound: Largest residual; they count from the nearest symbol to the first place.
        frequencies: (n, 2 `bound` + 1) float64; filled in.
    """
    middle = len(logistic) // 2
    count = 2 * bound + 1
    floor = max((1 << FLOOR_BITS) // count, 1)
    room = (1 << TOTAL_BITS) - count * floor
    for i in range(len(places)):
        nearest = (places[i, 0] + PART // 2) // PART
        before = 0
        for residual in range(count):
            after = room
            if residual < count - 1:
                edge = (nearest - bound + residual) * PART + PART // 2
                total = 0
                for k in range(COMPONENTS):
                    distance = math.floor((edge - places[i, k]) * inverses[i, k] + 0.5)
                    place = min(max(distance, -middle), middle) + middle
                    total += shares[i, k] * logistic[place]
                after = (total * room) >> (LOGISTIC_BITS + 8)
            frequencies[i, residual] = after - before + floor - 1
            before = after


tabulate = jit(_tabulate, flags=_STRICT)
