"""Numba kernels of the search: costs of the symbols of one Gaussian, and moves that lower them."""

from __future__ import annotations

import math

import numpy as np

from fastgs.codec.rdo_image_kernels import PULL, REST, SQUARE, add, sum_trial
from fastgs.codec.symbols import AREA, COLOR, U, V, Y
from fastgs.gaussians import MIN_SCALE
from fastgs.runtime.jit import jit

# Twice the logarithms of the shortest and the longest axis in pixels; the shortest is that of the fits.
THINNEST = 2 * math.log(MIN_SCALE)
WIDEST = 2 * math.log(1e4)


@jit
def _bits_of(bits, bases, column, symbol):
    """Return the bits of a symbol; one beyond the table takes one more for each step from its end."""
    last = bits.shape[1] - 1
    place = symbol - bases[column] + last // 2
    inside = min(max(place, 0), last)
    return bits[column, inside] + abs(place - inside)


@jit
def _find_cost(scene, symbols, rule, colors, memory):
    """Return error plus price of a Gaussian with the best of all colours, which is written to `colors` (C,).

    The error is the difference that the Gaussian makes to the squared error.

    Args:
        scene: Sums of the image without the Gaussian.
        symbols: (5 + C,) symbols; those of the colour do not matter.
        rule: Units (5 + C,), tables (5 + C, S) and bases (5 + C,) of bits, bits of flags (2,), largest symbol, price.
        colors: (C,) symbols of the best colour; filled.
        memory: Values (5 + P,) and sums (2 + P,) of the trial, which are overwritten.
    """
    steps, bits, bases, flags, middle, price = rule
    values, sums = memory
    for column in range(COLOR):
        values[column] = symbols[column] * steps[column]
    sum_trial(scene, values, sums)
    total = sums[REST]
    for column in range(AREA, COLOR):
        total += price * _bits_of(bits, bases, column, symbols[column])
    without_color = total + price * flags[0]
    for channel in range(len(colors)):
        step = steps[COLOR + channel]
        nearest = round(sums[PULL + channel] / max(sums[SQUARE], 1e-9) / step)
        least = math.inf
        for symbol in range(nearest - 1, nearest + 2):
            bounded = min(max(symbol, -middle), middle)
            color = bounded * step
            error = sums[SQUARE] * color * color - 2 * color * sums[PULL + channel]
            cost = error + price * _bits_of(bits, bases, COLOR + channel, bounded)
            if cost < least:
                least = cost
                colors[channel] = bounded
        total += least
    total += price * flags[1]
    if without_color < total:
        colors[:] = 0
        return without_color
    return total


@jit
def _is_allowed(symbols, column, steps, canvas, middle):
    """Tell whether a symbol that was moved is within the limits of the search."""
    value = symbols[column] * steps[column]
    if column <= Y:
        return 0 <= value <= canvas[1 - column]
    area, u, v = symbols[AREA] * steps[AREA], symbols[U] * steps[U], symbols[V] * steps[V]
    ratio = math.sqrt(u * u + v * v)
    return abs(symbols[column]) <= middle and area - ratio >= THINNEST and area + ratio <= WIDEST


@jit
def _move_one(scene, symbols, rule, least, best, colors, around, memory):
    """Move a Gaussian along each of its symbols where that lowers its cost, and return the cost.

    Args:
        scene: Sums, see `_find_cost`.
        symbols: (5 + C,) symbols; those of place and shape are updated.
        rule: Units and prices, see `_find_cost`.
        least: Cost before.
        best: (C,) symbols of the best colour; updated.
        colors: (C,) symbols of the colours of trials; overwritten.
        around: (5, 2) costs with each symbol one less and one more, infinite where that is not allowed; filled.
        memory: Memory of trials, see `_find_cost`.
    """
    steps, _, _, _, middle, _ = rule
    height, width, _ = scene.size
    for column in range(COLOR):
        for side in range(2):
            direction = 2 * side - 1
            symbols[column] += direction
            around[column, side] = math.inf
            if _is_allowed(symbols, column, steps, (height, width), middle):
                cost = around[column, side] = _find_cost(scene, symbols, rule, colors, memory)
                if cost < least:
                    least = cost
                    best[:] = colors
                    break
            symbols[column] -= direction
    return least


