"""numba kernels of the CPU rasterizer in float32, forward and backward.

There are no tiles. Forward, each thread owns a band of rows, and loops over the Gaussians that reach it. Backward, each
thread owns Gaussians, and gathers their gradients from the pixels. Nothing that is written is shared or needs atomic
operations, so the result is the same to the bit for any number of threads. A batch is treated as one tall image: rows
are numbered consecutively from image to image, and a Gaussian reaches rows of its own image only.

A Gaussian is evaluated in its whitened frame: `u, v` are the coordinates of a pixel along its axes in standard
deviations, and `d2 = u^2 + v^2`. This is accurate where a conic `a dx^2 + 2 b dx dy + c dy^2` would cancel (needles of
0.05 px by 1000 px), and the gradients with respect to scales and rotation are plain moments of u and v.

Pixels are taken sixteen at a time: of one row, or, where a Gaussian is at most eight pixels wide, as most are when there
are many, eight of each of two rows. A pixel beyond the support has weight 0, so rows and chords may be exceeded wherever
there is memory.
"""

from __future__ import annotations

import math

import numpy as np

from fastgs.definition import CUTOFF, EPSILON, FADE_START
from fastgs.runtime.jit import jit
from fastgs.runtime.simd import (
    LANES,
    fma,
    high,
    horizontal_sum,
    join,
    lane_index,
    load,
    low,
    minimum,
    round_down,
    splat,
    splat_like,
    square_root,
    store,
    store_integers,
    where_below,
)
from fastgs.runtime.simd_math import absolute, cosine_and_sine, maximum
from fastgs.runtime.simd_tuples import (
    dot,
    fma_each,
    horizontal_sum_each,
    load_each,
    read_row,
    splat_each,
    store_each,
    transpose,
    write_each,
)

CUTOFF2 = np.float32(CUTOFF**2)
FADE_SLOPE = np.float32(1 / (CUTOFF**2 - FADE_START**2))
TWO_FADE_SLOPE = np.float32(2 / (CUTOFF**2 - FADE_START**2))
EPS = np.float32(EPSILON)
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)

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

# Number of pixels that are evaluated at once.
WIDE = 2 * LANES
# Room that a row of a plane has behind the last pixel, which a vector may reach.
MARGIN = WIDE
# A distance in standard deviations that is beyond every support.
FAR = np.float32(1e4)

# Columns of the array `frames`, flat (N, FRAME): u = UX dx + UY dy and v = VX dx + VY dy at a distance (dx, dy) from the
# mean (X, Y). The centre of the chord at dy lies SLOPE * dy columns from the mean, and the chord of the row through the
# mean reaches WIDEST columns to either side.
FRAME = 8
UX, UY, VX, VY, SLOPE, WIDEST, X, Y = range(FRAME)

# Rows of the array `bounds` (3, N) of integers: a Gaussian reaches the rows [FIRST, END) of the batch; NARROW is 1 if all
# its chords, and those of the row below, lie within the image and are at most LANES pixels wide, else 0.
FIRST, END, NARROW = range(3)

# Number of neighbouring Gaussians whose first and last row are kept as one entry of `spans` (blocks, 2), so that a band
# passes over those of other bands quickly: Gaussians are mostly ordered by row.
BLOCK = 64

# Sums over the pixels of a Gaussian that its gradients follow from, with t = -2 dw/d(d2) dL/dw: the gradient of the mean,
# the moments t u^2, t v^2 and t u v, and then the gradients of the colours.
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
def _weight(d2):
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


