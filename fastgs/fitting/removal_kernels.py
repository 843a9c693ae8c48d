"""numba kernels of relocation, in float32: what each Gaussian is worth, and where the error is.

`appraise` renders like the forward pass of render/cpu_kernels.py and compares with the target, without an image in
between; what `gather` sums up for each Gaussian is left in the pixels. `smooth` blurs the error. Every thread owns the
rows or Gaussians that it writes, so the result is the same to the bit for any number of threads.
"""

from __future__ import annotations

import numpy as np

from fastgs.render.cpu_kernels import EPS, HALF, ONE, UX, VX, ZERO, _accumulate, _count_planes, _enter_row, _weight
from fastgs.runtime.jit import jit
from fastgs.runtime.simd import LANES, fma, lane_index, load, splat, store
from fastgs.runtime.simd_tuples import fma_each, horizontal_sum_each, load_each, splat_each, write_row

# Factors of a pixel beside those of the channels: of the squared weight by itself, and of the energy of the image.
MORE = 2


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
        for plane in range(channels + MORE):
            factors[begin + plane * stride + width : begin + (plane + 1) * stride] = ZERO  # vectors reach beyond
        weights, error = planes[row * per_row : row * per_row + width], errors[row]
        own = factors[begin + channels * stride : begin + channels * stride + width]
        energy = factors[begin + (channels + 1) * stride : begin + (channels + 1) * stride + width]
        for x in range(width):
            denominator = weights[x] + EPS
            own[x] = denominator * denominator
            weights[x] = ONE / denominator
            energy[x], error[x] = ZERO, ZERO
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
def gather(means, frames, rows, zeros, height, width, stride, factors, sums, start, stop):
    """Sum the factors of the pixels, each times the squared weight there, for Gaussians [start, stop).

    Args:
        means: (N, 2) centres.
        frames: (N, FRAME) as `cpu_kernels.prepare` makes them for scales divided by sqrt(2), which squares weights.
        rows: (N, 2) from there, too.
        zeros: Tuple of C + 2 zeros.
        height: Height of the image.
        width: Width of the image.
        stride: Length of a row of factors.
        factors: (H, C + 2, stride) as `appraise` leaves them, flat.
        sums: (N, C + 2) result.
        start: First Gaussian.
        stop: End of the Gaussians.
    """
    no_sum, ramp, step = splat_each(zeros), lane_index(), splat(np.float32(LANES))
    per_row = len(zeros) * stride
    for k in range(start, stop):
        frame, mean_x, mean_y = frames[k], means[k, 0], means[k, 1]
        ux, vx = splat(frame[UX]), splat(frame[VX])
        total = no_sum
        for row in range(rows[k, 0], rows[k, 1] + 1):
            dy = np.float32(row) + HALF - mean_y
            first, last, dx, u_row, v_row = _enter_row(frame, mean_x, dy, ONE, width, ramp)
            base = row * per_row
            for x in range(base + first, base + last + 1, LANES):
                u, v = fma(dx, ux, u_row), fma(dx, vx, v_row)
                weight = _weight(fma(u, u, v * v))
                total = fma_each(weight, load_each(factors, x, stride, zeros), total)
                dx = dx + step
        write_row(sums, k, horizontal_sum_each(total))


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
    radius, whole = len(taps) // 2, width - width % LANES
    source, result = plane.reshape(-1), smoothed.reshape(-1)
    padded, bases = np.empty(width + 2 * radius, np.float32), np.empty(len(taps), np.int64)
    for y in range(start, stop):
        for tap in range(len(taps)):
            bases[tap] = min(max(y + tap - radius, 0), height - 1) * width
        for x in range(0, whole, LANES):
            total = splat(ZERO)
            for tap in range(len(taps)):
                total = fma(load(source, bases[tap] + x), splat(taps[tap]), total)
            store(padded, radius + x, total)
        for x in range(whole, width):
            single = ZERO
            for tap in range(len(taps)):
                single += source[bases[tap] + x] * taps[tap]
            padded[radius + x] = single
        padded[:radius] = padded[radius]
        padded[radius + width :] = padded[radius + width - 1]
        for x in range(0, whole, LANES):
            total = splat(ZERO)
            for tap in range(len(taps)):
                total = fma(load(padded, x + tap), splat(taps[tap]), total)
            store(result, y * width + x, total)
        for x in range(whole, width):
            single = ZERO
            for tap in range(len(taps)):
                single += padded[x + tap] * taps[tap]
            result[y * width + x] = single
