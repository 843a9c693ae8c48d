"""numba kernels of the CPU rasterizer in float32, forward and backward.

There are no tiles. Forward, each thread owns a band of rows, and loops over the Gaussians that reach it. Backward, each
thread owns Gaussians, and gathers their gradients from the pixels. Nothing that is written is shared or needs atomic
operations, so the result is the same to the bit for any number of threads. A batch is treated as one tall image: rows
are numbered consecutively from image to image, and a Gaussian reaches rows of its own image only.

A Gaussian is evaluated in its whitened frame: `u, v` are the coordinates of a pixel along its axes in standard
deviations, and `d2 = u^2 + v^2`. This is accurate where a conic `a dx^2 + 2 b dx dy + c dy^2` would cancel (needles of
0.05 px by 1000 px), and the gradients with respect to scales and rotation are plain moments of u and v.

Pixels are taken sixteen at a time: of one row, or, where a Gaussian is at most eight pixels wide, as most are when
there are many, eight of each of two rows. A pixel beyond the support has weight 0, so rows and chords may be exceeded
wherever there is memory.
"""

from __future__ import annotations

import numpy as np

from fastgs.definition import CUTOFF, EPSILON, FADE_START
from fastgs.render.cpu_geometry_kernels import (
    AT_ONCE,
    BLOCK,
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
    start_chord,
)
from fastgs.runtime.jit import inlined, jit
from fastgs.runtime.simd import (
    LANES,
    first_lane,
    fma,
    high,
    horizontal_sum,
    join,
    lane_index,
    load,
    low,
    minimum,
    splat,
    splat_like,
    store,
    where_below,
)
from fastgs.runtime.simd_math import maximum
from fastgs.runtime.simd_tuples import (
    dot,
    fma_each,
    horizontal_sum_each,
    load_each,
    read_row,
    splat_each,
    store_each,
    write_each,
)

CUTOFF2 = np.float32(CUTOFF**2)
FADE_SLOPE = np.float32(1 / (CUTOFF**2 - FADE_START**2))
TWO_FADE_SLOPE = np.float32(2 / (CUTOFF**2 - FADE_START**2))
EPS = np.float32(EPSILON)

# A polynomial for exp(z) on [-0.77, 0] with z = -d2 / 16: least squares of the relative error, exact at 0. Its eighth
# power is exp(-d2 / 2) on the whole support with an error of 3e-6, without splitting off an exponent. First the
# coefficients of powers of z, then those of powers of d2.
_OF_Z = (0.9999914765357971, 0.4998544752597809, 0.16583117842674255, 0.039508603513240814, 0.0056833806447684765)
E1, E2, E3, E4, E5 = (np.float32(c * (-1 / 16) ** n) for n, c in enumerate(_OF_Z, start=1))

# Room that a row of a plane has behind the last pixel, which a vector may reach.
MARGIN = WIDE
# Rows behind those of the images that planes have, for the row below the last one of a band or an image: in the first,
# nobody reads what is added; the last has zeros, so that nothing is gathered from it.
SPARE_ROWS = 2

# Number of sums over the pixels of a Gaussian that the gradients of its geometry follow from: those of `gather` before
# the gradients of the colours.
MOMENTS = 5

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
    power = fma(d2, splat_like(d2, E5), splat_like(d2, E4))
    power = fma(power, d2, splat_like(d2, E3))
    power = fma(power, d2, splat_like(d2, E2))
    power = fma(power, d2, splat_like(d2, E1))
    power = fma(power, d2, splat_like(d2, ONE))
    power = power * power
    power = power * power
    return power * power


@jit
def _fade(d2):
    """Return the factor of the weight that falls from 1 to 0 at the border of the support, and below 0 outside."""
    return minimum((splat_like(d2, CUTOFF2) - d2) * splat_like(d2, FADE_SLOPE), splat_like(d2, ONE))


@jit
def weigh(d2):
    """Return the weight w(d2) of reference.py."""
    d2 = minimum(d2, splat_like(d2, CUTOFF2))
    return _gaussian(d2) * _fade(d2)


@jit
def _weight_and_slope(d2):
    """Return the weight w(d2) and its slope, -2 dw/d(d2)."""
    fade = _fade(d2)
    gaussian = where_below(d2, splat_like(d2, CUTOFF2), _gaussian(d2))
    weight = gaussian * fade
    falling = where_below(fade, splat_like(d2, ONE), gaussian)
    return weight, fma(falling, splat_like(d2, TWO_FADE_SLOPE), weight)


@inlined
def _add(planes, x, x_right, stride, u, v, color, zeros):
    """Add the weights and the weighted colours of eight pixels at x and eight at x_right."""
    weight = weigh(fma(u, u, v * v))
    _add_lanes(planes, x, stride, low(weight), color, zeros)
    _add_lanes(planes, x_right, stride, high(weight), color, zeros)


