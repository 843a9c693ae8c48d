"""numba kernels of the CPU rasterizer in float32, forward and backward.

There are no tiles. Forward, each thread owns a band of rows, and loops over the Gaussians that reach it. Backward, each
thread owns Gaussians, and gathers their gradients from the pixels. Nothing that is written is shared or needs atomic
operations, so the result is the same to the bit for any number of threads. A batch is treated as one tall image: rows
are numbered consecutively from image to image, and a Gaussian reaches rows of its own image only.

A Gaussian is evaluated in its whitened frame: `u, v` are the coordinates of a pixel along its axes in standard
deviations, and `d2 = u^2 + v^2`. This is accurate where a conic `a dx^2 + 2 b dx dy + c dy^2` would cancel (needles of
0.05 px by 1000 px), and the gradients with respect to scales and rotation are plain moments of u and v.
"""

from __future__ import annotations

import math

import numpy as np

from fastgs.definition import CUTOFF, EPSILON, FADE_START
from fastgs.runtime.jit import jit
from fastgs.runtime.simd import LANES, fma, horizontal_sum, lane_index, load, minimum, splat, store, where_below
from fastgs.runtime.simd_tuples import (
    dot,
    fma_each,
    horizontal_sum_each,
    load_each,
    read_row,
    splat_each,
    store_each,
    write_row,
)

CUTOFF2 = np.float32(CUTOFF**2)
FADE_SLOPE = np.float32(1 / (CUTOFF**2 - FADE_START**2))
TWO_FADE_SLOPE = np.float32(2 / (CUTOFF**2 - FADE_START**2))
EPS = np.float32(EPSILON)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)

# A polynomial for exp(z) on [-0.77, 0] with z = -d2 / 16: least squares of the relative error, exact at 0. Its eighth
# power is exp(-d2 / 2) on the whole support with an error of 3e-6, without splitting off an exponent. First the
# coefficients of powers of z, then those of powers of d2.
_OF_Z = (0.9999914765357971, 0.4998544752597809, 0.16583117842674255, 0.039508603513240814, 0.0056833806447684765)
E1, E2, E3, E4, E5 = (np.float32(c * (-1 / 16) ** n) for n, c in enumerate(_OF_Z, start=1))

# A Gaussian whose widest half chord is at most this many pixels is evaluated on its widest chord in every row: pixels
# beyond the ellipse have weight 0, and cost less than a square root and a mispredicted loop exit per row.
LONG_CHORD = np.float32(14)
# Widening of every chord in pixels, against rounding.
SLACK = np.float32(0.02)

# Columns of the array `frames`: u = UX dx + UY dy and v = VX dx + VY dy. The centre of the chord at dy lies SLOPE * dy
# columns from the mean; the chord reaches WIDEST columns to either side at dy = 0, and vanishes at |dy| = REACH.
FRAME = 7
UX, UY, VX, VY, SLOPE, WIDEST, REACH = range(FRAME)

# Largest number of colour channels that a kernel takes at once. A kernel is compiled for each number of channels: it is
# the length of the tuple of zeros that it gets. Beyond four the sums do not fit in registers, but reading them from the
# cache is still cheaper than evaluating the weights again (benchmarks/LOG.md, "Channels").
MOST_CHANNELS = 16


def count_planes(channels: int) -> int:
    """Return the number of planes of an accumulated row.

    The first is the sum of weights, the others the weighted sums of the channels. The kernels for top-k blending need
    three planes in any case.
    """
    return max(channels + 1, 3)


_count_planes = jit(count_planes)


@jit
def _gaussian(d2):
    """Return exp(-d2 / 2)."""
    power = fma(d2, splat(E5), splat(E4))
    power = fma(power, d2, splat(E3))
    power = fma(power, d2, splat(E2))
    power = fma(power, d2, splat(E1))
    power = fma(power, d2, splat(ONE))
    power = power * power
    power = power * power
    return power * power


@jit
def _weight(d2):
    """Return the weight w(d2) of reference.py."""
    d2 = minimum(d2, splat(CUTOFF2))
    fade = minimum((splat(CUTOFF2) - d2) * splat(FADE_SLOPE), splat(ONE))
    return _gaussian(d2) * fade


@jit
def _weight_and_slope(d2):
    """Return the weight w(d2) and its slope, -2 dw/d(d2)."""
    fade = minimum((splat(CUTOFF2) - d2) * splat(FADE_SLOPE), splat(ONE))
    gaussian = where_below(d2, splat(CUTOFF2), _gaussian(d2))
    weight = gaussian * fade
    return weight, fma(where_below(fade, splat(ONE), gaussian), splat(TWO_FADE_SLOPE), weight)


