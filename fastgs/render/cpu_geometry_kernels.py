"""numba kernels of the CPU rasterizer: where Gaussians lie in an image, and which pixels of a row they reach."""

from __future__ import annotations

import math

import numpy as np

from fastgs.definition import CUTOFF
from fastgs.runtime.jit import inlined, jit
from fastgs.runtime.simd import (
    LANES,
    fma,
    lane_index,
    load,
    minimum,
    round_down,
    splat,
    splat_like,
    square_root,
    store_integers,
    where_below,
)
from fastgs.runtime.simd_math import absolute, cosine_and_sine, maximum
from fastgs.runtime.simd_tuples import store_each, transpose

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)

# A Gaussian whose widest half chord is at most this many pixels is evaluated on its widest chord in every row: pixels
# beyond the ellipse have weight 0, and cost less than a square root and a mispredicted loop exit per row.
LONG_CHORD = np.float32(14)
# Widening of every chord in pixels, against rounding.
SLACK = np.float32(0.02)

# Number of pixels that are evaluated at once.
WIDE = 2 * LANES
# Columns of the array `frames`, flat (N, FRAME): u = UX dx + UY dy and v = VX dx + VY dy at a distance (dx, dy) from
# the mean (X, Y). The centre of the chord at dy lies SLOPE * dy columns from the mean, and the chord of the row through
# the mean reaches WIDEST columns to either side. All are in pixels of the image, whose first centre is 0, 0.
FRAME = 8
UX, UY, VX, VY, SLOPE, WIDEST, X, Y = range(FRAME)

# Rows of the array `bounds` (3, N) of integers: a Gaussian reaches the rows [FIRST, END) of the batch. AT_ONCE is the
# number of rows that fit in one vector: 2 or 1 where chords are at most LANES or WIDE pixels wide and lie within the
# image, also in the row below; else 0.
FIRST, END, AT_ONCE = range(3)

# Number of neighbouring Gaussians whose first and last row are kept as one entry of `spans` (blocks, 2), so that a band
# passes over those of other bands quickly: Gaussians are mostly ordered by row.
BLOCK = 64


@jit
def describe(x, y, s1, s2, rotation, pitch_y, pitch_x, first_row, height, width):
    """Return the columns of `frames`, as a tuple, and the rows of `bounds` of eight Gaussians.

    All are vectors but the size of the image; `first_row` is the number of the first row of the image in the batch, and
    the pitches are the distances of neighbouring pixels in the units of x, y, s1 and s2.
    """
    one = splat(ONE)
    cosine, sine = cosine_and_sine(rotation)
    across, down = pitch_x / s1, pitch_y / s1
    ux, uy = cosine * across, sine * down
    across, down = pitch_x / s2, pitch_y / s2
    vx, vy = splat(ZERO) - sine * across, cosine * down
    x, y = x / pitch_x - splat(HALF), y / pitch_y - splat(HALF)
    # 1 / sqrt(xx) is the standard deviation along the row through the mean.
    xx = fma(ux, ux, vx * vx)
    slope = splat(ZERO) - fma(ux, uy, vx * vy) / xx
    widest = splat(np.float32(CUTOFF)) / square_root(xx)
    down1, down2 = s1 * sine, s2 * cosine
    reach = splat(np.float32(CUTOFF)) * square_root(fma(down1, down1, down2 * down2)) / pitch_y
    first = maximum(splat(ZERO) - round_down(reach - y), splat(ZERO))
    end = minimum(round_down(y + reach) + one, splat(np.float32(height)))
    # Zero where there is no row, and for NaN and infinity, which must not become an index; x - x is 0 for numbers only.
    known = x + slope + widest
    end = where_below(known - known, one, where_below(first, end, end))
    first = where_below(first, end, first)
    spread = widest + splat(SLACK)
    chord, farthest = spread + spread, fma(absolute(slope), reach + one, spread)
    at_once = where_below(chord, splat(np.float32(LANES)), one) + where_below(chord, splat(np.float32(WIDE)), one)
    at_once = where_below(x + farthest, splat(np.float32(width - 1)), where_below(farthest, x, at_once))
    return (ux, uy, vx, vy, slope, widest, x, y), first + first_row, end + first_row, at_once


@jit
def write_description(described, frames, bounds, k):
    """Write what `describe` returns for Gaussians [k, k + LANES)."""
    columns, first, end, at_once = described
    store_each(frames, FRAME * k, FRAME, transpose(columns))
    store_integers(bounds[FIRST], k, first)
    store_integers(bounds[END], k, end)
    store_integers(bounds[AT_ONCE], k, at_once)


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
    """Return the distance in rows from the mean at which the chord of a Gaussian vanishes."""
    # The determinant is that of a rotation, divided by both scales.
    determinant = frame[UX] * frame[VY] - frame[UY] * frame[VX]
    return np.float32(CUTOFF) * math.sqrt(frame[UX] * frame[UX] + frame[VX] * frame[VX]) / determinant


@jit
def find_chord(frame, reach, dy, width):
    """Return the first and last column of the chord in the row at distance dy from the mean; first > last if none.

    Where the widest chord is short, it stands for all others.
    """
    half = frame[WIDEST]
    if half > LONG_CHORD:
        share = dy / reach
        half *= math.sqrt(max(ONE - share * share, ZERO))
    half += SLACK
    center = frame[X] + frame[SLOPE] * dy
    first = min(max(center - half + ONE, ZERO), np.float32(width))
    last = max(min(center + half, np.float32(width - 1)), np.float32(-1))
    return int(first), int(last)


@inlined
def start_chord(frame):
    """Return the first column of a short chord through the mean, and a vector of the sixteen lanes less X."""
    lanes = lane_index() - splat(frame[X])
    return frame[X] + ONE - (frame[WIDEST] + SLACK), lanes


@inlined
def place_chord(y, frame, left, right):
    """Return the first columns of short chords in rows y, and u and v of their pixels, as vectors of sixteen lanes.

    `left` is the first column in the row through the mean, and `right` the distance of each pixel from it, less X.
    """
    dy = y - splat_like(y, frame[Y])
    column = round_down(fma(dy, splat_like(y, frame[SLOPE]), splat_like(y, left)))
    dx = column + right
    u = fma(dx, splat_like(y, frame[UX]), dy * splat_like(y, frame[UY]))
    v = fma(dx, splat_like(y, frame[VX]), dy * splat_like(y, frame[VY]))
    return column, u, v
