"""Numba kernels of the search: one Gaussian at a time is taken out of the image, moved, and put back.

Images are kept as the two sums of the normalized rule, `numerator` (P, H, W) and `weight` (H, W), in the basis of
colours. With a Gaussian taken out, which leaves N and W, and put back elsewhere with weights w and colour c,

    I = (N + w c) / (W + w + EPSILON) = I_w + k c,    k = w / (W + w + EPSILON)

so that the squared error is a parabola in c: one pass over the pixels that it covers gives the best colour, and the
error of every other one.

Channels are taken in groups, each in a pass of its own over the pixels. A kernel is compiled for each size of a group,
which is the length of the tuple of zeros that it gets, so the sums of a group are in registers. For groups of one size
there are P planes for C channels, the last ones of which may be 0.
"""

from __future__ import annotations

import math

import numpy as np
from numba.cpython.unsafe.tuple import tuple_setitem

from fastgs.codec.symbols import AREA, COLOR, U, V, X, Y
from fastgs.definition import CUTOFF
from fastgs.gaussians import MIN_SCALE
from fastgs.render.cpu_geometry_kernels import HALF, ONE, SLACK, ZERO
from fastgs.render.cpu_kernels import CUTOFF2, E1, E2, E3, E4, E5, EPS, FADE_SLOPE
from fastgs.runtime.jit import fast_jit, jit

# Twice the logarithms of the shortest and the longest axis in pixels; the shortest is that of the fits.
THINNEST = 2 * math.log(MIN_SCALE)
WIDEST = 2 * math.log(1e4)

# Most channels in a group: numba unrolls no loops over ten and more, which then take ten times as long.
MOST_CHANNELS = 8

# Places of the sums over pixels of a trial: of k^2; of the difference of the squared error without the colour from that
# without the Gaussian; and, from the last place on, of k times the error without the colour, for each channel.
SQUARE, REST, PULL = 0, 1, 2