@jit
def describe(x, y, s1, s2, rotation, pitch_y, pitch_x, first_row, height, width):
    """Return the columns of `frames`, as a tuple, and the rows of `bounds` of eight Gaussians.

    All are vectors but the size of the image; `first_row` is the number of the first row of the image in the batch.
    """
    one, half = splat(ONE), splat(HALF)
    cosine, sine = cosine_and_sine(rotation)
    inverse1, inverse2 = one / s1, one / s2
    ux, uy, vx, vy = cosine * inverse1, sine * inverse1, splat(ZERO) - sine * inverse2, cosine * inverse2
    # 1 / sqrt(xx) is the standard deviation along the row through the mean.
    xx = fma(ux, ux, vx * vx)
    slope = splat(ZERO) - fma(ux, uy, vx * vy) / (xx * pitch_x)
    widest = splat(np.float32(CUTOFF)) / (square_root(xx) * pitch_x)
    down1, down2 = s1 * sine, s2 * cosine
    reach = splat(np.float32(CUTOFF)) * square_root(fma(down1, down1, down2 * down2))
    first = maximum(splat(ZERO) - round_down(half - (y - reach) / pitch_y), splat(ZERO))
    end = minimum(round_down((y + reach) / pitch_y + half), splat(np.float32(height)))
    # Zero where there is no row, and for NaN and infinity, which must not become an index; x - x is 0 for numbers only.
    known = x + slope + widest
    end = where_below(known - known, one, where_below(first, end, end))
    first = where_below(first, end, first)
    center, spread = x / pitch_x - half, widest + splat(SLACK)
    farthest = fma(absolute(slope), reach + pitch_y, spread)
    narrow = where_below(spread + spread, splat(np.float32(LANES)), one)
    narrow = where_below(center + farthest, splat(np.float32(width - 1)), where_below(farthest, center, narrow))
    return (ux, uy, vx, vy, slope, widest, x, y), first + first_row, end + first_row, narrow


@jit
def write_description(described, frames, bounds, k):
    """Write what `describe` returns for Gaussians [k, k + LANES)."""
    columns, first, end, narrow = described
    store_each(frames, FRAME * k, FRAME, transpose(columns))
    store_integers(bounds[FIRST], k, first)
    store_integers(bounds[END], k, end)
    store_integers(bounds[NARROW], k, narrow)


@jit
def find_span(bounds, count, block, spans):
    """Fill the entry of a block of `spans`: the first row that any of its Gaussians reaches, and the end."""
    first, end = bounds[FIRST, BLOCK * block], np.int32(0)
    for k in range(BLOCK * block, min(BLOCK * (block + 1), count)):
        if bounds[FIRST, k] < bounds[END, k]:
            first = min(first, bounds[FIRST, k])
            end = max(end, bounds[END, k])
    spans[block, 0], spans[block, 1] = first, end


@jit
def prepare(means, scales, rotations, offsets, pitches, height, width, frames, bounds, spans, start, stop):
    """Fill `frames`, `bounds` and `spans` for blocks [start, stop); the arrays have room for whole blocks."""
    lanes = np.zeros(8 * LANES, np.float32)  # of eight Gaussians, what `describe` takes
    count = len(means)
    image = 0
    for block in range(start, stop):
        for k in range(BLOCK * block, min(BLOCK * (block + 1), count), LANES):
            for lane in range(LANES):
                one = min(k + lane, count - 1)
                while one >= offsets[image + 1]:
                    image += 1
                lanes[lane], lanes[LANES + lane] = means[one, 0], means[one, 1]
                lanes[2 * LANES + lane], lanes[3 * LANES + lane] = scales[one, 0], scales[one, 1]
                lanes[4 * LANES + lane] = rotations[one]
                lanes[5 * LANES + lane], lanes[6 * LANES + lane] = pitches[image, 0], pitches[image, 1]
                lanes[7 * LANES + lane] = np.float32(image * height)
            described = describe(
                load(lanes, 0), load(lanes, LANES), load(lanes, 2 * LANES), load(lanes, 3 * LANES),
                load(lanes, 4 * LANES), load(lanes, 5 * LANES), load(lanes, 6 * LANES), load(lanes, 7 * LANES),
                height, width,
            )  # fmt: skip
            write_description(described, frames, bounds, k)
        find_span(bounds, count, block, spans)


@jit
def bands(frames, bounds, count, costs, edges):
    """Split the rows into bands of about equal cost.

    costs (rows + 1,) has zeros, and is overwritten; edges (bands + 1,) is filled with the borders of the bands.
    """
    total = 0.0
    for k in range(count):
        first, end = bounds[FIRST, k], bounds[END, k]
        if first < end:
            blocks = 2.0 + frames[FRAME * k + WIDEST] * (2.0 / LANES)
            costs[first] += blocks
            costs[end] -= blocks
            total += blocks * (end - first)
    bands_, band, row_cost, done = len(edges) - 1, 1, 0.0, 0.0
    edges[:] = len(costs) - 1
    edges[0] = 0
    for row in range(len(costs) - 1):
        row_cost += costs[row]
        done += row_cost
        while band < bands_ and done >= total * band / bands_:
            edges[band] = row + 1
            band += 1


