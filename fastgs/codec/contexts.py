"""What is known of a Gaussian before it is read: the mean of its neighbours along the curve, and how sure that is.

Gaussians are read coarse to fine: first every 32nd along the curve, then those halfway between, and so on. So all but
the first have neighbours on both sides. Everything is in integers, so that it is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.entropy import IntArray

COARSEST = 5
FRACTION = 16  # means are in units of 1 / 16 symbol
CLASSES = 3

_PLACES = (2, 3, 1, 4, 0, 5)  # of the neighbours, nearest first, among known ones from the third before
_SOFTENING = 64  # square pixels: neighbours nearer than 8 pixels weigh about the same


@dataclass(frozen=True)
class Level:
    """Gaussians that are read together, n of them.

    Attributes:
        first, stride: they are every so many, in the order of the curve.
        weights: (m, n) of the known ones near each; 0 where there is none. At the coarsest level, m is 0.
        density: (n,) the sum of the weights.
    """

    first: int
    stride: int
    weights: IntArray
    density: IntArray

    @property
    def index(self) -> slice:
        """Which they are."""
        return slice(self.first, None, self.stride)

    def neighbours(self, values: IntArray) -> list[IntArray]:
        """What the known ones near each have, (..., n), m times.

        Args:
            values: (..., N) of all Gaussians.
        """
        known = values[..., :: self.stride]
        ends = np.zeros((*values.shape[:-1], 3), np.int64)
        known = np.concatenate([ends[..., :2], known, ends], axis=-1)
        return [known[..., place : place + len(self.density)] for place in _PLACES[: len(self.weights)]]

    def means(self, values: IntArray) -> tuple[IntArray, IntArray]:
        """Weighted mean of the neighbours and mean absolute deviation from it, (C, n) each, in 1 / `FRACTION`.

        Args:
            values: (C, N) symbols.
        """
        if not len(self.weights):
            none = np.zeros((len(values), len(self.density)), np.int64)
            return none, none
        known = self.neighbours(values * FRACTION)
        mean = sum(map(np.multiply, self.weights, known)) // self.density
        return mean, sum(map(np.multiply, self.weights, [np.abs(each - mean) for each in known])) // self.density


def levels(count: int) -> list[Level]:
    """All of them, coarsest first, with weights of 1."""
    result = [Level(0, 1 << COARSEST, *_ones(0, len(range(0, count, 1 << COARSEST))))]
    for each in range(COARSEST - 1, -1, -1):
        if count > 1 << each:
            level = Level(1 << each, 2 << each, *_ones(len(_PLACES), len(range(1 << each, count, 2 << each))))
            weights = np.stack(level.neighbours(np.ones(count, np.int64)))
            result.append(replace(level, weights=weights, density=weights.sum(0)))
    return result


def _ones(rows: int, count: int) -> tuple[IntArray, IntArray]:
    return np.ones((rows, count), np.int64), np.full(count, rows)


def weighted(parts: Sequence[Level], x: IntArray, y: IntArray, position: int) -> list[Level]:
    """Levels with neighbours weighted by how near they are.

    Args:
        parts: of `levels`.
        x, y: (N,) of all Gaussians, in units of `2 ** -position` pixels.
        position: see `Steps`.
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
    """0 where values are low, 1 where they are about their mean, 2 where they are high.

    Args:
        values: (..., n), not empty; each row has a mean of its own.
    """
    mean = values.sum(-1, keepdims=True) // values.shape[-1]
    half = np.abs(values - mean).sum(-1, keepdims=True) // (2 * values.shape[-1])
    return np.asarray((values > mean - half).astype(np.int8) + (values > mean + half), np.int8)
