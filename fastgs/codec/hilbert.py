"""The Hilbert curve over a grid of positions: cells that are near on it are near in the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def order_for(columns: int, rows: int) -> int:
    """Least n such that a square of `2 ** n` cells on a side covers the grid."""
    return (max(columns, rows, 1) - 1).bit_length()


def index(x: NDArray[np.int64], y: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """(N,) how far along the curve cells are.

    Args:
        x, y: (N,) column and row, from 0 to `2 ** order - 1`.
        order: of the curve, at most 31.
    """
    distance, last = np.zeros(len(x), np.int64), (1 << order) - 1
    for bit in range(order - 1, -1, -1):
        right, lower = x >> bit & 1, y >> bit & 1
        distance = distance << 2 | 3 * right ^ lower
        # The curve in a quadrant of the upper half is turned; for what follows, positions are turned instead.
        flip = (right & ~lower & 1) * last
        x, y = x ^ flip, y ^ flip
        swap = (x ^ y) & -(1 - lower)
        x, y = x ^ swap, y ^ swap
    return distance


def position(distance: NDArray[np.int64], order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column and row, each (N,), of cells that are so far along the curve; undoes `index`."""
    x, y = np.zeros(len(distance), np.int64), np.zeros(len(distance), np.int64)
    for bit in range(order):
        digit = distance >> 2 * bit & 3
        right = digit >> 1
        lower = (digit ^ right) & 1
        flip = (right & ~lower & 1) * ((1 << bit) - 1)
        swap = (x ^ y) & -(1 - lower)
        x, y = x ^ swap ^ flip, y ^ swap ^ flip
        x, y = x | right << bit, y | lower << bit
    return x, y
