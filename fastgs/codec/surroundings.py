"""Gaussians that are known while symbols are decoded, level by level, and what they tell of the others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastgs.codec import hilbert
from fastgs.codec.contexts import COARSEST
from fastgs.codec.surroundings_kernels import (
    COLUMNS,
    COMMON,
    FEATURES,
    FINE,
    LARGEST,
    NEIGHBOURS,
    SHAPED,
    UNIT,
    describe,
    find_neighbours,
)
from fastgs.codec.symbol_model import SCALES, Floats, Longs
from fastgs.codec.symbols import AREA, Steps

_FINEST = 6  # exponent of positions in units of 1 / `SUBPIXEL` pixels
_CURVE = 4  # exponent of the cells of the curve, in these units: a quarter of a pixel
_PER_CENTER = 16  # middle values are in units of 1 / 16
_MAX_LAYER = 15
_MOST = 2.0**40  # no value that a proper file has


class Surroundings:
    """Gaussians that are known.

    Args:
        canvas: Height and width in pixels.
    """

    def __init__(self, canvas: tuple[int, int]) -> None:
        height, width = canvas
        self._pixels = height * width
        self._order = hilbert.order_for(4 * width + 1, 4 * height + 1)
        self._positions: Longs = np.zeros((0, 2), np.int64)
        self._values: Longs = np.zeros((0, COLUMNS), np.int64)
        self._along: Longs = np.zeros(0, np.int64)
        self._layers = -1
        self._first = 0

    def begin_layer(self, x: Longs, y: Longs, steps: Steps, centers: Longs, spreads: Longs) -> None:
        """Add the Gaussians of a layer, whose values are not known yet.

        Args:
            x: (N,) first coordinates, in the order of the curve, in units of `2 ** -position` pixels.
            y: (N,) second coordinates.
            steps: Units of the symbols.
            centers: (6,) middle values of the columns in units of 1 / 16.
            spreads: (6,) mean differences from them, as exponents of quarters of an octave of 1 / 256.
        """
        self._first = len(self._positions)
        self._layers = min(self._layers + 1, _MAX_LAYER)
        places = np.column_stack([x, y]) << (_FINEST - steps.position)
        self._positions = np.concatenate([self._positions, places])
        self._values = np.concatenate([self._values, np.zeros((len(x), COLUMNS), np.int64)])
        cells = places >> _CURVE
        self._along = np.concatenate([self._along, hilbert.index(cells[:, 0], cells[:, 1], self._order)])
        self._units = steps.columns()[AREA:]
        self._centers = centers
        self._spacing = float(np.sqrt(self._pixels / max(len(x), 1)))
        middle = centers * (UNIT // _PER_CENTER) * np.array(SCALES, np.int64) * (np.arange(COLUMNS) > 0)
        spacing = int(np.floor(self._spacing * 4 + 0.5))
        of_layer = np.concatenate([middle, (spreads - 20) * 4, [spacing]]).clip(-LARGEST, LARGEST)
        self.of_layer = of_layer.astype(np.float64)

    def set_values(self, index: Longs, column: int, symbols: Longs) -> None:
        """Tell the symbols of Gaussians of the layer, by their indices in it, in a column."""
        values = np.floor(symbols * self._units[column] * FINE + 0.5).clip(-_MOST, _MOST)
        self._values[self._first + index, column] = values.astype(np.int64)

    def levels(self) -> Iterator[Level]:
        """Yield the Gaussians of the layer in the order in which they are coded."""
        count = len(self._positions) - self._first
        trailing = find_levels(count)
        for number in range(COARSEST, -1, -1):
            index = np.flatnonzero(trailing == number)
            if len(index):
                known = np.concatenate([np.arange(self._first), self._first + np.flatnonzero(trailing > number)])
                yield Level(self, number, index, known)


class Level:
    """Gaussians of a layer that are coded together.

    Args:
        around: What is known.
        number: Number of the level.
        index: (n,) indices of the Gaussians in the layer.
        known: (K,) indices of all Gaussians whose values are known.
    """

    def __init__(self, around: Surroundings, number: int, index: Longs, known: Longs) -> None:
        self.index = index
        self._around, self._number = around, number
        self._me = around._first + index
        self._chosen = np.empty((len(index), NEIGHBOURS), np.int64)
        order = known[np.argsort(around._along[known], kind="stable")]
        find_neighbours(
            around._positions[order],
            around._along[order],
            order,
            around._positions[self._me],
            around._along[self._me],
            self._chosen,
        )

    def describe(self, exponential: Floats, shaped: bool) -> tuple[Floats, Floats]:
        """Return the features of each neighbour, (n, 8, F), and of all together, (n, G).

        Args:
            exponential: Table of the exponential function of the model.
            shaped: True if the shapes of the Gaussians are known.
        """
        around, count = self._around, len(self.index)
        each = np.empty((count, NEIGHBOURS, FEATURES + SHAPED))
        common = np.empty((count, COMMON))
        centers = around._centers * float(FINE // _PER_CENTER)
        describe(
            *(self._chosen, around._positions, around._values, self._me, shaped, centers, around._spacing),
            *(around._first, exponential, each, common),
        )
        luma = around._units[3]
        of_layer = [self._number * UNIT / 3, around._layers * 32.0, around._units[0] * 256, luma * 20 * UNIT]
        common[:, 4:8] = np.floor(np.array(of_layer) + 0.5).clip(-LARGEST, LARGEST)
        return each, common

    def own(self) -> Floats:
        """Return the values of the Gaussians as features, (n, 6); 0 for what is not known is a value as any other."""
        around = self._around
        shifted = around._values[self._me] - around._centers * (FINE // _PER_CENTER)
        own: Floats = (shifted * np.array(SCALES, np.int64) * UNIT // FINE).clip(-LARGEST, LARGEST).astype(np.float64)
        return own


def find_levels(count: int) -> NDArray[np.int64]:
    """Return the level of each of `count` Gaussians: the zeros that end its index in binary, at most `COARSEST`."""
    index = np.arange(count, dtype=np.int64) | 1 << COARSEST
    return np.asarray(np.frexp((index & -index).astype(np.float64))[1] - 1, np.int64)