@inlined
def _add_lanes(planes, x, stride, weight, color, zeros):
    store(planes, x, load(planes, x) + weight)
    sums = load_each(planes, x + stride, stride, zeros)
    store_each(planes, x + stride, stride, fma_each(weight, color, sums))


@jit
def accumulate(frames, bounds, spans, colors, zeros, offsets, height, width, stride, planes, top, bottom):
    """Add weights and weighted colours to rows [top, bottom) of planes, flat (rows, planes, stride)."""
    per_row = _count_planes(len(zeros)) * stride
    spare = len(planes) - SPARE_ROWS * per_row
    ramp = join(lane_index(), lane_index() + splat(np.float32(LANES)))
    for image in range(top // height, (bottom - 1) // height + 1):
        origin, lower = image * height, min(bottom, (image + 1) * height)
        start, stop = offsets[image], offsets[image + 1]
        for block in range(start // BLOCK, (stop + BLOCK - 1) // BLOCK):
            if spans[block, 0] >= lower or spans[block, 1] <= top:
                continue
            for k in range(max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)):
                first_row, end_row = max(bounds[FIRST, k], top), min(bounds[END, k], lower)
                if first_row >= end_row:
                    continue
                frame, color = frames[FRAME * k : FRAME * (k + 1)], splat_each(read_row(colors, k, zeros))
                left, lanes = start_chord(frame)
                y, at_once, base = splat(np.float32(first_row - origin)), bounds[AT_ONCE, k], first_row * per_row
                if at_once == 2:
                    rows, right = join(y, y + splat(ONE)), join(lanes, lanes)
                    for row in range(first_row, end_row, 2):
                        column, u, v = place_chord(rows, frame, left, right)
                        below = base + per_row if row + 1 < lower else spare
                        x, x_below = base + int(first_lane(column)), below + int(first_lane(high(column)))
                        _add(planes, x, x_below, stride, u, v, color, zeros)
                        rows, base = rows + splat_like(ramp, TWO), base + 2 * per_row
                elif at_once == 1:
                    rows, right = join(y, y), join(lanes, lanes + splat(np.float32(LANES)))
                    for _ in range(first_row, end_row):
                        column, u, v = place_chord(rows, frame, left, right)
                        x = base + int(first_lane(column))
                        _add(planes, x, x + LANES, stride, u, v, color, zeros)
                        rows, base = rows + splat_like(ramp, ONE), base + per_row
                else:
                    ux, vx = splat_like(ramp, frame[UX]), splat_like(ramp, frame[VX])
                    reach = find_reach(frame)
                    for row in range(first_row, end_row):
                        dy = np.float32(row - origin) - frame[Y]
                        first, last = find_chord(frame, reach, dy, width)
                        dx = splat_like(ramp, np.float32(first) - frame[X]) + ramp
                        u_row, v_row = splat_like(ramp, dy * frame[UY]), splat_like(ramp, dy * frame[VY])
                        for x in range(base + first, base + last + 1, WIDE):
                            _add(planes, x, x + LANES, stride, fma(dx, ux, u_row), fma(dx, vx, v_row), color, zeros)
                            dx = dx + splat_like(ramp, np.float32(WIDE))
                        base += per_row


@jit
def forward(frames, bounds, spans, colors, zeros, offsets, stride, planes, images, normalized, top, bottom):
    """Render rows [top, bottom) of images (B, C, H, W), for a tuple of C zeros.

    Afterwards plane 0 has 1 / (sum of weights + EPSILON) for the normalized rule, and 1 for the sum.
    """
    height, width = images.shape[2], images.shape[3]
    per_row = _count_planes(len(zeros)) * stride
    planes[top * per_row : bottom * per_row] = ZERO
    accumulate(frames, bounds, spans, colors, zeros, offsets, height, width, stride, planes, top, bottom)
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
def _sum_errors(planes, start, inverses, wanted):
    """Return the squared error of a row of a channel, clamped to [0, 1], before it is turned into gradients."""
    zero, one = splat(ZERO), splat(ONE)
    whole, total = len(wanted) // LANES * LANES, splat(ZERO)
    for x in range(0, whole, LANES):
        value = load(planes, start + x) * load(inverses, x)
        error = maximum(minimum(value, one), zero) - load(wanted, x)
        total = fma(error, error, total)
    rest = horizontal_sum(total)
    for x in range(whole, len(wanted)):
        error = max(min(planes[start + x] * inverses[x], ONE), ZERO) - wanted[x]
        rest += error * error
    return rest


@jit
def descend_pixels(
    frames, bounds, spans, colors, zeros, offsets, stride, planes, target, image, errors, keep, measure, normalized,
    top, bottom,
):  # fmt: skip
    """Render rows [top, bottom) of one image and turn them into gradients of half the squared error.

    Afterwards the planes have the gradients in what was accumulated, as from `pixel_gradients`. The image (C, H, W) is
    written if `keep`, and the squared errors (H,) of its rows, clamped to [0, 1], if `measure`; target (C, H, W).
    """
    height, width = target.shape[1], target.shape[2]
    per_row = _count_planes(len(zeros)) * stride
    planes[top * per_row : bottom * per_row] = ZERO
    accumulate(frames, bounds, spans, colors, zeros, offsets, height, width, stride, planes, top, bottom)
    inverses = np.empty(width, np.float32)
    for row in range(top, bottom):
        base, error = row * per_row, 0.0
        of_weight = planes[base : base + width]
        for x in range(width):
            inverses[x] = ONE / (of_weight[x] + EPS) if normalized else ONE
            of_weight[x] = ZERO
        planes[base + width : base + stride] = ZERO
        for channel in range(len(zeros)):
            start = base + (1 + channel) * stride
            of_color, wanted = planes[start : start + width], target[channel, row]
            if measure:
                error += _sum_errors(planes, start, inverses, wanted)
            if keep:
                drawn = image[channel, row]
                for x in range(width):
                    drawn[x] = of_color[x] * inverses[x]
            for x in range(width):
                value = of_color[x] * inverses[x]
                gradient = (value - wanted[x]) * inverses[x]
                of_color[x] = gradient
                if normalized:
                    of_weight[x] -= gradient * value
            planes[start + width : start + stride] = ZERO
        if measure:
            errors[row] = error


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


@inlined
def _collect(gradients, x, x_right, stride, zeros, color, u, v, moments, d_color):
    """Add what eight pixels at x and eight at x_right contribute to the moments and the gradient of the colour."""
    weight, bend = _weight_and_slope(fma(u, u, v * v))
    above = load_each(gradients, x + stride, stride, zeros)
    d_color = fma_each(low(weight), above, d_color)
    d_weight = dot(color, above, load(gradients, x))
    above = load_each(gradients, x_right + stride, stride, zeros)
    d_color = fma_each(high(weight), above, d_color)
    t = bend * join(d_weight, dot(color, above, load(gradients, x_right)))
    t_u, t_v = t * u, t * v
    tu, tv, tuu, tvv, tuv = moments
    return (tu + t_u, tv + t_v, fma(t_u, u, tuu), fma(t_v, v, tvv), fma(t_u, v, tuv)), d_color


@inlined
def _write_sums(sums, k, frame, moments, d_color):
    """Write the sums of a Gaussian, with the moments t u and t v turned into the gradient of the mean in pixels."""
    tu, tv, tuu, tvv, tuv = horizontal_sum_each(moments)
    of_mean = frame[UX] * tu + frame[VX] * tv, frame[UY] * tu + frame[VY] * tv
    write_each(sums, k & (BLOCK - 1), BLOCK, of_mean + (tuu, tvv, tuv) + horizontal_sum_each(d_color))  # noqa: RUF005


@inlined
def _no_moments():
    none = splat_like(join(splat(ZERO), splat(ZERO)), ZERO)
    return none, none, none, none, none


# The loops below are functions of their own, so that each has all registers for its sums. Each takes the Gaussians
# [start, stop) that are of its kind: two rows at once, one row at once, or rows in steps of sixteen pixels.


@jit
def _gather_pairs(frames, bounds, colors, zeros, stride, gradients, origin, start, stop, lower, sums):
    per_row = _count_planes(len(zeros)) * stride
    blank = len(gradients) - per_row
    for k in range(start, stop):
        if bounds[AT_ONCE, k] == 2:
            first, end = bounds[FIRST, k], bounds[END, k]
            frame, color = frames[FRAME * k : FRAME * (k + 1)], splat_each(read_row(colors, k, zeros))
            left, lanes = start_chord(frame)
            y, right = splat(np.float32(first - origin)), join(lanes, lanes)
            y = join(y, y + splat(ONE))
            base = first * per_row
            moments, d_color = _no_moments(), splat_each(zeros)
            for row in range(first, end, 2):
                column, u, v = place_chord(y, frame, left, right)
                below = base + per_row if row + 1 < lower else blank
                x, x_below = base + int(first_lane(column)), below + int(first_lane(high(column)))
                moments, d_color = _collect(gradients, x, x_below, stride, zeros, color, u, v, moments, d_color)
                y, base = y + splat_like(y, TWO), base + 2 * per_row
            _write_sums(sums, k, frame, moments, d_color)


@jit
def _gather_rows(frames, bounds, colors, zeros, stride, gradients, origin, start, stop, sums):
    per_row = _count_planes(len(zeros)) * stride
    for k in range(start, stop):
        if bounds[AT_ONCE, k] == 1:
            first, end = bounds[FIRST, k], bounds[END, k]
            frame, color = frames[FRAME * k : FRAME * (k + 1)], splat_each(read_row(colors, k, zeros))
            left, lanes = start_chord(frame)
            y, right = splat(np.float32(first - origin)), join(lanes, lanes + splat(np.float32(LANES)))
            y = join(y, y)
            base = first * per_row
            moments, d_color = _no_moments(), splat_each(zeros)
            for _ in range(first, end):
                column, u, v = place_chord(y, frame, left, right)
                x = base + int(first_lane(column))
                moments, d_color = _collect(gradients, x, x + LANES, stride, zeros, color, u, v, moments, d_color)
                y, base = y + splat_like(y, ONE), base + per_row
            _write_sums(sums, k, frame, moments, d_color)


@jit
def _gather_chords(frames, bounds, colors, zeros, width, stride, gradients, origin, start, stop, sums):
    per_row = _count_planes(len(zeros)) * stride
    ramp = join(lane_index(), lane_index() + splat(np.float32(LANES)))
    step = splat_like(ramp, np.float32(WIDE))
    for k in range(start, stop):
        if bounds[AT_ONCE, k] == 0:
            frame, color = frames[FRAME * k : FRAME * (k + 1)], splat_each(read_row(colors, k, zeros))
            ux, vx = splat_like(ramp, frame[UX]), splat_like(ramp, frame[VX])
            reach = find_reach(frame)
            moments, d_color = _no_moments(), splat_each(zeros)
            for row in range(bounds[FIRST, k], bounds[END, k]):
                dy = np.float32(row - origin) - frame[Y]
                first, last = find_chord(frame, reach, dy, width)
                dx = splat_like(ramp, np.float32(first) - frame[X]) + ramp
                u_row, v_row = splat_like(ramp, dy * frame[UY]), splat_like(ramp, dy * frame[VY])
                base = row * per_row
                for x in range(base + first, base + last + 1, WIDE):
                    u, v = fma(dx, ux, u_row), fma(dx, vx, v_row)
                    moments, d_color = _collect(gradients, x, x + LANES, stride, zeros, color, u, v, moments, d_color)
                    dx = dx + step
            _write_sums(sums, k, frame, moments, d_color)


@jit
def gather(frames, bounds, colors, zeros, height, width, stride, gradients, image, start, stop, sums):
    """Sum over the pixels of Gaussians [start, stop) of one image, of one block, what their gradients follow from.

    With t = -2 dw/d(d2) dL/dw, the chain rule gives, summed over pixels:

    d mean = (t u, t v) in the frame, d s1 = t u^2 / s1, d s2 = t v^2 / s2, d theta = t u v (s1 / s2 - s2 / s1).

    sums, flat (MOMENTS + C, BLOCK), has a column for each Gaussian of the block: the gradient of the mean in pixels,
    the sums of t u^2, t v^2 and t u v, and the gradients of the colours.
    """
    origin = image * height
    _gather_pairs(frames, bounds, colors, zeros, stride, gradients, origin, start, stop, origin + height, sums)
    _gather_rows(frames, bounds, colors, zeros, stride, gradients, origin, start, stop, sums)
    _gather_chords(frames, bounds, colors, zeros, width, stride, gradients, origin, start, stop, sums)


@jit
def backward(
    scales, frames, bounds, colors, zeros, offsets, pitches, height, width, stride, gradients,
    d_means, d_scales, d_rotations, d_colors, start, stop,
):  # fmt: skip
    """Compute the gradients of the Gaussians of blocks [start, stop)."""
    sums = np.empty((MOMENTS + len(zeros)) * BLOCK, np.float32)
    for image in range(len(pitches)):
        for block in range(max(start, offsets[image] // BLOCK), min(stop, (offsets[image + 1] + BLOCK - 1) // BLOCK)):
            begin, end = max(block * BLOCK, offsets[image]), min((block + 1) * BLOCK, offsets[image + 1])
            gather(frames, bounds, colors, zeros, height, width, stride, gradients, image, begin, end, sums)
            for k in range(begin, end):
                column = sums[k % BLOCK :: BLOCK]
                s1, s2 = scales[k, 0], scales[k, 1]
                d_means[k, 0], d_means[k, 1] = column[0] / pitches[image, 1], column[1] / pitches[image, 0]
                d_scales[k, 0], d_scales[k, 1] = column[2] / s1, column[3] / s2
                d_rotations[k] = column[4] * (s1 / s2 - s2 / s1)
                for channel in range(len(zeros)):
                    d_colors[k, channel] = column[MOMENTS + channel]
