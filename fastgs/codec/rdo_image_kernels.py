"""Numba kernels that take one Gaussian out of the image, try another one in its place, and put one back.

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
from fastgs.render.cpu_geometry_kernels import HALF, ONE, SLACK, ZERO
from fastgs.render.cpu_kernels import CUTOFF2, E1, E2, E3, E4, E5, EPS, FADE_SLOPE
from fastgs.runtime.jit import fast_jit

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
def sum_trial(numerator, weight, target, importance, values, sums, zeros):
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
