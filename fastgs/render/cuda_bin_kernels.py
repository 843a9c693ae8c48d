"""Triton kernels of the rasterizer, first part: Gaussians as rows of numbers, in the bins of the tiles that they touch.

The Gaussians that touch a tile of TILE x TILE pixels are gathered in its bin, by a counter that all programs add to, in
whatever order they arrive; who draws a tile sorts its bin first. In a descent, the box of a large Gaussian is cut into
slices, which other programs put into bins; else an iteration would take as long as one warp takes for the largest.

A Gaussian is a row of ROW floats, and one more row is a Gaussian beyond every image, which fills up vectors:

    x, y                centre, in pixels of the canvas
    ux, uy, vx, vy      u = ux dx + uy dy, v = vx dx + vy dy, scaled so that exp(-d^2 / 2) = 2^-(u^2 + v^2)
    colour 0 to 3       colour, of which CHANNELS are used
    extent x, extent y  half of the bounding box of its support, in pixels of the canvas

Pixel (i, j) of an image samples the canvas at ((j + 0.5) pitch x, (i + 0.5) pitch y).
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from fastgs.render import reference

# In expressions, a constant stands behind the tensor: the interpreter of Triton 3.8 leaves `constant - tensor` wrapped.
ROW = tl.constexpr(12)
COLOR = tl.constexpr(6)  # place of the colour in a row
EXTENT = tl.constexpr(10)
TILE = tl.constexpr(8)
# Number of entries of a bin that are loaded at a time: the loads are independent, so one wait serves all.
UNROLL = tl.constexpr(4)
# Number of entries of a bin that are sorted at a time, two for each lane.
SORTED = tl.constexpr(64)
LAST_INDEX = tl.constexpr(2**31 - 1)
# Places in the state of a descent: whether something had no room, whether steps are taken, how many images were made,
# and the numbers of slices of the Gaussians that are being put into bins, and of those that were.
FULL = tl.constexpr(0)
GOING = tl.constexpr(1)
IMAGES = tl.constexpr(2)
COMING = tl.constexpr(3)
SLICES = tl.constexpr(4)
STATES = tl.constexpr(5)

CUTOFF = tl.constexpr(reference.CUTOFF)
# u^2 + v^2 for d^2 = 1, and its root.
UNIT = tl.constexpr(0.5 / math.log(2))
ROOT_UNIT = tl.constexpr(math.sqrt(0.5 / math.log(2)))
# u^2 + v^2 where a Gaussian surely weighs nothing, with room for rounding in needles.
NOTHING = tl.constexpr(1.01 * reference.CUTOFF**2 * 0.5 / math.log(2))
# Largest distance in pixels: more than the size of any canvas, and exact as an integer.
FARTHEST = tl.constexpr(2.0**30)


@triton.jit
def _frame(scale_u, scale_v, rotation):
    """Return ux, uy, vx, vy and the extents of a row."""
    cosine, sine = tl.cos(rotation), tl.sin(rotation)
    across_u, across_v = scale_u * cosine, scale_v * sine
    down_u, down_v = scale_u * sine, scale_v * cosine
    extent_x = tl.sqrt(across_u * across_u + across_v * across_v) * CUTOFF
    extent_y = tl.sqrt(down_u * down_u + down_v * down_v) * CUTOFF
    per_u, per_v = 1.0 / scale_u * ROOT_UNIT, 1.0 / scale_v * ROOT_UNIT
    return cosine * per_u, sine * per_u, -sine * per_v, cosine * per_v, extent_x, extent_y


@triton.jit
def pixel_span(center, extent, pitch, pixels):
    """Return the first pixel and the number of pixels with centres in [center - extent, center + extent]."""
    first = tl.ceil((center - extent) / pitch - 0.5)
    last = tl.floor((center + extent) / pitch - 0.5)
    first = tl.minimum(tl.maximum(first, 0.0), pixels).to(tl.int32)
    end = tl.minimum(tl.maximum(last + 1.0, 0.0), pixels).to(tl.int32)
    return first, tl.maximum(end - first, 0)


@triton.jit
def load_pair(pointer):
    """Load two neighbours of a row, the first at an even place, in one instruction."""
    pair = tl.load(pointer.to(tl.pointer_type(tl.int64)))
    return pair.to(tl.int32).to(tl.float32, bitcast=True), (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def load_channels(pointer, stride, mask, CHANNELS: tl.constexpr):
    """Load the channels of Gaussians or pixels; those beyond CHANNELS repeat the first."""
    value_0 = tl.load(pointer, mask, 0.0)
    value_1, value_2, value_3 = value_0, value_0, value_0
    if CHANNELS > 1:
        value_1 = tl.load(pointer + stride, mask, 0.0)
    if CHANNELS > 2:
        value_2 = tl.load(pointer + 2 * stride, mask, 0.0)
    if CHANNELS > 3:
        value_3 = tl.load(pointer + 3 * stride, mask, 0.0)
    return value_0, value_1, value_2, value_3


@triton.jit
def store_channels(pointer, stride, value_0, value_1, value_2, value_3, mask, CHANNELS: tl.constexpr):
    """Store the channels of Gaussians or pixels."""
    tl.store(pointer, value_0, mask)
    if CHANNELS > 1:
        tl.store(pointer + stride, value_1, mask)
    if CHANNELS > 2:
        tl.store(pointer + 2 * stride, value_2, mask)
    if CHANNELS > 3:
        tl.store(pointer + 3 * stride, value_3, mask)


@triton.jit
def store_row(
    row, x, y, scale_u, scale_v, rotation, color_0, color_1, color_2, color_3, mask,
):  # fmt: skip
    """Store rows of Gaussians, and return what they have beside centres and colours."""
    ux, uy, vx, vy, extent_x, extent_y = _frame(scale_u, scale_v, rotation)
    tl.store(row, x, mask)
    tl.store(row + 1, y, mask)
    tl.store(row + 2, ux, mask)
    tl.store(row + 3, uy, mask)
    tl.store(row + 4, vx, mask)
    tl.store(row + 5, vy, mask)
    tl.store(row + COLOR, color_0, mask)
    tl.store(row + COLOR + 1, color_1, mask)
    tl.store(row + COLOR + 2, color_2, mask)
    tl.store(row + COLOR + 3, color_3, mask)
    tl.store(row + EXTENT, extent_x, mask)
    tl.store(row + EXTENT + 1, extent_y, mask)
    return ux, uy, vx, vy, extent_x, extent_y


@triton.jit(do_not_specialize=["number"])
def prepare(
    means, scales, rotations, colors, rows, number,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the rows of Gaussians, and that of the one beyond every image.

    means (N, 2), scales (N, 2), rotations (N,), colors (N, CHANNELS) -> rows (N + 1, ROW)
    """
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < number
    own_0, own_1, own_2, own_3 = load_channels(colors + index * CHANNELS, 1, mask, CHANNELS)
    store_row(
        rows + index * ROW,
        tl.load(means + 2 * index, mask, -FARTHEST), tl.load(means + 2 * index + 1, mask, -FARTHEST),
        tl.load(scales + 2 * index, mask, 1.0), tl.load(scales + 2 * index + 1, mask, 1.0),
        tl.load(rotations + index, mask, 0.0), own_0, own_1, own_2, own_3, index <= number,
    )  # fmt: skip