def split_channels(channels: int) -> tuple[int, tuple[np.float32, ...]]:
    """Return the number of planes P for C channels, and the tuple of zeros that tells kernels the size of a group."""
    groups = -(-channels // MOST_CHANNELS)
    size = -(-channels // groups)
    return groups * size, (ZERO,) * size


@fast_jit
def _weight(d2):
    """Return w(d2) of render/reference.py."""
    d2 = min(d2, CUTOFF2)
    power = ((((E5 * d2 + E4) * d2 + E3) * d2 + E2) * d2 + E1) * d2 + ONE
    power = power * power
    power = power * power
    return power * power * min((CUTOFF2 - d2) * FADE_SLOPE, ONE)


@fast_jit
def _make_frame(area, u, v):
    """Return the rows of the whitening matrix, and slope, half chord at the centre and half height of the ellipse."""
    ratio = math.sqrt(u * u + v * v)
    angle = 0.5 * math.atan2(v, u)
    s1, s2 = math.exp(0.5 * (area + ratio)), math.exp(0.5 * (area - ratio))
    cosine, sine = math.cos(angle), math.sin(angle)
    ux, uy, vx, vy = cosine / s1, sine / s1, -sine / s2, cosine / s2
    xx = ux * ux + vx * vx
    reach = CUTOFF * math.hypot(s1 * sine, s2 * cosine)
    values = (ux, uy, vx, vy, -(ux * uy + vx * vy) / xx, CUTOFF / math.sqrt(xx), reach)
    return (
        np.float32(values[0]),
        np.float32(values[1]),
        np.float32(values[2]),
        np.float32(values[3]),
        np.float32(values[4]),
        np.float32(values[5]),
        np.float32(values[6]),
    )


@fast_jit
def _span_columns(x, dy, slope, half, reach, width):
    """Return the first column of the chord in a row, and the one behind its last."""
    share = dy / reach
    chord = half * math.sqrt(max(ONE - share * share, ZERO)) + SLACK
    center = x + slope * dy - HALF
    return max(0, math.ceil(center - chord)), min(width, math.floor(center + chord) + 1)


@fast_jit
def _span_rows(y, reach, height):
    """Return the first row of the ellipse, and the one behind its last."""
    return max(0, math.ceil(y - reach - HALF)), min(height, math.floor(y + reach - HALF) + 1)


@fast_jit
def add(numerator, weight, values, sign, zeros):
    """Add a Gaussian of values (5 + P,) to the sums, or take it out with sign -1."""
    height, width = weight.shape
    x, y = np.float32(values[X]), np.float32(values[Y])
    signed = np.float32(sign)
    ux, uy, vx, vy, slope, half, reach = _make_frame(values[AREA], values[U], values[V])
    top, bottom = _span_rows(y, reach, height)
    for start in range(0, len(numerator), len(zeros)):
        color = zeros
        for each in range(len(zeros)):
            color = tuple_setitem(color, each, np.float32(values[COLOR + start + each]))
        for row in range(top, bottom):
            dy = np.float32(row) + HALF - y
            first, last = _span_columns(x, dy, slope, half, reach, width)
            if first >= last:
                continue
            sums = weight[row, first:last]
            for i in range(last - first):
                dx = np.float32(first + i) + HALF - x
                a, b = ux * dx + uy * dy, vx * dx + vy * dy
                w = signed * _weight(a * a + b * b)
                if start == 0:
                    sums[i] += w
                for each in range(len(zeros)):
                    numerator[start + each, row, first + i] += w * color[each]


@fast_jit
def _sum_trial(numerator, weight, target, importance, values, sums, zeros):
    """Fill `sums` (2 + P,) for a Gaussian of values (5 + P,) that is not in the image, whatever its colour."""
    height, width = weight.shape
    x, y = np.float32(values[X]), np.float32(values[Y])
    ux, uy, vx, vy, slope, half, reach = _make_frame(values[AREA], values[U], values[V])
    top, bottom = _span_rows(y, reach, height)
    sums[:] = 0.0
    for start in range(0, len(target), len(zeros)):
        for row in range(top, bottom):
            dy = np.float32(row) + HALF - y
            first, last = _span_columns(x, dy, slope, half, reach, width)
            if first >= last:
                continue
            others = weight[row, first:last]
            square, rest, pull = ZERO, ZERO, zeros
            for i in range(last - first):
                dx = np.float32(first + i) + HALF - x
                a, b = ux * dx + uy * dy, vx * dx + vy * dy
                w = _weight(a * a + b * b)
                before = max(others[i], ZERO) + EPS
                inverse, inverse_before = ONE / (before + w), ONE / before
                k = w * inverse
                pulled = k
                if importance is not None:  # numba leaves out what the type of the argument rules out
                    pulled = k * importance[row, first + i]
                square += k * pulled
                change = ZERO
                for each in range(len(zeros)):
                    plane = start + each
                    error = target[plane, row, first + i] - numerator[plane, row, first + i] * inverse
                    pull = tuple_setitem(pull, each, pull[each] + pulled * error)
                    change += error * error
                for each in range(len(zeros)):
                    plane = start + each
                    error = target[plane, row, first + i] - numerator[plane, row, first + i] * inverse_before
                    change -= error * error
                if importance is not None:
                    change *= importance[row, first + i]
                rest += change
            if start == 0:
                sums[SQUARE] += square
            sums[REST] += rest
            for each in range(len(zeros)):
                sums[PULL + start + each] += pull[each]


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
        scene: Numerator, weight, target and importance, see `sweep`, without the Gaussian.
        symbols: (5 + C,) symbols; those of the colour do not matter.
        rule: Units (5 + C,), tables (5 + C, S) and bases (5 + C,) of bits, bits of flags (2,), largest symbol, price.
        colors: (C,) symbols of the best colour; filled.
        memory: Values (5 + P,) and sums (2 + P,) of the trial, which are overwritten, and zeros.
    """
    numerator, weight, target, importance = scene
    steps, bits, bases, flags, middle, price = rule
    values, sums, zeros = memory
    for column in range(COLOR):
        values[column] = symbols[column] * steps[column]
    _sum_trial(numerator, weight, target, importance, values, sums, zeros)
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
        scene: Sums and target, see `_find_cost`.
        symbols: (5 + C,) symbols; those of place and shape are updated.
        rule: Units and prices, see `_find_cost`.
        least: Cost before.
        best: (C,) symbols of the best colour; updated.
        colors: (C,) symbols of the colours of trials; overwritten.
        around: (5, 2) costs with each symbol one less and one more, infinite where that is not allowed; filled.
        memory: Memory of trials, see `_find_cost`.
    """
    steps, _, _, _, middle, _ = rule
    canvas = scene[1].shape
    for column in range(COLOR):
        for side in range(2):
            direction = 2 * side - 1
            symbols[column] += direction
            around[column, side] = math.inf
            if _is_allowed(symbols, column, steps, canvas, middle):
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
    canvas, before = scene[1].shape, least
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
                    if _is_allowed(symbols, first, steps, canvas, middle) and _is_allowed(
                        symbols, second, steps, canvas, middle
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
    numerator, weight, target, importance, symbols, steps, layers, bits, bases, rows, flags, middle, place, price,
    worth, order, alive, zeros,
):  # fmt: skip
    """Move each Gaussian by one along its symbols where error plus price falls; drop those not worth their bits.

    Args:
        numerator: (P, H, W) weighted sum of the colours of all Gaussians, with planes of 0 behind the C channels;
            updated.
        weight: (H, W) sum of their weights; updated.
        target: (P, H, W) image in the basis of colours, with planes of 0 behind the C channels.
        importance: (H, W) factor of the squared error of each pixel; None for 1.
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
        zeros: Zeros, one for each channel of a group, from `split_channels`.
    """
    columns = symbols.shape[1]
    values, sums = np.zeros(COLOR + len(target)), np.zeros(PULL + len(target))
    scene, memory = (numerator, weight, target, importance), (values, sums, zeros)
    colors, best = np.zeros(columns - COLOR, np.int64), np.zeros(columns - COLOR, np.int64)
    around = np.empty((COLOR, 2))
    for k in order:
        moved, unit, flag_bits = symbols[k], steps[layers[k]], flags[layers[k]]
        column_bits, base = bits[rows[k]], bases[rows[k]]
        for column in range(columns):
            values[column] = moved[column] * unit[column]
        add(numerator, weight, values, -1.0, zeros)
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
        add(numerator, weight, values, 1.0, zeros)


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
