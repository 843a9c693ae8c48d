"""Numba kernel of what is known around a Gaussian: the nearest of those that were decoded before it, as integers.

Every operation on floating point is one of 64 bits that IEEE 754 rounds correctly, in the order that is written here,
and none is contracted. So every machine gets the same integers, in any language.
"""

from __future__ import annotations

import math

import numpy as np

from fastgs.runtime.jit import jit

COLUMNS = 6  # area, u, v, luma, chroma1, chroma2
NEIGHBOURS = 8
CANDIDATES = 8  # on each side along the curve, of which the nearest are taken
FEATURES = 13  # of a neighbour
SHAPED = 2  # features of a neighbour that depend on the shape of the Gaussian itself
COMMON = 8 + 3 * COLUMNS  # features of all neighbours together

SUBPIXEL = 64  # units of positions in a pixel
FINE = 256  # units of values in 1
UNIT = 64  # units of features in 1
LARGEST = 1023  # largest feature by magnitude

# Chroma varies less than luma.
_CHROMA = 3.0
_STRICT: frozenset[str] = frozenset()  # no relaxation at all


def _round(value):
    """Return a feature in its units."""
    return float(min(max(math.floor(value * UNIT + 0.5), -LARGEST), LARGEST))


_round = jit(_round, flags=_STRICT, inline=True)


def _exponential(table, x):
    """Return e^x by a table of e^(k / 64) with k = 0 in its middle."""
    middle = len(table) // 2
    place = min(max(math.floor(x * 64.0 + 0.5), -middle), middle)
    return table[place + middle]


exponential = jit(_exponential, flags=_STRICT, inline=True)


def _distance(dx, dy, area, u, v, table):
    """Return the square of a distance (dx, dy) in standard deviations of a Gaussian."""
    ratio = math.sqrt(u * u + v * v)
    square = dx * dx + dy * dy
    along = ((dx * dx - dy * dy) * u + 2.0 * dx * dy * v) / ratio if ratio > 0.0 else 0.0
    first, second = exponential(table, -area - ratio), exponential(table, ratio - area)
    return 0.5 * ((square + along) * first + (square - along) * second)


_distance = jit(_distance, flags=_STRICT, inline=True)


def _overlap(distance):
    """Return about exp(-distance / 2)."""
    h = 0.5 * min(distance, 64.0)
    return 1.0 / (1.0 + h * (1.0 + h * (0.5 + h * 0.1666)))


_overlap = jit(_overlap, flags=_STRICT, inline=True)


@jit
def find_neighbours(known, curve, order, places, along, chosen):
    """Fill in the nearest of the known Gaussians around others, the nearest first; -1 where there are too few.

    Args:
        known: (K, 2) positions of known Gaussians in units of 1 / `SUBPIXEL` pixels.
        curve: (K,) their distances along the curve, ascending.
        order: (K,) indices by which they are called.
        places: (n, 2) positions of the others.
        along: (n,) distances of the others along the curve.
        chosen: (n, NEIGHBOURS) indices; filled in.
    """
    count = len(known)
    squares = np.zeros(NEIGHBOURS, np.int64)
    for i in range(len(places)):
        middle = np.searchsorted(curve, along[i])
        filled = 0
        for candidate in range(max(middle - CANDIDATES, 0), min(middle + CANDIDATES, count)):
            dx, dy = known[candidate, 0] - places[i, 0], known[candidate, 1] - places[i, 1]
            square = dx * dx + dy * dy
            place = filled
            while place > 0 and squares[place - 1] > square:
                place -= 1
            if place >= NEIGHBOURS:
                continue
            filled = min(filled + 1, NEIGHBOURS)
            for each in range(filled - 1, place, -1):
                squares[each], chosen[i, each] = squares[each - 1], chosen[i, each - 1]
            squares[place], chosen[i, place] = square, order[candidate]
        chosen[i, filled:] = -1


