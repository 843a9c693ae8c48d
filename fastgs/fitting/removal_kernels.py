"""numba kernels of relocation, in float32: what each Gaussian is worth, and where the error is.

`appraise` renders like the forward pass of render/cpu_kernels.py and compares with the target, without an image in
between; what `gather` sums up for each Gaussian is left in the pixels. Every thread owns the rows or Gaussians that it
writes, so the result is the same to the bit for any number of threads.
"""

from __future__ import annotations

import numpy as np

from fastgs.render.cpu_geometry_kernels import (
    AT_ONCE,
    END,
    FIRST,
    FRAME,
    ONE,
    TWO,
    UX,
    UY,
    VX,
    VY,
    WIDE,
    ZERO,
    X,
    Y,
    find_chord,
    find_reach,
    place_chord,
    prepare,
    start_chord,
)
from fastgs.render.cpu_kernels import EPS, _count_planes, accumulate, weigh
from fastgs.runtime.jit import inlined, jit
from fastgs.runtime.simd import LANES, first_lane, fma, high, join, lane_index, low, splat, splat_like
from fastgs.runtime.simd_tuples import fma_each, horizontal_sum_each, load_each, splat_each, write_row

# Factors of a pixel beside those of the channels: of the squared weight by itself, and of the energy of the image.
MORE = 2


