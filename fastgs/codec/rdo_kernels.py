"""Numba kernels of the search: one Gaussian at a time is taken out of the image, moved, and put back.

Images are kept as the two sums of the normalized rule, `numerator` (3, H, W) and `weight` (H, W), in the colour basis
of symbols.py. With a Gaussian taken out, which leaves N and W, and put back elsewhere with weights w and colour c,

    I = (N + w c) / (W + w + EPSILON) = I_w + k c,    k = w / (W + w + EPSILON)

so that the squared error is a parabola in c: one pass over the pixels that it covers gives the best colour, and the
error of every other one.
"""

from __future__ import annotations

import math

import numpy as np

from fastgs.codec.symbols import AREA, LUMA, U, V, X, Y
from fastgs.gaussians import CHANNELS, MIN_SCALE
from fastgs.render.cpu_kernels import CUTOFF2, E1, E2, E3, E4, E5, EPS, FADE_SLOPE, HALF, ONE, SLACK, ZERO
from fastgs.render.reference import CUTOFF
from fastgs.runtime.jit import fast_jit, jit

# Twice the logarithms of the shortest and the longest axis in pixels; the shortest is that of the fits.
THINNEST = 2 * math.log(MIN_SCALE)
WIDEST = 2 * math.log(1e4)

# Places of the sums over pixels of a trial: of k^2; of k times the error without the colour, for each channel; and of
# the difference of the squared error without the colour from that without the Gaussian.
SQUARE, PULL, REST = 0, 1, 4


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
def add(numerator, weight, values, sign):
    """Add a Gaussian of values (8,) to the sums, or take it out with sign -1."""
    height, width = weight.shape
    x, y = np.float32(values[X]), np.float32(values[Y])
    c0, c1, c2 = np.float32(values[LUMA]), np.float32(values[LUMA + 1]), np.float32(values[LUMA + 2])
    signed = np.float32(sign)
    ux, uy, vx, vy, slope, half, reach = _make_frame(values[AREA], values[U], values[V])
    top, bottom = _span_rows(y, reach, height)
    for row in range(top, bottom):
        dy = np.float32(row) + HALF - y
        first, last = _span_columns(x, dy, slope, half, reach, width)
        if first >= last:
            continue
        sums = weight[row, first:last]
        plane0, plane1, plane2 = (
            numerator[0, row, first:last],
            numerator[1, row, first:last],
            numerator[2, row, first:last],
        )
        for i in range(last - first):
            dx = np.float32(first + i) + HALF - x
            a, b = ux * dx + uy * dy, vx * dx + vy * dy
            w = signed * _weight(a * a + b * b)
            sums[i] += w
            plane0[i] += w * c0
            plane1[i] += w * c1
            plane2[i] += w * c2


@fast_jit
def _sum_trial(numerator, weight, target, values, sums):
    """Fill `sums` (5,) for a Gaussian of values (8,) that is not in the image, whatever its colour."""
    height, width = weight.shape
    x, y = np.float32(values[X]), np.float32(values[Y])
    ux, uy, vx, vy, slope, half, reach = _make_frame(values[AREA], values[U], values[V])
    top, bottom = _span_rows(y, reach, height)
    sums[:] = 0.0
    for row in range(top, bottom):
        dy = np.float32(row) + HALF - y
        first, last = _span_columns(x, dy, slope, half, reach, width)
        if first >= last:
            continue
        others = weight[row, first:last]
        n0, n1, n2 = numerator[0, row, first:last], numerator[1, row, first:last], numerator[2, row, first:last]
        t0, t1, t2 = target[0, row, first:last], target[1, row, first:last], target[2, row, first:last]
        square, pull0, pull1, pull2, rest = ZERO, ZERO, ZERO, ZERO, ZERO
        for i in range(last - first):
            dx = np.float32(first + i) + HALF - x
            a, b = ux * dx + uy * dy, vx * dx + vy * dy
            w = _weight(a * a + b * b)
            before = max(others[i], ZERO) + EPS
            inverse, inverse_before = ONE / (before + w), ONE / before
            k = w * inverse
            e0, e1, e2 = t0[i] - n0[i] * inverse, t1[i] - n1[i] * inverse, t2[i] - n2[i] * inverse
            o0, o1, o2 = (
                t0[i] - n0[i] * inverse_before,
                t1[i] - n1[i] * inverse_before,
                t2[i] - n2[i] * inverse_before,
            )
            square += k * k
            pull0 += k * e0
            pull1 += k * e1
            pull2 += k * e2
            rest += e0 * e0 + e1 * e1 + e2 * e2 - o0 * o0 - o1 * o1 - o2 * o2
        sums[SQUARE] += square
        sums[PULL] += pull0
        sums[PULL + 1] += pull1
        sums[PULL + 2] += pull2
        sums[REST] += rest