@jit
def prepare(means, scales, rotations, offsets, pitches, height, frames, rows, start, stop):
    """Fill `frames` and `rows` for Gaussians [start, stop).

    frames (N, FRAME) has the columns above; rows (N, 2) the first and last row of the batch that each Gaussian reaches,
    (0, -1) if there is none.
    """
    for image in range(len(pitches)):
        pitch_y, pitch_x = pitches[image, 0], pitches[image, 1]
        for k in range(max(start, offsets[image]), min(stop, offsets[image + 1])):
            s1, s2 = scales[k, 0], scales[k, 1]
            cosine, sine = math.cos(rotations[k]), math.sin(rotations[k])
            inverse1, inverse2 = ONE / s1, ONE / s2
            ux, uy, vx, vy = cosine * inverse1, sine * inverse1, -sine * inverse2, cosine * inverse2
            # 1 / sqrt(xx) is the standard deviation along the row through the mean.
            xx = ux * ux + vx * vx
            reach = np.float32(CUTOFF) * math.sqrt((s1 * sine) * (s1 * sine) + (s2 * cosine) * (s2 * cosine))
            frames[k, UX], frames[k, UY], frames[k, VX], frames[k, VY] = ux, uy, vx, vy
            frames[k, SLOPE] = -(ux * uy + vx * vy) / (xx * pitch_x)
            frames[k, WIDEST] = np.float32(CUTOFF) / (math.sqrt(xx) * pitch_x)
            frames[k, REACH] = reach
            first = max(math.ceil((means[k, 1] - reach) / pitch_y - HALF), ZERO)
            last = min(math.floor((means[k, 1] + reach) / pitch_y - HALF), np.float32(height - 1))
            # The condition is false for NaN, too, which must not become an index.
            if first <= last and math.isfinite(means[k, 0] + frames[k, SLOPE] + frames[k, WIDEST]):
                rows[k, 0] = image * height + int(first)
                rows[k, 1] = image * height + int(last)
            else:
                rows[k, 0], rows[k, 1] = 0, -1


@jit
def bands(frames, rows, costs, edges):
    """Split the rows into bands of about equal cost.

    costs (rows + 1,) has zeros, and is overwritten; edges (bands + 1,) is filled with the borders of the bands.
    """
    total = 0.0
    for k in range(len(rows)):
        if rows[k, 0] <= rows[k, 1]:
            blocks = 2.0 + frames[k, WIDEST] * (2.0 / LANES)
            costs[rows[k, 0]] += blocks
            costs[rows[k, 1] + 1] -= blocks
            total += blocks * (rows[k, 1] + 1 - rows[k, 0])
    count, band, row_cost, done = len(edges) - 1, 1, 0.0, 0.0
    edges[:] = len(costs) - 1
    edges[0] = 0
    for row in range(len(costs) - 1):
        row_cost += costs[row]
        done += row_cost
        while band < count and done >= total * band / count:
            edges[band] = row + 1
            band += 1


@jit
def _find_chord(frame, mean_x, dy, pitch_x, width):
    """Return the first and last column of the chord in the row at distance dy from the mean; first > last if none."""
    half = frame[WIDEST]
    if half > LONG_CHORD:
        share = dy / frame[REACH]
        half *= math.sqrt(max(ONE - share * share, ZERO))
    half += SLACK
    center = mean_x / pitch_x - HALF + frame[SLOPE] * dy
    first = min(max(center - half, ZERO), np.float32(width))
    last = max(min(center + half, np.float32(width - 1)), np.float32(-1))
    return int(first), int(last)


@jit
def _enter_row(frame, mean_x, dy, pitch_x, width, ramp):
    """Return first and last column of a row's chord, dx of its first eight pixels, and the shares of dy in u and v."""
    first, last = _find_chord(frame, mean_x, dy, pitch_x, width)
    dx = splat((np.float32(first) + HALF) * pitch_x - mean_x) + ramp
    return first, last, dx, splat(frame[UY] * dy), splat(frame[VY] * dy)


