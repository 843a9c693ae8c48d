"""numba kernels of relocation, in float32: what each Gaussian is worth, and where the error is.

`appraise` renders like the forward pass of render/cpu_kernels.py and compares with the target, without an image in
between; what `gather` sums up for each Gaussian is left in the pixels. `smooth` blurs the error. Every thread owns the
rows or Gaussians that it writes, so the result is the same to the bit for any number of threads.
"""

from __future__ import annotations

import numpy as np

from fastgs.render.cpu_kernels import EPS, HALF, ONE, UX, VX, ZERO, _accumulate, _count_planes, _enter_row, _weight
from fastgs.runtime.jit import jit
from fastgs.runtime.simd import LANES, fma, lane_index, splat
from fastgs.runtime.simd_tuples import fma_each, horizontal_sum_each, load_each, read_row, splat_each, write_row

# Factors of a pixel beside those of the channels: of the squared weight by itself, and of the energy of the image.
MORE = 2

# Largest error of a sum relative to its positive terms.
ROUNDING = np.float32(2e-5)


def _appraise(
    means, frames, rows, colors, zeros, offsets, pitches, stride, planes, target, errors, factors, top, bottom
):
    """Render rows [top, bottom) by the normalized rule, and leave squared errors and factors of squared weights.

    With I the image, D = sum of weights + EPSILON and T the target, the factors are those of `gather`.

    Args:
        means: (N, 2) centres.
        frames: (N, FRAME) as `cpu_kernels.prepare` makes them.
        rows: (N, 2) from there, too.
        colors: (N, C) colours.
        zeros: Tuple of C zeros.
        offsets: (2,) that is 0 and N.
        pitches: (1, 2) ones.
        stride: Length of a row of planes.
        planes: Memory for all rows of planes, flat.
        target: (C, H, W) image.
        errors: (H, W) sum over channels of (I - T)^2.
        factors: (H, C + 2, stride), flat: I / D^2, then 1 / D^2, then |I|^2 / D^2.
        top: First row.
        bottom: End of the rows.
    """
    channels, height, width = target.shape
    per_row = _count_planes(len(zeros)) * stride
    planes[top * per_row : bottom * per_row] = ZERO
    _accumulate(means, frames, rows, colors, zeros, offsets, pitches, height, width, stride, planes, top, bottom)
    for row in range(top, bottom):
        begin = row * (channels + MORE) * stride
        factors[begin : begin + (channels + MORE) * stride] = ZERO  # vectors reach beyond the width
        weights, error = planes[row * per_row : row * per_row + width], errors[row]
        own = factors[begin + channels * stride : begin + channels * stride + width]
        energy = factors[begin + (channels + 1) * stride : begin + (channels + 1) * stride + width]
        for x in range(width):
            denominator = weights[x] + EPS
            own[x] = denominator * denominator
            weights[x] = ONE / denominator
            error[x] = ZERO
        for channel in range(channels):
            start = row * per_row + (1 + channel) * stride
            numerators, wanted = planes[start : start + width], target[channel, row]
            linear = factors[begin + channel * stride : begin + channel * stride + width]
            for x in range(width):
                value = numerators[x] * weights[x]
                difference = value - wanted[x]
                energy[x] += value * value
                error[x] += difference * difference
                linear[x] = value / own[x]
        for x in range(width):
            energy[x] = energy[x] / own[x]
            own[x] = ONE / own[x]


# Without contraction: sums round like those of torch, with which tests compare.
appraise = jit(_appraise, frozenset())


@jit
def _sum_rows(frame, mean_x, mean_y, zeros, width, stride, factors, first_row, last_row):
    """Return the sums of the factors in some rows, each times the weight there, as a tuple."""
    total, ramp, step = splat_each(zeros), lane_index(), splat(np.float32(LANES))
    ux, vx = splat(frame[UX]), splat(frame[VX])
    for row in range(first_row, last_row + 1):
        dy = np.float32(row) + HALF - mean_y
        first, last, dx, u_row, v_row = _enter_row(frame, mean_x, dy, ONE, width, ramp)
        base = row * len(zeros) * stride
        for x in range(base + first, base + last + 1, LANES):
            u, v = fma(dx, ux, u_row), fma(dx, vx, v_row)
            weight = _weight(fma(u, u, v * v))
            total = fma_each(weight, load_each(factors, x, stride, zeros), total)
            dx = dx + step
    return horizontal_sum_each(total)


@jit
def gather(means, frames, rows, colors, channel_zeros, zeros, height, width, stride, factors, limit, sums, start, stop):
    """Sum the factors of the pixels, each times the squared weight there, for Gaussians [start, stop).

    With colours c, the sums of the factors L, S and E give `|c|^2 S - 2 c L + E`: the sum over pixels of a square, so
    that each row only adds to it. Most Gaussians are beyond the limit in their middle row already, and need no other.

    Args:
        means: (N, 2) centres.
        frames: (N, FRAME) as `cpu_kernels.prepare` makes them for scales divided by sqrt(2), which squares weights.
        rows: (N, 2) from there, too.
        colors: (N, C) colours.
        channel_zeros: Tuple of C zeros.
        zeros: Tuple of C + 2 zeros.
        height: Height of the image.
        width: Width of the image.
        stride: Length of a row of factors.
        factors: (H, C + 2, stride) as `appraise` leaves them, flat.
        limit: Limit of the sums of squares, or infinity.
        sums: (N, C + 2) result; beyond the limit, the last is infinite and the others are 0.
        start: First Gaussian.
        stop: End of the Gaussians.
    """
    for k in range(start, stop):
        frame, mean_x, mean_y = frames[k], means[k, 0], means[k, 1]
        first, last = rows[k, 0], rows[k, 1]
        if limit < np.inf and first <= last:
            middle = min(max(int(mean_y), first), last)
            part = _sum_rows(frame, mean_x, mean_y, zeros, width, stride, factors, middle, middle)
            color, square, product = read_row(colors, k, channel_zeros), ZERO, ZERO
            for channel in range(len(channel_zeros)):
                square += color[channel] * color[channel]
                product += color[channel] * part[channel]
            positive = square * part[len(channel_zeros)] + part[len(channel_zeros) + 1]
            # What rounding may have taken away from the terms that cancel out is no part of the square.
            if positive * (ONE - ROUNDING) - product - product > limit:
                write_row(sums, k, zeros)
                sums[k, len(channel_zeros) + 1] = np.inf
                continue
        write_row(sums, k, _sum_rows(frame, mean_x, mean_y, zeros, width, stride, factors, first, last))


@jit
def smooth(plane, taps, smoothed, start, stop):
    """Blur rows [start, stop) of a plane along both axes, as `initializers.filters.smooth` does.

    Args:
        plane: (H, W) float32 plane; its borders are repeated.
        taps: (2 R + 1,) float32 weights.
        smoothed: (H, W) result.
        start: First row.
        stop: End of the rows.
    """
    height, width = plane.shape
    radius = len(taps) // 2
    padded = np.empty(width + 2 * radius, np.float32)
    for y in range(start, stop):
        inside = padded[radius : radius + width]
        inside[:] = ZERO
        for tap in range(len(taps)):
            row, weight = plane[min(max(y + tap - radius, 0), height - 1)], taps[tap]
            for x in range(width):
                inside[x] += row[x] * weight
        padded[:radius] = inside[0]
        padded[radius + width :] = inside[width - 1]
        result = smoothed[y]
        result[:] = ZERO
        for tap in range(len(taps)):
            shifted, weight = padded[tap : tap + width], taps[tap]
            for x in range(width):
                result[x] += shifted[x] * weight