@jit
def _find_cost(numerator, weight, target, symbols, steps, bits, price, values, sums, colors):
    """Return error plus price of a Gaussian with the best of all colours, which is written to `colors` (3,).

    The error is the difference that the Gaussian makes to the squared error.
    """
    for column in range(LUMA):
        values[column] = symbols[column] * steps[column]
    _sum_trial(numerator, weight, target, values, sums)
    middle = bits.shape[1] // 2
    total = sums[REST]
    for column in range(AREA, LUMA):
        total += price * bits[column, symbols[column] + middle]
    for channel in range(CHANNELS):
        step = steps[LUMA + channel]
        nearest = round(sums[PULL + channel] / max(sums[SQUARE], 1e-9) / step)
        least = math.inf
        for symbol in range(nearest - 1, nearest + 2):
            bounded = min(max(symbol, -middle), middle)
            color = bounded * step
            error = sums[SQUARE] * color * color - 2 * color * sums[PULL + channel]
            cost = error + price * bits[LUMA + channel, bounded + middle]
            if cost < least:
                least = cost
                colors[channel] = bounded
        total += least
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
def sweep(numerator, weight, target, symbols, steps, layers, bits, place, price, worth, order, alive):
    """Move each Gaussian once along each of its symbols where error plus price falls; drop those not worth their bits.

    Args:
        numerator: (3, H, W) weighted sum of the colours of all Gaussians; updated.
        weight: (H, W) sum of their weights; updated.
        target: (3, H, W) image in the basis of colours.
        symbols: (K, 8) symbols; updated.
        steps: (L, 8) units of the symbols of each layer.
        layers: (K,) number of the layer of each Gaussian.
        bits: (L, 8, S) bits of the symbols, those of symbol 0 in the middle.
        place: Bits of a position.
        price: Squared error that a bit is worth.
        worth: Squared error that each bit of a Gaussian must save for the Gaussian to stay.
        order: Indices of the Gaussians, in the order in which they are moved.
        alive: (K,) mask of the Gaussians that are in the image; updated.
    """
    values, sums = np.zeros(8), np.zeros(5)
    colors, best = np.zeros(CHANNELS, np.int64), np.zeros(CHANNELS, np.int64)
    canvas = weight.shape
    for k in order:
        moved, unit, column_bits = symbols[k], steps[layers[k]], bits[layers[k]]
        middle = column_bits.shape[1] // 2
        for column in range(8):
            values[column] = moved[column] * unit[column]
        add(numerator, weight, values, -1.0)
        least = _find_cost(numerator, weight, target, moved, unit, column_bits, price, values, sums, best)
        for column in range(LUMA):
            for direction in (-1, 1):
                moved[column] += direction
                if _is_allowed(moved, column, unit, canvas, middle):
                    cost = _find_cost(numerator, weight, target, moved, unit, column_bits, price, values, sums, colors)
                    if cost < least:
                        least = cost
                        best[:] = colors
                        break
                moved[column] -= direction
        moved[LUMA:] = best
        written = place
        for column in range(AREA, 8):
            written += column_bits[column, moved[column] + middle]
        if price * (written - place) - least < worth * written:
            alive[k] = False
            continue
        for column in range(8):
            values[column] = moved[column] * unit[column]
        add(numerator, weight, values, 1.0)