@jit
def _accumulate(means, frames, rows, colors, zeros, offsets, pitches, height, width, stride, planes, top, bottom):
    """Add weights and weighted colours to rows [top, bottom) of planes, flat (rows, planes, stride)."""
    per_row = _count_planes(len(zeros)) * stride
    for image in range(top // height, (bottom - 1) // height + 1):
        pitch_y, pitch_x = pitches[image, 0], pitches[image, 1]
        ramp, step = lane_index() * splat(pitch_x), splat(np.float32(LANES) * pitch_x)
        for k in range(offsets[image], offsets[image + 1]):
            frame, mean_x, mean_y = frames[k], means[k, 0], means[k, 1]
            ux, vx = splat(frame[UX]), splat(frame[VX])
            color = splat_each(read_row(colors, k, zeros))
            for row in range(max(rows[k, 0], top), min(rows[k, 1] + 1, bottom)):
                dy = (np.float32(row - image * height) + HALF) * pitch_y - mean_y
                first, last, dx, u_row, v_row = _enter_row(frame, mean_x, dy, pitch_x, width, ramp)
                base = row * per_row
                for x in range(base + first, base + last + 1, LANES):
                    u, v = fma(dx, ux, u_row), fma(dx, vx, v_row)
                    weight = _weight(fma(u, u, v * v))
                    store(planes, x, load(planes, x) + weight)
                    sums = load_each(planes, x + stride, stride, zeros)
                    store_each(planes, x + stride, stride, fma_each(weight, color, sums))
                    dx = dx + step


@jit
def forward(means, frames, rows, colors, zeros, offsets, pitches, stride, planes, images, normalized, top, bottom):
    """Render rows [top, bottom) of images (B, C, H, W), for a tuple of C zeros.

    Afterwards plane 0 has 1 / (sum of weights + EPSILON) for the normalized rule, and 1 for the sum.
    """
    height, width = images.shape[2], images.shape[3]
    per_row = _count_planes(len(zeros)) * stride
    planes[top * per_row : bottom * per_row] = ZERO
    _accumulate(means, frames, rows, colors, zeros, offsets, pitches, height, width, stride, planes, top, bottom)
    for row in range(top, bottom):
        inverses = planes[row * per_row : row * per_row + width]
        for x in range(width):
            inverses[x] = ONE / (inverses[x] + EPS) if normalized else ONE
        for channel in range(len(zeros)):
            base = row * per_row + (1 + channel) * stride
            numerators, image = planes[base : base + width], images[row // height, channel, row % height]
            for x in range(width):
                image[x] = numerators[x] * inverses[x]


@jit
def pixel_gradients(planes, images, upstream, stride, normalized, gradients, top, bottom):
    """Compute gradients with respect to the accumulated planes from those with respect to the image.

    With N = sum w c, D = sum w + EPSILON and I = N / D: dL/dN = dL/dI / D, dL/dD = -sum_c dL/dI_c I_c / D.
    """
    channels, height, width = images.shape[1:]
    per_row = _count_planes(channels) * stride
    for row in range(top, bottom):
        base, image, y = row * per_row, row // height, row % height
        gradients[base : base + per_row] = ZERO
        inverses, of_weight = planes[base : base + width], gradients[base : base + width]
        for channel in range(channels):
            start = base + (1 + channel) * stride
            of_color, value, above = (
                gradients[start : start + width],
                images[image, channel, y],
                upstream[image, channel, y],
            )
            for x in range(width):
                of_color[x] = above[x] * inverses[x]
            if normalized:
                for x in range(width):
                    of_weight[x] -= of_color[x] * value[x]


@jit
def backward(
    means, scales, frames, rows, colors, zeros, offsets, pitches, height, width, stride, gradients,
    d_means, d_scales, d_rotations, d_colors, start, stop,
):  # fmt: skip
    """Compute the gradients of Gaussians [start, stop).

    With t = -2 dw/d(d2) dL/dw, the chain rule gives, summed over pixels:

    d mean = (t u, t v) in the frame, d s1 = t u^2 / s1, d s2 = t v^2 / s2, d theta = t u v (s1 / s2 - s2 / s1).
    """
    zero, no_color = splat(ZERO), splat_each(zeros)
    per_row = _count_planes(len(zeros)) * stride
    for image in range(len(pitches)):
        pitch_y, pitch_x = pitches[image, 0], pitches[image, 1]
        ramp, step = lane_index() * splat(pitch_x), splat(np.float32(LANES) * pitch_x)
        for k in range(max(start, offsets[image]), min(stop, offsets[image + 1])):
            frame, mean_x, mean_y = frames[k], means[k, 0], means[k, 1]
            ux, vx = splat(frame[UX]), splat(frame[VX])
            color = splat_each(read_row(colors, k, zeros))
            tu, tv, tuu, tuv, tvv = zero, zero, zero, zero, zero
            d_color = no_color
            for row in range(rows[k, 0], rows[k, 1] + 1):
                dy = (np.float32(row - image * height) + HALF) * pitch_y - mean_y
                first, last, dx, u_row, v_row = _enter_row(frame, mean_x, dy, pitch_x, width, ramp)
                base = row * per_row
                for x in range(base + first, base + last + 1, LANES):
                    u, v = fma(dx, ux, u_row), fma(dx, vx, v_row)
                    weight, slope = _weight_and_slope(fma(u, u, v * v))
                    above = load_each(gradients, x + stride, stride, zeros)
                    d_color = fma_each(weight, above, d_color)
                    d_weight = dot(color, above, load(gradients, x))
                    t = slope * d_weight
                    t_u, t_v = t * u, t * v
                    tu, tv = tu + t_u, tv + t_v
                    tuu, tuv, tvv = fma(t_u, u, tuu), fma(t_u, v, tuv), fma(t_v, v, tvv)
                    dx = dx + step
            along, across = horizontal_sum(tu), horizontal_sum(tv)
            s1, s2 = scales[k, 0], scales[k, 1]
            d_means[k, 0] = frame[UX] * along + frame[VX] * across
            d_means[k, 1] = frame[UY] * along + frame[VY] * across
            d_scales[k, 0], d_scales[k, 1] = horizontal_sum(tuu) / s1, horizontal_sum(tvv) / s2
            d_rotations[k] = horizontal_sum(tuv) * (s1 / s2 - s2 / s1)
            write_row(d_colors, k, horizontal_sum_each(d_color))