@jit
def find_reach(frame):
    """Return the distance in y from the mean at which the chord of a Gaussian vanishes."""
    # The determinant is that of a rotation, divided by both scales.
    determinant = frame[UX] * frame[VY] - frame[UY] * frame[VX]
    return np.float32(CUTOFF) * math.sqrt(frame[UX] * frame[UX] + frame[VX] * frame[VX]) / determinant


@jit
def find_chord(frame, reach, dy, pitch_x, width):
    """Return the first and last column of the chord in the row at distance dy from the mean; first > last if none.

    Where the widest chord is short, it stands for all others.
    """
    half = frame[WIDEST]
    if half > LONG_CHORD:
        share = dy / reach
        half *= math.sqrt(max(ONE - share * share, ZERO))
    half += SLACK
    center = frame[X] / pitch_x - HALF + frame[SLOPE] * dy
    first = min(max(center - half + ONE, ZERO), np.float32(width))
    last = max(min(center + half, np.float32(width - 1)), np.float32(-1))
    return int(first), int(last)


@jit
def _add(planes, x, stride, weight, color, zeros):
    """Add the weights and the weighted colours of eight pixels."""
    store(planes, x, load(planes, x) + weight)
    sums = load_each(planes, x + stride, stride, zeros)
    store_each(planes, x + stride, stride, fma_each(weight, color, sums))