@jit
def _move_two(scene, symbols, rule, least, best, colors, around, memory):
    """Move a Gaussian along those two of its symbols whose moves together lower its cost most, and return the cost.

    The arguments are those of `_move_one`, which has filled `around` and has found no move that lowers the cost.

    Nearby, the cost is about a parabola. The costs of the moves of each symbol alone tell its slopes and curvatures h,
    and what two moves together cost differs from what these add up to by sqrt(h1 h2) at most: where that is not enough,
    no trial is needed.
    """
    steps, _, _, _, middle, _ = rule
    before, (height, width, _) = least, scene.size
    found = (0, 0, 0, 0)
    for first in range(COLOR):
        for second in range(first + 1, COLOR):
            curvatures = (around[first].sum() - 2 * before) * (around[second].sum() - 2 * before)
            if not math.isfinite(curvatures):
                continue
            most = math.sqrt(curvatures)
            for one in range(2):
                for two in range(2):
                    if around[first, one] + around[second, two] - before - most >= least:
                        continue
                    symbols[first] += 2 * one - 1
                    symbols[second] += 2 * two - 1
                    if _is_allowed(symbols, first, steps, (height, width), middle) and _is_allowed(
                        symbols, second, steps, (height, width), middle
                    ):
                        cost = _find_cost(scene, symbols, rule, colors, memory)
                        if cost < least:
                            least = cost
                            best[:] = colors
                            found = (first, 2 * one - 1, second, 2 * two - 1)
                    symbols[first] -= 2 * one - 1
                    symbols[second] -= 2 * two - 1
    symbols[found[0]] += found[1]
    symbols[found[2]] += found[3]
    return least


@jit
def sweep(
    scene, symbols, steps, layers, bits, bases, rows, flags, middle, place, price, worth, order, alive,
):  # fmt: skip
    """Move each Gaussian by one along its symbols where error plus price falls; drop those not worth their bits.

    Args:
        scene: Sums of the image, see rdo_image_kernels.py; updated.
        symbols: (K, 5 + C) symbols; updated.
        steps: (L, 5 + C) units of the symbols of each layer.
        layers: (K,) number of the layer of each Gaussian.
        bits: (R, 5 + C, S) tables of the bits of symbols.
        bases: (R, 5 + C) symbols in the middle of the tables.
        rows: (K,) row of the tables of each Gaussian.
        flags: (L, 2) bits of the flag that a Gaussian has no colour, whose symbols are all 0 and take no bits then, and
            that it has one; the former are infinite if a file has no such flags.
        middle: Largest symbol by magnitude, but for positions.
        place: Bits of a position.
        price: Squared error that a bit is worth.
        worth: Squared error that each bit of a Gaussian must save for the Gaussian to stay.
        order: Indices of the Gaussians, in the order in which they are moved.
        alive: (K,) mask of the Gaussians that are in the image; updated.
    """
    columns = symbols.shape[1]
    channels = scene.size[2]
    values = np.zeros(COLOR + channels)
    memory = values, np.zeros(PULL + channels)
    colors, best = np.zeros(columns - COLOR, np.int64), np.zeros(columns - COLOR, np.int64)
    around = np.empty((COLOR, 2))
    for k in order:
        moved, unit, flag_bits = symbols[k], steps[layers[k]], flags[layers[k]]
        column_bits, base = bits[rows[k]], bases[rows[k]]
        for column in range(columns):
            values[column] = moved[column] * unit[column]
        add(scene, values, -1.0)
        rule = (unit, column_bits, base, flag_bits, middle, price)
        before = _find_cost(scene, moved, rule, best, memory)
        least = _move_one(scene, moved, rule, before, best, colors, around, memory)
        if least == before:
            least = _move_two(scene, moved, rule, before, best, colors, around, memory)
        moved[COLOR:] = best
        written = _count_bits(moved, column_bits, base, flag_bits, place)
        if price * (written - place) - least < worth * written:
            alive[k] = False
            continue
        for column in range(columns):
            values[column] = moved[column] * unit[column]
        add(scene, values, 1.0)


@jit
def _count_bits(symbols, bits, bases, flags, place):
    """Return the bits of a Gaussian."""
    end = len(symbols)
    colored = math.isinf(flags[0])
    for column in range(COLOR, end):
        colored |= symbols[column] != 0
    total = place + (flags[1] if colored else flags[0])
    for column in range(AREA, end if colored else COLOR):
        total += _bits_of(bits, bases, column, symbols[column])
    return total