@triton.jit
def load_rows(rows, index):
    """Load rows of Gaussians without their colours."""
    row = rows + index * ROW
    x, y = load_pair(row)
    ux, uy = load_pair(row + 2)
    vx, vy = load_pair(row + 4)
    extent_x, extent_y = load_pair(row + EXTENT)
    return x, y, ux, uy, vx, vy, extent_x, extent_y


@triton.jit
def _nearest(offset, low, high):
    """Return the number in [low, high] that is nearest to an offset."""
    return tl.minimum(tl.maximum(offset, low), high)


@triton.jit
def _least(ux, uy, vx, vy, left, right, top, bottom):
    """Return the least u^2 + v^2 in a rectangle of offsets from the centre.

    It is 0 where the rectangle has the centre, else on one of the two sides that face it: on either, where a parabola
    has its minimum.
    """
    dx, dy = _nearest(tl.zeros_like(left), left, right), _nearest(tl.zeros_like(top), top, bottom)
    xx, xy, yy = ux * ux + vx * vx, ux * uy + vx * vy, uy * uy + vy * vy
    along_y = _nearest(-xy * dx / yy, top, bottom)
    along_x = _nearest(-xy * dy / xx, left, right)
    u, v = ux * dx + uy * along_y, vx * dx + vy * along_y
    other_u, other_v = ux * along_x + uy * dy, vx * along_x + vy * dy
    return tl.minimum(u * u + v * v, other_u * other_u + other_v * other_v)


