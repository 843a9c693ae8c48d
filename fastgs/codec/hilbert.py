"""The Hilbert curve over a grid of positions: cells that are near each other on it are near each other in the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def order_for(columns: int, rows: int) -> int:
    """Return the order of the curve over a grid: the least n such that a square of `2 ** n` cells a side covers it.

    Args:
        columns: Width of the grid in cells.
        rows: Height of the grid in cells.
    """
    return (max(columns, rows, 1) - 1).bit_length()


def index(x: NDArray[np.int64], y: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Return the distances of cells along the curve, (N,).

    Args:
        x: (N,) columns of the cells, from 0 to `2 ** order - 1`.
        y: (N,) rows of the cells, in the same range.
        order: Order of the curve, at most 31.
    """
    distance, last = np.zeros(len(x), np.int64), (1 << order) - 1
    for bit in range(order - 1, -1, -1):
        right, lower = x >> bit & 1, y >> bit & 1
        distance = distance << 2 | 3 * right ^ lower
        # The curve is turned within the quadrants of the upper half; here the positions in them are turned instead.
        flip = (right & ~lower & 1) * last
        x, y = x ^ flip, y ^ flip
        swap = (x ^ y) & -(1 - lower)
        x, y = x ^ swap, y ^ swap
    return distance


def position(distance: NDArray[np.int64], order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the columns and rows, (N,) each, of cells at given distances along the curve; the inverse of `index`.

    Args:
        distance: (N,) distances, from 0 to `4 ** order - 1`.
        order: Order of the curve, at most 31.
    """
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
