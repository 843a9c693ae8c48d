"""Triton kernels of the rasterizer; reference.py has the equations.

The Gaussians that touch a tile of TILE x TILE pixels are gathered in its bin, by a counter that all programs add to, in
whatever order they arrive. Forward, one program owns a tile: it sorts its bin, and blends. Backward, a row of lanes
owns a Gaussian, and loops over the pixels of its bounding box with the sums in registers. Each number is thus summed by
one program in a fixed order, and the same input gives the same bits. In a descent, the box of a large Gaussian is cut
into slices, whose sums other programs find; else an iteration would take as long as one warp takes for the largest.

A Gaussian is a row of ROW floats, and one more row is a Gaussian beyond every image, which fills up vectors:

    x, y                centre, in pixels of the canvas
    ux, uy, vx, vy      u = ux dx + uy dy, v = vx dx + vy dy, scaled so that exp(-d^2 / 2) = 2^-(u^2 + v^2)
    colour 0 to 3       colour, of which CHANNELS are used
    extent x, extent y  half of the bounding box of its support, in pixels of the canvas

Pixel (i, j) of an image samples the canvas at ((j + 0.5) pitch x, (i + 0.5) pitch y).

Each pixel has CHANNELS + 1 sums: of weighted colours, one for each channel, and last of weights. They stay in
registers, so the kernels are compiled for 1 to MOST_CHANNELS channels each; cuda.py renders more in groups. What is
numbered 0 to 3 below belongs to these channels; those beyond CHANNELS are never used, and cost nothing.
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
MOST_CHANNELS = tl.constexpr(4)
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
# Floats of the sums over the pixels of a slice.
SUMS = tl.constexpr(9)

CUTOFF = tl.constexpr(reference.CUTOFF)
EPSILON = tl.constexpr(reference.EPSILON)
# u^2 + v^2 for d^2 = 1, its root, and the fade as a function of u^2 + v^2.
UNIT = tl.constexpr(0.5 / math.log(2))
ROOT_UNIT = tl.constexpr(math.sqrt(0.5 / math.log(2)))
SLOPE = tl.constexpr(1 / (reference.CUTOFF**2 - reference.FADE_START**2))
FADE_OFFSET = tl.constexpr(reference.CUTOFF**2 / (reference.CUTOFF**2 - reference.FADE_START**2))
FADE_SLOPE = tl.constexpr(2 * math.log(2) / (reference.CUTOFF**2 - reference.FADE_START**2))
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
def _pixel_span(center, extent, pitch, pixels):
    """Return the first pixel and the number of pixels with centres in [center - extent, center + extent]."""
    first = tl.ceil((center - extent) / pitch - 0.5)
    last = tl.floor((center + extent) / pitch - 0.5)
    first = tl.minimum(tl.maximum(first, 0.0), pixels).to(tl.int32)
    end = tl.minimum(tl.maximum(last + 1.0, 0.0), pixels).to(tl.int32)
    return first, tl.maximum(end - first, 0)


@triton.jit
def _load_pair(pointer):
    """Load two neighbours of a row, the first at an even place, in one instruction."""
    pair = tl.load(pointer.to(tl.pointer_type(tl.int64)))
    return pair.to(tl.int32).to(tl.float32, bitcast=True), (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)


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
    own_0, own_1, own_2, own_3 = _load_channels(colors + index * CHANNELS, 1, mask, CHANNELS)
    store_row(
        rows + index * ROW,
        tl.load(means + 2 * index, mask, -FARTHEST), tl.load(means + 2 * index + 1, mask, -FARTHEST),
        tl.load(scales + 2 * index, mask, 1.0), tl.load(scales + 2 * index + 1, mask, 1.0),
        tl.load(rotations + index, mask, 0.0), own_0, own_1, own_2, own_3, index <= number,
    )  # fmt: skip


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
    left, columns = _pixel_span(x, extent_x, pitch_x, width)
    top, rows = _pixel_span(y, extent_y, pitch_y, height)
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


@triton.jit
def load_rows(rows, index):
    """Load rows of Gaussians without their colours."""
    row = rows + index * ROW
    x, y = _load_pair(row)
    ux, uy = _load_pair(row + 2)
    vx, vy = _load_pair(row + 4)
    extent_x, extent_y = _load_pair(row + EXTENT)
    return x, y, ux, uy, vx, vy, extent_x, extent_y


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
        left, columns = _pixel_span(x, extent_x, pitch_x, width)
        top, lines = _pixel_span(y, extent_y, pitch_y, height)
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
def _sort(bins, entries, start, count):
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


@triton.jit
def _load_channels(pointer, stride, mask, CHANNELS: tl.constexpr):
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
def _store_channels(pointer, stride, value_0, value_1, value_2, value_3, mask, CHANNELS: tl.constexpr):
    """Store the channels of Gaussians or pixels."""
    tl.store(pointer, value_0, mask)
    if CHANNELS > 1:
        tl.store(pointer + stride, value_1, mask)
    if CHANNELS > 2:
        tl.store(pointer + 2 * stride, value_2, mask)
    if CHANNELS > 3:
        tl.store(pointer + 3 * stride, value_3, mask)


@triton.jit
def _dot(left_0, left_1, left_2, left_3, right_0, right_1, right_2, right_3, CHANNELS: tl.constexpr):
    """Return the sum over the channels of products."""
    total = left_0 * right_0
    if CHANNELS > 1:
        total += left_1 * right_1
    if CHANNELS > 2:
        total += left_2 * right_2
    if CHANNELS > 3:
        total += left_3 * right_3
    return total


@triton.jit
def _store_pixel_gradients(
    plane, area, error_0, error_1, error_2, error_3, color_0, color_1, color_2, color_3, weight, mask,
    NORMALIZED: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Store the gradients in the sums of pixels, given those in their colours."""
    in_weight = tl.zeros_like(weight)
    if NORMALIZED:
        scale = 1.0 / (weight + EPSILON)
        products = _dot(error_0, error_1, error_2, error_3, color_0, color_1, color_2, color_3, CHANNELS)
        in_weight = -products * scale
        error_0, error_1, error_2, error_3 = error_0 * scale, error_1 * scale, error_2 * scale, error_3 * scale
    _store_channels(plane, area, error_0, error_1, error_2, error_3, mask, CHANNELS)
    tl.store(plane + area * CHANNELS, in_weight, mask)