def _describe(chosen, positions, values, owns, shaped, centers, spacing, first, table, each, common):
    """Fill in the features of the neighbours of Gaussians.

    Args:
        chosen: (n, NEIGHBOURS) indices of the neighbours; -1 for none.
        positions: (K, 2) positions of all Gaussians in units of 1 / `SUBPIXEL` pixels.
        values: (K, COLUMNS) their values in units of 1 / `FINE`.
        owns: (n,) indices of the Gaussians themselves.
        shaped: True if their shapes are known.
        centers: (COLUMNS,) middle values of the layer, in units of 1 / `FINE`.
        spacing: Mean distance of Gaussians of the layer in pixels.
        first: Index of the first Gaussian of the layer.
        table: Exponential function.
        each: (n, NEIGHBOURS, FEATURES + SHAPED) features of each neighbour; filled in.
        common: (n, COMMON) features of all; filled in.
    """
    differences = np.zeros((NEIGHBOURS, COLUMNS))
    near, over = np.zeros(NEIGHBOURS), np.zeros(NEIGHBOURS)
    for i in range(len(chosen)):
        me = owns[i]
        each[i] = 0.0
        sum_near, sum_over, sum_own = 0.0, 0.0, 0.0
        count = 0
        for j in range(NEIGHBOURS):
            k = chosen[i, j]
            if k < 0:
                break
            count += 1
            dx = (positions[k, 0] - positions[me, 0]) / SUBPIXEL
            dy = (positions[k, 1] - positions[me, 1]) / SUBPIXEL
            x, y = dx / spacing, dy / spacing
            square = x * x + y * y
            near[j] = 1.0 / (0.1 + square)
            for column in range(COLUMNS):
                scale = _CHROMA if column > 3 else 1.0
                differences[j, column] = (values[k, column] - centers[column]) * scale / FINE
            area, u, v = values[k, 0] / FINE, values[k, 1] / FINE, values[k, 2] / FINE
            distance = _distance(dx, dy, area, u, v, table)
            over[j] = _overlap(distance)
            sum_near += near[j]
            sum_over += over[j]
            each[i, j, 0] = _round(min(max(x, -4.0), 4.0))
            each[i, j, 1] = _round(min(max(y, -4.0), 4.0))
            each[i, j, 2] = _round(min(near[j], 5.0))
            each[i, j, 3] = _round(min(square * 0.25, 4.0))
            for column in range(COLUMNS):
                each[i, j, 4 + column] = _round(differences[j, column])
            each[i, j, 10] = _round(over[j])
            each[i, j, 11] = _round(math.sqrt(min(distance, 81.0)) / 3.0)
            each[i, j, 12] = float(UNIT) if k < first else 0.0
            if shaped:
                own = _distance(dx, dy, values[me, 0] / FINE, values[me, 1] / FINE, values[me, 2] / FINE, table)
                overlap = _overlap(own)
                sum_own += overlap
                each[i, j, FEATURES] = _round(overlap)
                each[i, j, FEATURES + 1] = _round(math.sqrt(min(own, 81.0)) / 3.0)
                # From here on, weights are those of both shapes.
                over[j] = math.sqrt(over[j] * overlap)
        weight_near, weight_over = 0.0, 0.0
        for j in range(count):
            over[j] += near[j] * 0.001
            weight_near += near[j]
            weight_over += over[j]
        common[i, 0] = _round(min(sum_near, 20.0) / 5.0)
        common[i, 1] = _round(sum_over)
        common[i, 2] = _round(sum_own)
        common[i, 3] = _round(count / NEIGHBOURS)
        common[i, 4:8] = 0.0
        for column in range(COLUMNS):
            mean_near, mean_over, spread = 0.0, 0.0, 0.0
            for j in range(count):
                mean_near += near[j] * differences[j, column]
                mean_over += over[j] * differences[j, column]
            mean_near = mean_near / weight_near if count > 0 else 0.0
            mean_over = mean_over / weight_over if count > 0 else 0.0
            for j in range(count):
                spread += over[j] * abs(differences[j, column] - mean_over)
            common[i, 8 + column] = _round(mean_near)
            common[i, 8 + COLUMNS + column] = _round(mean_over)
            common[i, 8 + 2 * COLUMNS + column] = _round(spread / weight_over if count > 0 else 0.0)


describe = jit(_describe, flags=_STRICT)