@triton.jit
def _tile_box(left, columns, top, rows):
    """Return the first row and column of tiles that a box of pixels touches, and the numbers of both."""
    first_row, first_column = top // TILE, left // TILE
    down = tl.where(rows > 0, (top + rows - 1) // TILE - first_row + 1, 0)
    across = tl.where(columns > 0, (left + columns - 1) // TILE - first_column + 1, 0)
    return first_row, first_column, down, across


@triton.jit
def _enter(
    index, x, y, ux, uy, vx, vy, first_row, first_column, across, first, last, image, pitch_y, pitch_x,
    starts, counts, bins, state, tiles_y, tiles_x,
    FILL: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Put Gaussians into the bins of those tiles, from first to last in their box, in which they may weigh anything."""
    lane = tl.arange(0, LANES)[None, :]
    across = tl.maximum(across, 1)[:, None]
    for done in range(0, tl.max(last - first, 0), LANES):
        place = first[:, None] + done + lane
        row, column = first_row[:, None] + place // across, first_column[:, None] + place % across
        # The rectangle of the centres of pixels, as offsets.
        tile_left = (column.to(tl.float32) * TILE + 0.5) * pitch_x[:, None] - x[:, None]
        tile_top = (row.to(tl.float32) * TILE + 0.5) * pitch_y[:, None] - y[:, None]
        least = _least(
            ux[:, None], uy[:, None], vx[:, None], vy[:, None],
            tile_left, tile_left + pitch_x[:, None] * (TILE - 1), tile_top, tile_top + pitch_y[:, None] * (TILE - 1),
        )  # fmt: skip
        inside = (place < last[:, None]) & (least < NOTHING)
        tile = (image[:, None] * tiles_y + row) * tiles_x + column
        slot = tl.atomic_add(counts + tile, 1, inside, sem="relaxed")
        if FILL:
            start = tl.load(starts + tile, inside, 0)
            fits = slot < tl.load(starts + tile + 1, inside, 0) - start
            tl.store(bins + start + slot, index[:, None] + tl.zeros_like(tile), inside & fits)
            tl.store(state + FULL + tl.zeros_like(tile), 1, inside & (fits == 0))


@triton.jit
def gather(
    index, x, y, ux, uy, vx, vy, extent_x, extent_y, image, pitch_y, pitch_x, starts, counts, bins, state,
    items, bases, room, height, width, tiles_y, tiles_x,
    FILL: tl.constexpr, SLICE: tl.constexpr, LIMIT: tl.constexpr, GAUSSIANS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Put Gaussians into the bins of the tiles in which they may weigh anything, LANES tiles at a time.

    With SLICE, those with boxes of more than LIMIT pixels are cut into slices of SLICE pixels, each slice is an item,
    and `spread` puts them into bins. Without FILL, all is only counted. Where there is no room, the state says so.
    """
    left, columns = pixel_span(x, extent_x, pitch_x, width)
    top, rows = pixel_span(y, extent_y, pitch_y, height)
    first_row, first_column, down, across = _tile_box(left, columns, top, rows)
    count = down * across
    if SLICE:
        slices = tl.where(columns * rows > LIMIT, (columns * rows + (SLICE - 1)) // SLICE, 0)
        most = tl.max(slices, 0)
        if most > 0:
            lane = tl.arange(0, LANES)[None, :]
            only = (lane == 0) & (slices > 0)[:, None]
            pointer = state + COMING + tl.zeros([GAUSSIANS, LANES], tl.int32)
            base = tl.atomic_add(pointer, slices[:, None] + tl.zeros([GAUSSIANS, LANES], tl.int32), only, sem="relaxed")
            base = tl.sum(tl.where(only, base, 0), 1)
            if FILL:
                tl.store(bases + index, base, slices > 0)
                tl.store(state + FULL + tl.zeros_like(base), 1, (slices > 0) & (base + slices > room))
                for done in range(0, most, LANES):
                    place = base[:, None] + done + lane
                    inside = (done + lane < slices[:, None]) & (place < room)
                    tl.store(items + place, index[:, None] + tl.zeros_like(place), inside)
        if FILL:
            count = tl.where(slices > 0, 0, count)
    _enter(
        index, x, y, ux, uy, vx, vy, first_row, first_column, across, tl.zeros_like(count), count,
        image, pitch_y, pitch_x, starts, counts, bins, state, tiles_y, tiles_x, FILL, LANES,
    )  # fmt: skip


@triton.jit(do_not_specialize=["room", "number", "height", "width", "tiles_y", "tiles_x"])
def fill(
    rows, images, pitches, starts, counts, bins, state, items, bases, room,
    number, height, width, tiles_y, tiles_x,
    FILL: tl.constexpr, SLICE: tl.constexpr, LIMIT: tl.constexpr, GAUSSIANS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Put all Gaussians into bins, or without FILL only count them.

    rows (N + 1, ROW), images (N,) int32, pitches (B, 2) y and x, starts (B tiles + 1,) int32
    -> counts (B tiles,) int32, to be 0 before; bins (M,) int32, those of tile t from starts[t] on; with SLICE, items
    (room,) int32 with the Gaussian of each slice, and bases (N,) int32 with the first slice of each Gaussian
    """
    index = tl.minimum(tl.program_id(0) * GAUSSIANS + tl.arange(0, GAUSSIANS), number)
    image = tl.load(images + index, index < number, 0)
    x, y, ux, uy, vx, vy, extent_x, extent_y = load_rows(rows, index)
    gather(
        index, x, y, ux, uy, vx, vy, extent_x, extent_y, image,
        tl.load(pitches + 2 * image), tl.load(pitches + 2 * image + 1),
        starts, counts, bins, state, items, bases, room, height, width, tiles_y, tiles_x,
        FILL, SLICE, LIMIT, GAUSSIANS, LANES,
    )  # fmt: skip


@triton.jit(do_not_specialize=["room", "height", "width", "tiles_y", "tiles_x"])
def spread(
    rows, images, pitches, starts, counts, bins, state, items, bases, room, height, width, tiles_y, tiles_x,
    SLICE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Put large Gaussians into bins: each slice has its part of the tiles."""
    for item in range(tl.program_id(0), tl.minimum(tl.load(state + COMING), room), tl.num_programs(0)):
        index = tl.load(items + item + tl.arange(0, 1))
        image = tl.load(images + index)
        pitch_y, pitch_x = tl.load(pitches + 2 * image), tl.load(pitches + 2 * image + 1)
        x, y, ux, uy, vx, vy, extent_x, extent_y = load_rows(rows, index)
        left, columns = pixel_span(x, extent_x, pitch_x, width)
        top, lines = pixel_span(y, extent_y, pitch_y, height)
        first_row, first_column, down, across = _tile_box(left, columns, top, lines)
        slices = (columns * lines + (SLICE - 1)) // SLICE
        part = (down * across + slices - 1) // slices
        first = (item - tl.load(bases + index)) * part
        _enter(
            index, x, y, ux, uy, vx, vy, first_row, first_column, across,
            first, tl.minimum(first + part, down * across),
            image, pitch_y, pitch_x, starts, counts, bins, state, tiles_y, tiles_x, True, LANES,
        )  # fmt: skip


@triton.jit
def sort_bin(bins, entries, start, count):
    """Copy a bin in ascending order: the place of an index is the number of smaller ones."""
    for first in range(0, count, SORTED):
        place = first + tl.arange(0, SORTED)
        own = tl.load(bins + start + place, place < count, 0)
        rank = tl.zeros([SORTED], tl.int32)
        for other in range(0, count, UNROLL):
            for ahead in tl.static_range(UNROLL):
                index = tl.load(bins + start + other + ahead, other + ahead < count, LAST_INDEX)
                rank += (own > index).to(tl.int32)
        tl.store(entries + start + rank, own, place < count)
    tl.debug_barrier()