def _appraise(
    frames, bounds, spans, colors, zeros, offsets, stride, planes, target, errors, factors, side, top, bottom
):
    """Render rows [top, bottom) by the normalized rule, and leave squared errors and factors of squared weights.

    With I the image, D = sum of weights + EPSILON and T the target, the factors are those of `gather`.

    Args:
        frames: From `cpu_geometry_kernels.prepare`, as are
        bounds: and
        spans: for N Gaussians.
        colors: (N, C) colours.
        zeros: Tuple of C zeros.
        offsets: (2,) that is 0 and N.
        stride: Length of a row of planes.
        planes: Memory for all rows of planes, and the spare ones, flat.
        target: (C, H, W) image.
        errors: (Y, X) sum over channels of (I - T)^2, the mean of each cell.
        factors: (H + 1, C + 2, stride), flat: I / D^2, then 1 / D^2, then |I|^2 / D^2; zeros in the last row.
        side: Side of a cell in pixels, 1 or 2; those at the right and lower border may be smaller.
        top: First row, a multiple of the side.
        bottom: End of the rows, a multiple of the side or the end of the image.
    """
    channels, height, width = target.shape
    per_row = _count_planes(len(zeros)) * stride
    planes[top * per_row : bottom * per_row] = ZERO
    accumulate(frames, bounds, spans, colors, zeros, offsets, height, width, stride, planes, top, bottom)
    error = np.zeros(width, np.float32)
    for row in range(top, bottom):
        begin = row * (channels + MORE) * stride
        for plane in range(channels + MORE):
            factors[begin + plane * stride + width : begin + (plane + 1) * stride] = ZERO  # vectors reach beyond
        weights = planes[row * per_row : row * per_row + width]
        own = factors[begin + channels * stride : begin + channels * stride + width]
        energy = factors[begin + (channels + 1) * stride : begin + (channels + 1) * stride + width]
        # Short loops: of many arrays at once LLVM cannot tell that they are apart, and does not vectorize.
        for x in range(width):
            weights[x] = ONE / (weights[x] + EPS)
        for x in range(width):
            own[x] = weights[x] * weights[x]
        for x in range(width):
            energy[x] = ZERO
        for channel in range(channels):
            start = row * per_row + (1 + channel) * stride
            values, wanted = planes[start : start + width], target[channel, row]
            linear = factors[begin + channel * stride : begin + channel * stride + width]
            for x in range(width):
                values[x] *= weights[x]
            for x in range(width):
                difference = values[x] - wanted[x]
                error[x] += difference * difference
            for x in range(width):
                energy[x] += values[x] * values[x]
            for x in range(width):
                linear[x] = values[x] * own[x]
        for x in range(width):
            energy[x] *= own[x]
        if row % side == side - 1 or row == height - 1:
            _average(error, row % side + 1, side, errors[row // side])


@jit
def _average(line, rows, side, means):
    """Turn sums over so many rows into the means of cells, and clear them."""
    width, columns = len(line), len(means)
    if side == 1:
        for x in range(width):
            means[x] = line[x]
    else:
        share = ONE / np.float32(2 * rows)
        for x in range(width // 2):
            means[x] = (line[2 * x] + line[2 * x + 1]) * share
        if width % 2:
            means[columns - 1] = line[width - 1] / np.float32(rows)
    for x in range(width):
        line[x] = ZERO


# Without contraction: sums round like those of torch, with which tests compare.
appraise = jit(_appraise, frozenset())


@inlined
def _add(factors, x, x_right, stride, zeros, u, v, total):
    """Add the factors of eight pixels at x and eight at x_right, times the weights there."""
    weight = weigh(fma(u, u, v * v))
    total = fma_each(low(weight), load_each(factors, x, stride, zeros), total)
    return fma_each(high(weight), load_each(factors, x_right, stride, zeros), total)


@jit
def gather(frames, bounds, colors, zeros, height, width, stride, factors, removal, start, stop):
    """Sum the factors of the pixels, each times the squared weight there, to removal errors of Gaussians [start, stop).

    Args:
        frames: From `cpu_geometry_kernels.prepare`, as are
        bounds: for scales divided by sqrt(2), which squares weights.
        colors: (N, C) colours.
        zeros: Tuple of C + 2 zeros.
        height: Height of the image.
        width: Width of the image.
        stride: Length of a row of factors.
        factors: (H + 1, C + 2, stride) as `appraise` leaves them, flat.
        removal: (N,) result, see `fastgs.fitting.removal.removal_errors`.
        start: First Gaussian.
        stop: End of the Gaussians.
    """
    per_row, channels, sums = len(zeros) * stride, len(zeros) - MORE, np.empty((1, len(zeros)), np.float32)
    ramp = join(lane_index(), lane_index() + splat(np.float32(LANES)))
    for k in range(start, stop):
        frame, first_row, end_row = frames[FRAME * k : FRAME * (k + 1)], bounds[FIRST, k], bounds[END, k]
        total, base = splat_each(zeros), first_row * per_row
        if bounds[AT_ONCE, k] == 2:
            left, lanes = start_chord(frame)
            y, right = splat(np.float32(first_row)), join(lanes, lanes)
            rows = join(y, y + splat(ONE))
            for row in range(first_row, end_row, 2):
                column, u, v = place_chord(rows, frame, left, right)
                below = base + per_row if row + 1 < height else height * per_row
                x, x_below = base + int(first_lane(column)), below + int(first_lane(high(column)))
                total = _add(factors, x, x_below, stride, zeros, u, v, total)
                rows, base = rows + splat_like(rows, TWO), base + 2 * per_row
        else:
            ux, vx = splat_like(ramp, frame[UX]), splat_like(ramp, frame[VX])
            reach = find_reach(frame)
            for row in range(first_row, end_row):
                dy = np.float32(row) - frame[Y]
                first, last = find_chord(frame, reach, dy, width)
                dx = splat_like(ramp, np.float32(first) - frame[X]) + ramp
                u_row, v_row = splat_like(ramp, dy * frame[UY]), splat_like(ramp, dy * frame[VY])
                for x in range(base + first, base + last + 1, WIDE):
                    total = _add(
                        factors, x, x + LANES, stride, zeros, fma(dx, ux, u_row), fma(dx, vx, v_row), total
                    )  # fmt: skip
                    dx = dx + splat_like(ramp, np.float32(WIDE))
                base += per_row
        write_row(sums, 0, horizontal_sum_each(total))
        square, linear = ZERO, ZERO
        for channel in range(channels):
            square += colors[k, channel] * colors[k, channel]
            linear += colors[k, channel] * sums[0, channel]
        total_error = square * sums[0, channels] - TWO * linear + sums[0, channels + 1]
        removal[k] = max(total_error, ZERO)


@jit
def appraise_each(
    frames, bounds, spans, colors, zeros, more_zeros, offsets, pitches, stride, planes, targets, side,
    means, scales, rotations, factors, errors, removal,
):  # fmt: skip
    """Find the errors of cells and the removal errors in each of B images of one size, one after the other.

    The arguments are those of `appraise` and `gather`, but there is one of each image: frames (B, F), bounds (B, 3, P),
    spans (B, blocks, 2), colors (B, P, C), targets (B, C, H, W), errors (B, Y, X) and removal (B, N). Means (B, N, 2),
    scales (B, N, 2) and rotations (B, N) are those of squares. Planes and factors serve one image after the other.
    """
    height, width = targets.shape[2], targets.shape[3]
    of_squares = np.empty_like(frames[0]), np.empty_like(bounds[0]), np.empty_like(spans[0])
    for one in range(len(targets)):
        appraise(frames[one], bounds[one], spans[one], colors[one], zeros, offsets, stride, planes, targets[one],
                 errors[one], factors, side, 0, height)  # fmt: skip
        prepare(means[one], scales[one], rotations[one], offsets, pitches, height, width, *of_squares,
                0, spans.shape[1])  # fmt: skip
        gather(of_squares[0], of_squares[1], colors[one], more_zeros, height, width, stride, factors, removal[one],
               0, offsets[1])  # fmt: skip