@jit
def _accumulate(frames, bounds, spans, colors, zeros, offsets, pitches, height, width, stride, planes, top, bottom):
    """Add weights and weighted colours to rows [top, bottom) of planes, flat (rows, planes, stride)."""
    per_row = _count_planes(len(zeros)) * stride
    for image in range(top // height, (bottom - 1) // height + 1):
        pitch_y, pitch_x = pitches[image, 0], pitches[image, 1]
        lanes = lane_index() * splat(pitch_x)
        ramp = join(lanes, lanes + splat(np.float32(LANES) * pitch_x))
        step = splat_like(ramp, np.float32(WIDE) * pitch_x)
        upper, lower = image * height, min(bottom, (image + 1) * height)
        start, stop = offsets[image], offsets[image + 1]
        for block in range(start // BLOCK, (stop + BLOCK - 1) // BLOCK):
            if spans[block, 0] >= lower or spans[block, 1] <= top:
                continue
            for k in range(max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)):
                first_row, end_row = max(bounds[FIRST, k], top), min(bounds[END, k], lower)
                if first_row >= end_row:
                    continue
                frame = frames[FRAME * k : FRAME * (k + 1)]
                ux, uy, vx, vy, slope, mean_y = frame[UX], frame[UY], frame[VX], frame[VY], frame[SLOPE], frame[Y]
                color = splat_each(read_row(colors, k, zeros))
                aside = HALF * pitch_x - frame[X]
                y = np.float32(first_row - upper) + HALF
                if bounds[NARROW, k]:
                    left = frame[X] / pitch_x + HALF - (frame[WIDEST] + SLACK)
                    across_u, across_v = splat(ux) * lanes, splat(vx) * lanes
                    across_u, across_v = join(across_u, across_u), join(across_v, across_v)
                    base = first_row * per_row
                    for row in range(first_row, end_row, 2):
                        dy, dy_below = y * pitch_y - mean_y, (y + ONE) * pitch_y - mean_y
                        below, away = base + per_row, ZERO
                        if row + 1 >= lower:  # this band has no such row; nothing is added to the same row again
                            below, dy_below, away = base, dy, FAR
                        x, x_below = np.int32(left + slope * dy), np.int32(left + slope * dy_below)
                        dx, dx_below = np.float32(x) * pitch_x + aside, np.float32(x_below) * pitch_x + aside
                        u = join(splat(dx * ux + dy * uy), splat(dx_below * ux + dy_below * uy)) + across_u
                        v = join(splat(dx * vx + dy * vy), splat(dx_below * vx + dy_below * vy + away)) + across_v
                        weight = _weight(fma(u, u, v * v))
                        _add(planes, base + x, stride, low(weight), color, zeros)
                        _add(planes, below + x_below, stride, high(weight), color, zeros)
                        base, y = below + per_row, y + TWO
                    continue
                along_u, along_v = splat_like(ramp, ux), splat_like(ramp, vx)
                reach = find_reach(frame)
                for row in range(first_row, end_row):
                    dy = y * pitch_y - mean_y
                    first, last = find_chord(frame, reach, dy, pitch_x, width)
                    dx = splat_like(ramp, np.float32(first) * pitch_x + aside) + ramp
                    u_row, v_row = splat_like(ramp, dy * uy), splat_like(ramp, dy * vy)
                    base = row * per_row
                    for x in range(base + first, base + last + 1, WIDE):
                        u, v = fma(dx, along_u, u_row), fma(dx, along_v, v_row)
                        weight = _weight(fma(u, u, v * v))
                        _add(planes, x, stride, low(weight), color, zeros)
                        _add(planes, x + LANES, stride, high(weight), color, zeros)
                        dx = dx + step
                    y += ONE


@jit
def forward(frames, bounds, spans, colors, zeros, offsets, pitches, stride, planes, images, normalized, top, bottom):
    """Render rows [top, bottom) of images (B, C, H, W), for a tuple of C zeros.

    Afterwards plane 0 has 1 / (sum of weights + EPSILON) for the normalized rule, and 1 for the sum.
    """
    height, width = images.shape[2], images.shape[3]
    per_row = _count_planes(len(zeros)) * stride
    planes[top * per_row : bottom * per_row] = ZERO
    _accumulate(frames, bounds, spans, colors, zeros, offsets, pitches, height, width, stride, planes, top, bottom)
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
def descend_pixels(
    frames, bounds, spans, colors, zeros, offsets, pitches, stride, planes, target, image, keep, normalized, top, bottom
):
    """Render rows [top, bottom) of one image and turn them into gradients of half the squared error.

    Afterwards the planes have the gradients in what was accumulated, as from `pixel_gradients`. The image (C, H, W) is
    written if `keep`; target (C, H, W).
    """
    height, width = target.shape[1], target.shape[2]
    per_row = _count_planes(len(zeros)) * stride
    planes[top * per_row : bottom * per_row] = ZERO
    _accumulate(frames, bounds, spans, colors, zeros, offsets, pitches, height, width, stride, planes, top, bottom)
    inverses = np.empty(width, np.float32)
    for row in range(top, bottom):
        base = row * per_row
        of_weight = planes[base : base + width]
        for x in range(width):
            inverses[x] = ONE / (of_weight[x] + EPS) if normalized else ONE
            of_weight[x] = ZERO
        planes[base + width : base + stride] = ZERO
        for channel in range(len(zeros)):
            start = base + (1 + channel) * stride
            of_color, wanted = planes[start : start + width], target[channel, row]
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
def gather(
    frames, bounds, colors, zeros, offsets, pitches, height, width, stride, gradients, image, start, stop, sums
):
    """Sum over the pixels of Gaussians [start, stop) of one image, of one block, what their gradients follow from.

    With t = -2 dw/d(d2) dL/dw, the chain rule gives, summed over pixels:

    d mean = (t u, t v) in the frame, d s1 = t u^2 / s1, d s2 = t v^2 / s2, d theta = t u v (s1 / s2 - s2 / s1).

    sums, flat (MOMENTS + C, BLOCK), has a column for each Gaussian of the block.
    """
    none, no_color = splat_like(join(splat(ZERO), splat(ZERO)), ZERO), splat_each(zeros)
    per_row = _count_planes(len(zeros)) * stride
    pitch_y, pitch_x = pitches[image, 0], pitches[image, 1]
    lanes = lane_index() * splat(pitch_x)
    ramp = join(lanes, lanes + splat(np.float32(LANES) * pitch_x))
    step = splat_like(ramp, np.float32(WIDE) * pitch_x)
    upper, lower = image * height, (image + 1) * height
    for k in range(start, stop):
        frame = frames[FRAME * k : FRAME * (k + 1)]
        first_row, end_row = bounds[FIRST, k], bounds[END, k]
        ux, uy, vx, vy, slope, mean_y = frame[UX], frame[UY], frame[VX], frame[VY], frame[SLOPE], frame[Y]
        color = splat_each(read_row(colors, k, zeros))
        tu, tv, tuu, tuv, tvv = none, none, none, none, none
        d_color = no_color
        aside = HALF * pitch_x - frame[X]
        y = np.float32(first_row - upper) + HALF
        if bounds[NARROW, k]:
            left = frame[X] / pitch_x + HALF - (frame[WIDEST] + SLACK)
            across_u, across_v = splat(ux) * lanes, splat(vx) * lanes
            across_u, across_v = join(across_u, across_u), join(across_v, across_v)
            base = first_row * per_row
            for row in range(first_row, end_row, 2):
                dy, dy_below = y * pitch_y - mean_y, (y + ONE) * pitch_y - mean_y
                below, away = base + per_row, ZERO
                if row + 1 >= lower:  # the image has no such row; nothing is added from the same row again
                    below, dy_below, away = base, dy, FAR
                x, x_below = np.int32(left + slope * dy), np.int32(left + slope * dy_below)
                dx, dx_below = np.float32(x) * pitch_x + aside, np.float32(x_below) * pitch_x + aside
                u = join(splat(dx * ux + dy * uy), splat(dx_below * ux + dy_below * uy)) + across_u
                v = join(splat(dx * vx + dy * vy), splat(dx_below * vx + dy_below * vy + away)) + across_v
                weight, bend = _weight_and_slope(fma(u, u, v * v))
                above = load_each(gradients, base + x + stride, stride, zeros)
                d_color = fma_each(low(weight), above, d_color)
                d_weight = dot(color, above, load(gradients, base + x))
                above = load_each(gradients, below + x_below + stride, stride, zeros)
                d_color = fma_each(high(weight), above, d_color)
                t = bend * join(d_weight, dot(color, above, load(gradients, below + x_below)))
                t_u, t_v = t * u, t * v
                tu, tv = tu + t_u, tv + t_v
                tuu, tuv, tvv = fma(t_u, u, tuu), fma(t_u, v, tuv), fma(t_v, v, tvv)
                base, y = below + per_row, y + TWO
        else:
            along_u, along_v = splat_like(ramp, ux), splat_like(ramp, vx)
            reach = find_reach(frame)
            for row in range(first_row, end_row):
                dy = y * pitch_y - mean_y
                first, last = find_chord(frame, reach, dy, pitch_x, width)
                dx = splat_like(ramp, np.float32(first) * pitch_x + aside) + ramp
                u_row, v_row = splat_like(ramp, dy * uy), splat_like(ramp, dy * vy)
                base = row * per_row
                for x in range(base + first, base + last + 1, WIDE):
                    u, v = fma(dx, along_u, u_row), fma(dx, along_v, v_row)
                    weight, bend = _weight_and_slope(fma(u, u, v * v))
                    above = load_each(gradients, x + stride, stride, zeros)
                    d_color = fma_each(low(weight), above, d_color)
                    d_weight = dot(color, above, load(gradients, x))
                    above = load_each(gradients, x + LANES + stride, stride, zeros)
                    d_color = fma_each(high(weight), above, d_color)
                    t = bend * join(d_weight, dot(color, above, load(gradients, x + LANES)))
                    t_u, t_v = t * u, t * v
                    tu, tv = tu + t_u, tv + t_v
                    tuu, tuv, tvv = fma(t_u, u, tuu), fma(t_u, v, tuv), fma(t_v, v, tvv)
                    dx = dx + step
                y += ONE
        along, across = horizontal_sum(tu), horizontal_sum(tv)
        moments = (
            ux * along + vx * across,
            uy * along + vy * across,
            horizontal_sum(tuu),
            horizontal_sum(tvv),
            horizontal_sum(tuv),
        )
        write_each(sums, k % BLOCK, BLOCK, moments + horizontal_sum_each(d_color))


@jit
def backward(
    scales, frames, bounds, colors, zeros, offsets, pitches, height, width, stride, gradients,
    d_means, d_scales, d_rotations, d_colors, start, stop,
):  # fmt: skip
    """Compute the gradients of the Gaussians of blocks [start, stop)."""
    sums = np.empty((MOMENTS + len(zeros)) * BLOCK, np.float32)
    for image in range(len(pitches)):
        for block in range(
            max(start, offsets[image] // BLOCK), min(stop, (offsets[image + 1] + BLOCK - 1) // BLOCK)
        ):
            begin, end = max(block * BLOCK, offsets[image]), min((block + 1) * BLOCK, offsets[image + 1])
            gather(
                frames, bounds, colors, zeros, offsets, pitches, height, width, stride, gradients,
                image, begin, end, sums,
            )  # fmt: skip
            for k in range(begin, end):
                column = sums[k % BLOCK :: BLOCK]
                s1, s2 = scales[k, 0], scales[k, 1]
                d_means[k, 0], d_means[k, 1] = column[0], column[1]
                d_scales[k, 0], d_scales[k, 1] = column[2] / s1, column[3] / s2
                d_rotations[k] = column[4] * (s1 / s2 - s2 / s1)
                for channel in range(len(zeros)):
                    d_colors[k, channel] = column[MOMENTS + channel]
