"""Contexts of a symbol: the mean of its known neighbours along the curve, and how reliable that mean is.

Gaussians are read coarse to fine: first every 32nd along the curve, then those halfway between, and so on. So all but
the first have neighbours on both sides. All arithmetic is in integers, so that results are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.entropy import IntArray

COARSEST = 5  # level that is read first: every 2^5th Gaussian
FRACTION = 16  # means are in units of 1 / 16 symbol
CLASSES = 3

_PLACES = (2, 3, 1, 4, 0, 5)  # neighbours, nearest first, numbered among the known ones from the third before
_SOFTENING = 64  # square pixels: neighbours nearer than 8 pixels weigh about the same


@dataclass(frozen=True)
class Level:
    """A set of n Gaussians that are read together.

    Attributes:
        first: Index of the first of them, in the order of the curve.
        stride: Distance between the indices of two of them.
        weights: (m, n) weights of the m known neighbours of each; 0 where there is none. At the coarsest level, m is 0.
        density: (n,) sum of the weights.
    """

    first: int
    stride: int
    weights: IntArray
    density: IntArray

    @property
    def index(self) -> slice:
        """Indices of the Gaussians of this level."""
        return slice(self.first, None, self.stride)

    def neighbours(self, values: IntArray) -> list[IntArray]:
        """Return the values of the m known neighbours, (..., n) each; 0 where there is none.

        Args:
            values: (..., N) values of all Gaussians.
        """
        known = values[..., :: self.stride]
        ends = np.zeros((*values.shape[:-1], 3), np.int64)
        known = np.concatenate([ends[..., :2], known, ends], axis=-1)
        return [known[..., place : place + len(self.density)] for place in _PLACES[: len(self.weights)]]

    def means(self, values: IntArray) -> tuple[IntArray, IntArray]:
        """Return the weighted mean of the neighbours and the mean absolute deviation from it.

        Args:
            values: (C, N) symbols.

        Returns:
            (C, n) means and (C, n) deviations, in units of 1 / `FRACTION`.
        """
        if not len(self.weights):
            none = np.zeros((len(values), len(self.density)), np.int64)
            return none, none
        known = self.neighbours(values * FRACTION)
        mean = sum(map(np.multiply, self.weights, known)) // self.density
        return mean, sum(map(np.multiply, self.weights, [np.abs(each - mean) for each in known])) // self.density


def levels(count: int) -> list[Level]:
    """Return the levels of `count` Gaussians, coarsest first, with weights of 1."""
    result = [Level(0, 1 << COARSEST, *_make_weights(0, len(range(0, count, 1 << COARSEST))))]
    for each in range(COARSEST - 1, -1, -1):
        if count > 1 << each:
            number = len(range(1 << each, count, 2 << each))
            level = Level(1 << each, 2 << each, *_make_weights(len(_PLACES), number))
            weights = np.stack(level.neighbours(np.ones(count, np.int64)))
            result.append(replace(level, weights=weights, density=weights.sum(0)))
    return result


def _make_weights(rows: int, count: int) -> tuple[IntArray, IntArray]:
    """Return (rows, count) weights of 1 and their (count,) sums."""
    return np.ones((rows, count), np.int64), np.full(count, rows)


def weighted(parts: Sequence[Level], x: IntArray, y: IntArray, position: int) -> list[Level]:
    """Return levels whose neighbours are weighted by how near they are.

    Args:
        parts: Levels from `levels`.
        x: (N,) first coordinates of all Gaussians, in units of `2 ** -position` pixels.
        y: (N,) second coordinates, in the same units.
        position: Exponent of the unit of positions, as in `Steps`.
    """
    result = [parts[0]]
    for level in parts[1:]:
        right, down = (np.stack(level.neighbours(each)) - each[level.index] for each in (x, y))
        squares = right * right + down * down
        squares = squares >> 2 * position if position >= 0 else squares << -2 * position
        weights = level.weights * ((1 << 20) // (squares + _SOFTENING) + 1)
        result.append(replace(level, weights=weights, density=weights.sum(0)))
    return result


def classes(values: IntArray) -> NDArray[np.int8]:
    """Return a class for each value: 0 where values are low, 1 where they are near their mean, 2 where they are high.

    Args:
        values: (..., n) values, n at least 1; each row has a mean of its own.
    """
    mean = values.sum(-1, keepdims=True) // values.shape[-1]
    half = np.abs(values - mean).sum(-1, keepdims=True) // (2 * values.shape[-1])
    return np.asarray((values > mean - half).astype(np.int8) + (values > mean + half), np.int8)