@triton.jit(do_not_specialize=["number", "height", "width", "tiles_y", "tiles_x"])
def forward(
    rows, bins, entries, starts, counts, state, pitches, output, sums, target, number, height, width, tiles_y, tiles_x,
    CHANNELS: tl.constexpr, NORMALIZED: tl.constexpr, DESCEND: tl.constexpr,
):  # fmt: skip
    """Render one tile of one image.

    rows (N + 1, ROW), bins as of `fill`, entries (M,) int32 memory
    -> output (B, CHANNELS, H, W) and sums (B, H, W) of weights; with DESCEND and target (B, CHANNELS, H, W), sums
    (B, CHANNELS + 1, H, W) has instead the gradients of half the squared error in the sums of each pixel, counts are 0
    again, and the state (STATES,) int32 says whether the next step is taken: not if there was no room
    """
    tile = tl.program_id(0)
    count = tl.load(counts + tile)
    if DESCEND:
        full = tl.load(state + FULL)
        count = tl.where(full == 0, count, 0)
        if tile == 0:
            tl.store(state + GOING, (full == 0).to(tl.int32))
            tl.store(state + IMAGES, tl.load(state + IMAGES) + (full == 0).to(tl.int32))
            tl.store(state + SLICES, tl.where(full == 0, tl.load(state + COMING), 0))
            tl.store(state + COMING, 0)
    start = tl.load(starts + tile)
    _sort(bins, entries, start, count)
    if DESCEND:
        tl.store(counts + tile, 0)
    image = tile // (tiles_y * tiles_x)
    row = (tile // tiles_x % tiles_y) * TILE + tl.arange(0, TILE)
    column = (tile % tiles_x) * TILE + tl.arange(0, TILE)
    y = ((row.to(tl.float32) + 0.5) * tl.load(pitches + 2 * image))[:, None]
    x = ((column.to(tl.float32) + 0.5) * tl.load(pitches + 2 * image + 1))[None, :]
    color_0 = tl.zeros([TILE, TILE], tl.float32)
    color_1 = tl.zeros([TILE, TILE], tl.float32)
    color_2 = tl.zeros([TILE, TILE], tl.float32)
    color_3 = tl.zeros([TILE, TILE], tl.float32)
    total = tl.zeros([TILE, TILE], tl.float32)
    for first in range(0, count, UNROLL):
        for ahead in tl.static_range(UNROLL):
            # Beyond the end, the Gaussian beyond every image, whose weight is 0.
            own = rows + tl.load(entries + start + first + ahead, first + ahead < count, number) * ROW
            center_x, center_y = _load_pair(own)
            ux, uy = _load_pair(own + 2)
            vx, vy = _load_pair(own + 4)
            own_0, own_1 = _load_pair(own + COLOR)
            dx = x - center_x
            dy = y - center_y
            u = ux * dx + uy * dy
            v = vx * dx + vy * dy
            d2 = u * u + v * v
            fade = tl.minimum(tl.maximum(d2 * -FADE_SLOPE + FADE_OFFSET, 0.0), 1.0)
            weight = tl.exp2(-d2) * fade
            color_0 += weight * own_0
            if CHANNELS > 1:
                color_1 += weight * own_1
            if CHANNELS > 2:
                own_2, own_3 = _load_pair(own + COLOR + 2)
                color_2 += weight * own_2
                if CHANNELS > 3:
                    color_3 += weight * own_3
            total += weight
    if NORMALIZED:
        scale = 1.0 / (total + EPSILON)
        color_0, color_1, color_2, color_3 = color_0 * scale, color_1 * scale, color_2 * scale, color_3 * scale
    area = height.to(tl.int64) * width
    pixel = row[:, None] * width + column[None, :]
    mask = (row < height)[:, None] & (column < width)[None, :]
    out = output + image * CHANNELS * area + pixel
    _store_channels(out, area, color_0, color_1, color_2, color_3, mask, CHANNELS)
    if DESCEND:
        wanted_0, wanted_1, wanted_2, wanted_3 = _load_channels(
            target + image * CHANNELS * area + pixel, area, mask, CHANNELS
        )
        _store_pixel_gradients(
            sums + image * (CHANNELS + 1) * area + pixel, area,
            color_0 - wanted_0, color_1 - wanted_1, color_2 - wanted_2, color_3 - wanted_3,
            color_0, color_1, color_2, color_3, total, mask, NORMALIZED, CHANNELS,
        )  # fmt: skip
    else:
        tl.store(sums + image * area + pixel, total, mask)


@triton.jit(do_not_specialize=["area"])
def pixel_gradients(
    upstream, output, totals, gradients, area,
    CHANNELS: tl.constexpr, NORMALIZED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute gradients (B, CHANNELS + 1, H, W) in the sums of pixels from those (B, CHANNELS, H, W) in the image."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = pixel < area
    place = image * CHANNELS * area + pixel
    error_0, error_1, error_2, error_3 = _load_channels(upstream + place, area, mask, CHANNELS)
    color_0, color_1, color_2, color_3 = _load_channels(output + place, area, mask, CHANNELS)
    _store_pixel_gradients(
        gradients + image * (CHANNELS + 1) * area + pixel, area,
        error_0, error_1, error_2, error_3, color_0, color_1, color_2, color_3,
        tl.load(totals + image * area + pixel, mask, 0.0), mask, NORMALIZED, CHANNELS,
    )  # fmt: skip


@triton.jit
def _walk(
    index, rows, x, y, ux, uy, vx, vy, left, columns, top, first, last, image, pitch_y, pitch_x, gradients,
    height, width,
    CHANNELS: tl.constexpr, GAUSSIANS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Return the sums of each lane over pixels [first, last) of the boxes of Gaussians, LANES pixels at a time."""
    own_0, own_1 = _load_pair(rows + index * ROW + COLOR)
    own_2, own_3 = own_0, own_0
    if CHANNELS > 2:
        own_2, own_3 = _load_pair(rows + index * ROW + COLOR + 2)
    own_0, own_1, own_2, own_3 = own_0[:, None], own_1[:, None], own_2[:, None], own_3[:, None]
    area = height.to(tl.int64) * width
    columns = tl.maximum(columns, 1)
    # Each lane goes through the box row by row, in steps of LANES pixels.
    ahead_rows, ahead_columns = (LANES // columns)[:, None], (LANES % columns)[:, None]
    lane = tl.arange(0, LANES)[None, :]
    start = first[:, None] + lane
    row, column = start // columns[:, None], start % columns[:, None]
    plane = (gradients + (image * (CHANNELS + 1) * area + top * width + left))[:, None]

    sum_u = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_v = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_uu = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_vv = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_uv = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_0 = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_1 = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_2 = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_3 = tl.zeros([GAUSSIANS, LANES], tl.float32)
    for done in range(0, tl.max(last - first, 0), LANES):
        inside = done + lane < (last - first)[:, None]
        pixel = plane + (row * width + column)
        in_0, in_1, in_2, in_3 = _load_channels(pixel, area, inside, CHANNELS)
        in_total = tl.load(pixel + area * CHANNELS, inside, 0.0)
        dx = ((left[:, None] + column).to(tl.float32) + 0.5) * pitch_x[:, None] - x[:, None]
        dy = ((top[:, None] + row).to(tl.float32) + 0.5) * pitch_y[:, None] - y[:, None]
        u = ux[:, None] * dx + uy[:, None] * dy
        v = vx[:, None] * dx + vy[:, None] * dy
        d2 = u * u + v * v
        linear = d2 * -FADE_SLOPE + FADE_OFFSET
        fade = tl.minimum(tl.maximum(linear, 0.0), 1.0)
        bell = tl.exp2(-d2)
        weight = bell * fade
        # dw/d(d^2 / 2): the derivative of the exponential, and of the fade where it falls.
        slope = tl.where((linear > 0.0) & (linear < 1.0), bell * (-2 * SLOPE) - weight, -weight)
        q = (_dot(own_0, own_1, own_2, own_3, in_0, in_1, in_2, in_3, CHANNELS) + in_total) * slope
        sum_u += q * u
        sum_v += q * v
        sum_uu += q * u * u
        sum_vv += q * v * v
        sum_uv += q * u * v
        sum_0 += weight * in_0
        if CHANNELS > 1:
            sum_1 += weight * in_1
        if CHANNELS > 2:
            sum_2 += weight * in_2
        if CHANNELS > 3:
            sum_3 += weight * in_3
        column += ahead_columns
        row += ahead_rows
        wrap = column >= columns[:, None]
        column = tl.where(wrap, column - columns[:, None], column)
        row = tl.where(wrap, row + 1, row)
    return sum_u, sum_v, sum_uu, sum_vv, sum_uv, sum_0, sum_1, sum_2, sum_3


@triton.jit
def collect(
    index, rows, scale_u, scale_v, x, y, ux, uy, vx, vy, extent_x, extent_y, image, pitch_y, pitch_x, gradients,
    bases, partials, height, width,
    CHANNELS: tl.constexpr, SLICE: tl.constexpr, LIMIT: tl.constexpr, GAUSSIANS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Return the gradients of GAUSSIANS Gaussians from those (B, CHANNELS + 1, H, W) in the sums of the pixels.

    LANES pixels of each Gaussian are processed at a time. With q = dL/dw dw/d(d^2 / 2), the gradients follow from the
    sums over pixels of q u, q v, q u^2, q v^2, q u v, and of w times the gradients of the colours. With SLICE, the sums
    of slices are in partials (room, SUMS).
    """
    left, columns = _pixel_span(x, extent_x, pitch_x, width)
    top, lines = _pixel_span(y, extent_y, pitch_y, height)
    pixels = lines * columns
    here = pixels
    if SLICE:
        here = tl.where(pixels > LIMIT, 0, pixels)
    sum_u, sum_v, sum_uu, sum_vv, sum_uv, sum_0, sum_1, sum_2, sum_3 = _walk(
        index, rows, x, y, ux, uy, vx, vy, left, columns, top, tl.zeros_like(pixels), here,
        image, pitch_y, pitch_x, gradients, height, width, CHANNELS, GAUSSIANS, LANES,
    )  # fmt: skip
    if SLICE:
        slices = tl.where(pixels > LIMIT, (pixels + (SLICE - 1)) // SLICE, 0)
        base = tl.load(bases + index, slices > 0, 0)[:, None]
        lane = tl.arange(0, LANES)[None, :]
        for done in range(0, tl.max(slices, 0), LANES):
            inside = done + lane < slices[:, None]
            part = partials + (base + done + lane) * SUMS
            sum_u += tl.load(part, inside, 0.0)
            sum_v += tl.load(part + 1, inside, 0.0)
            sum_uu += tl.load(part + 2, inside, 0.0)
            sum_vv += tl.load(part + 3, inside, 0.0)
            sum_uv += tl.load(part + 4, inside, 0.0)
            sum_0 += tl.load(part + 5, inside, 0.0)
            if CHANNELS > 1:
                sum_1 += tl.load(part + 6, inside, 0.0)
            if CHANNELS > 2:
                sum_2 += tl.load(part + 7, inside, 0.0)
            if CHANNELS > 3:
                sum_3 += tl.load(part + 8, inside, 0.0)

    # u, v, ux, uy, vx and vy above are ROOT_UNIT times those in standard deviations.
    total_u, total_v = tl.sum(sum_u, 1) / UNIT, tl.sum(sum_v, 1) / UNIT
    in_0, in_1, in_2, in_3 = tl.sum(sum_0, 1), tl.sum(sum_1, 1), tl.sum(sum_2, 1), tl.sum(sum_3, 1)
    in_x, in_y = -(total_u * ux + total_v * vx), -(total_u * uy + total_v * vy)
    in_u, in_v = -tl.sum(sum_uu, 1) / (scale_u * UNIT), -tl.sum(sum_vv, 1) / (scale_v * UNIT)
    in_rotation = tl.sum(sum_uv, 1) / UNIT * (scale_v / scale_u - scale_u / scale_v)
    return in_x, in_y, in_u, in_v, in_rotation, in_0, in_1, in_2, in_3


@triton.jit(do_not_specialize=["height", "width"])
def sum_slices(
    rows, images, pitches, gradients, items, bases, partials, state, height, width,
    CHANNELS: tl.constexpr, SLICE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Compute the sums over the pixels of slices: partials (room, SUMS)."""
    for item in range(tl.program_id(0), tl.load(state + SLICES), tl.num_programs(0)):
        index = tl.load(items + item + tl.arange(0, 1))
        image = tl.load(images + index)
        pitch_y, pitch_x = tl.load(pitches + 2 * image), tl.load(pitches + 2 * image + 1)
        x, y, ux, uy, vx, vy, extent_x, extent_y = load_rows(rows, index)
        left, columns = _pixel_span(x, extent_x, pitch_x, width)
        top, lines = _pixel_span(y, extent_y, pitch_y, height)
        first = (item - tl.load(bases + index)) * SLICE
        sum_u, sum_v, sum_uu, sum_vv, sum_uv, sum_0, sum_1, sum_2, sum_3 = _walk(
            index, rows, x, y, ux, uy, vx, vy, left, columns, top, first, tl.minimum(first + SLICE, lines * columns),
            image, pitch_y, pitch_x, gradients, height, width, CHANNELS, 1, LANES,
        )  # fmt: skip
        part = partials + (item + tl.arange(0, 1)) * SUMS
        tl.store(part, tl.sum(sum_u, 1))
        tl.store(part + 1, tl.sum(sum_v, 1))
        tl.store(part + 2, tl.sum(sum_uu, 1))
        tl.store(part + 3, tl.sum(sum_vv, 1))
        tl.store(part + 4, tl.sum(sum_uv, 1))
        tl.store(part + 5, tl.sum(sum_0, 1))
        if CHANNELS > 1:
            tl.store(part + 6, tl.sum(sum_1, 1))
        if CHANNELS > 2:
            tl.store(part + 7, tl.sum(sum_2, 1))
        if CHANNELS > 3:
            tl.store(part + 8, tl.sum(sum_3, 1))


@triton.jit(do_not_specialize=["number", "height", "width"])
def backward(
    scales, rows, images, pitches, gradients, in_means, in_scales, in_rotations, in_colors, number, height, width,
    CHANNELS: tl.constexpr, GAUSSIANS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Compute the gradients (N, ...) of Gaussians from those (B, CHANNELS + 1, H, W) in the sums of the pixels."""
    index = tl.minimum(tl.program_id(0) * GAUSSIANS + tl.arange(0, GAUSSIANS), number)
    valid = index < number
    image = tl.load(images + index, valid, 0)
    x, y, ux, uy, vx, vy, extent_x, extent_y = load_rows(rows, index)
    scale_u, scale_v = tl.load(scales + 2 * index, valid, 1.0), tl.load(scales + 2 * index + 1, valid, 1.0)
    in_x, in_y, in_u, in_v, in_rotation, in_0, in_1, in_2, in_3 = collect(
        index, rows, scale_u, scale_v, x, y, ux, uy, vx, vy, extent_x, extent_y,
        image, tl.load(pitches + 2 * image), tl.load(pitches + 2 * image + 1), gradients, gradients, gradients,
        height, width, CHANNELS, 0, 0, GAUSSIANS, LANES,
    )  # fmt: skip
    tl.store(in_means + 2 * index, in_x, valid)
    tl.store(in_means + 2 * index + 1, in_y, valid)
    tl.store(in_scales + 2 * index, in_u, valid)
    tl.store(in_scales + 2 * index + 1, in_v, valid)
    tl.store(in_rotations + index, in_rotation, valid)
    _store_channels(in_colors + index * CHANNELS, 1, in_0, in_1, in_2, in_3, valid, CHANNELS)
