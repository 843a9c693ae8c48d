"""Triton kernels of the rasterizer; reference.py has the equations.

Forward, one program owns a tile of TILE x TILE pixels, and loops over the list of the Gaussians that touch it.
Backward, a row of lanes owns a Gaussian, and loops over the pixels of its bounding box with the sums in registers. Each
number is thus summed by one program in a fixed order: there are no atomics, and the same input gives the same bits.

The frame of a Gaussian is a row of FRAME floats:

    x, y                centre, in pixels of the canvas
    ux, uy, vx, vy      u = ux dx + uy dy, v = vx dx + vy dy, scaled so that exp(-d^2 / 2) = 2^-(u^2 + v^2)
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
FRAME = tl.constexpr(8)
TILE = tl.constexpr(8)
MOST_CHANNELS = tl.constexpr(4)
# Number of entries of a tile's list that are loaded at a time: the loads are independent, so one wait serves all.
UNROLL = tl.constexpr(4)

CUTOFF = tl.constexpr(reference.CUTOFF)
EPSILON = tl.constexpr(reference.EPSILON)
# u^2 + v^2 for d^2 = 1, its root, and the fade as a function of u^2 + v^2.
UNIT = tl.constexpr(0.5 / math.log(2))
ROOT_UNIT = tl.constexpr(math.sqrt(0.5 / math.log(2)))
SLOPE = tl.constexpr(1 / (reference.CUTOFF**2 - reference.FADE_START**2))
FADE_OFFSET = tl.constexpr(reference.CUTOFF**2 / (reference.CUTOFF**2 - reference.FADE_START**2))
FADE_SLOPE = tl.constexpr(2 * math.log(2) / (reference.CUTOFF**2 - reference.FADE_START**2))
# Largest distance in pixels: more than the size of any canvas, and exact as an integer.
FARTHEST = tl.constexpr(2.0**30)


@triton.jit
def _frame(scale_u, scale_v, rotation):
    """Return a row of `frames` without the centre."""
    cosine, sine = tl.cos(rotation), tl.sin(rotation)
    across_u, across_v = scale_u * cosine, scale_v * sine
    down_u, down_v = scale_u * sine, scale_v * cosine
    extent_x = tl.sqrt(across_u * across_u + across_v * across_v) * CUTOFF
    extent_y = tl.sqrt(down_u * down_u + down_v * down_v) * CUTOFF
    per_u, per_v = 1.0 / scale_u * ROOT_UNIT, 1.0 / scale_v * ROOT_UNIT
    return cosine * per_u, sine * per_u, -sine * per_v, cosine * per_v, extent_x, extent_y


@triton.jit
def _tile_span(center, extent, pitch, tiles):
    """Return the first tile and the number of tiles that [center - extent, center + extent] touches, as in gsplat."""
    radius = tl.ceil(tl.minimum(extent / pitch, FARTHEST))
    center = center / pitch
    first = tl.floor(center / TILE - radius / TILE)
    last = tl.ceil(center / TILE + radius / TILE)
    # Clamped before the conversion to integers, whose range is smaller.
    first = tl.minimum(tl.maximum(first, 0.0), tiles).to(tl.int32)
    last = tl.minimum(tl.maximum(last, 0.0), tiles).to(tl.int32)
    return first, tl.maximum(last - first, 0)


@triton.jit
def _pixel_span(center, extent, pitch, pixels):
    """Return the first pixel and the number of pixels with centres in [center - extent, center + extent]."""
    first = tl.ceil((center - extent) / pitch - 0.5)
    last = tl.floor((center + extent) / pitch - 0.5)
    first = tl.minimum(tl.maximum(first, 0.0), pixels).to(tl.int32)
    end = tl.minimum(tl.maximum(last + 1.0, 0.0), pixels).to(tl.int32)
    return first, tl.maximum(end - first, 0)


@triton.jit(do_not_specialize=["number", "tiles_y", "tiles_x"])
def prepare(
    means, scales, rotations, images, pitches, frames, counts, number, tiles_y, tiles_x,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute frames, and the number of tiles that each Gaussian touches.

    means (N, 2), scales (N, 2), rotations (N,), images (N,) int32, pitches (B, 2) y and x
    -> frames (N, FRAME), counts (N,) int32
    """
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < number
    image = tl.load(images + index, mask, 0)
    x, y = tl.load(means + 2 * index, mask, 0.0), tl.load(means + 2 * index + 1, mask, 0.0)
    scale_u, scale_v = tl.load(scales + 2 * index, mask, 1.0), tl.load(scales + 2 * index + 1, mask, 1.0)
    ux, uy, vx, vy, extent_x, extent_y = _frame(scale_u, scale_v, tl.load(rotations + index, mask, 0.0))
    row = frames + index * FRAME
    tl.store(row, x, mask)
    tl.store(row + 1, y, mask)
    tl.store(row + 2, ux, mask)
    tl.store(row + 3, uy, mask)
    tl.store(row + 4, vx, mask)
    tl.store(row + 5, vy, mask)
    tl.store(row + 6, extent_x, mask)
    tl.store(row + 7, extent_y, mask)
    _, rows = _tile_span(y, extent_y, tl.load(pitches + 2 * image, mask, 1.0), tiles_y)
    _, columns = _tile_span(x, extent_x, tl.load(pitches + 2 * image + 1, mask, 1.0), tiles_x)
    tl.store(counts + index, rows * columns, mask)


@triton.jit(do_not_specialize=["number", "capacity", "tiles_y", "tiles_x"])
def list_entries(
    frames, images, pitches, ends, tiles, owners, number, capacity, tiles_y, tiles_x,
    GAUSSIANS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Write an entry for each tile that each Gaussian touches, LANES at a time; those of Gaussian k end at ends[k].

    ends (N,) int64 -> tiles (capacity,) of any integer type, owners (capacity,) int32
    """
    index = tl.program_id(0) * GAUSSIANS + tl.arange(0, GAUSSIANS)
    mask = index < number
    image = tl.load(images + index, mask, 0)
    row = frames + index * FRAME
    top, rows = _tile_span(
        tl.load(row + 1, mask, 0.0), tl.load(row + 7, mask, 0.0), tl.load(pitches + 2 * image, mask, 1.0), tiles_y
    )
    left, columns = _tile_span(
        tl.load(row, mask, 0.0), tl.load(row + 6, mask, 0.0), tl.load(pitches + 2 * image + 1, mask, 1.0), tiles_x
    )
    count = tl.where(mask, rows * columns, 0)
    start = tl.load(ends + index, mask, 0) - count
    columns = tl.maximum(columns, 1)[:, None]
    first = ((image * tiles_y + top) * tiles_x + left)[:, None]
    lane = tl.arange(0, LANES)[None, :]
    for done in range(0, tl.max(count, 0), LANES):
        place = done + lane
        entry = start[:, None] + place
        inside = (place < count[:, None]) & (entry < capacity)
        tile = first + place // columns * tiles_x + place % columns
        tl.store(tiles + entry, tile.to(tiles.dtype.element_ty), inside)
        tl.store(owners + entry, index[:, None] + tl.zeros_like(place), inside)


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


@triton.jit(do_not_specialize=["height", "width", "tiles_y", "tiles_x"])
def forward(
    frames, colors, entries, starts, pitches, output, sums, target, height, width, tiles_y, tiles_x,
    CHANNELS: tl.constexpr, NORMALIZED: tl.constexpr, DESCEND: tl.constexpr,
):  # fmt: skip
    """Render one tile of one image.

    frames (N, FRAME), colors (N, CHANNELS), entries (M,) int32 by tile, starts (B tiles + 1,) int32
    -> output (B, CHANNELS, H, W) and sums (B, H, W) of weights; with DESCEND and target (B, CHANNELS, H, W), sums
    (B, CHANNELS + 1, H, W) has instead the gradients of half the squared error in the sums of each pixel
    """
    tile = tl.program_id(0)
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
    stop = tl.load(starts + tile + 1)
    for first in range(tl.load(starts + tile), stop, UNROLL):
        for ahead in tl.static_range(UNROLL):
            # Beyond the end, a Gaussian far away, whose weight is 0.
            valid = first + ahead < stop
            index = tl.load(entries + first + ahead, valid, 0)
            frame = frames + index * FRAME
            dx = x - tl.load(frame, valid, -FARTHEST)
            dy = y - tl.load(frame + 1, valid, -FARTHEST)
            u = tl.load(frame + 2, valid, 1.0) * dx + tl.load(frame + 3, valid, 0.0) * dy
            v = tl.load(frame + 4, valid, 0.0) * dx + tl.load(frame + 5, valid, 1.0) * dy
            d2 = u * u + v * v
            fade = tl.minimum(tl.maximum(d2 * -FADE_SLOPE + FADE_OFFSET, 0.0), 1.0)
            weight = tl.exp2(-d2) * fade
            own_0, own_1, own_2, own_3 = _load_channels(colors + index * CHANNELS, 1, valid, CHANNELS)
            color_0 += weight * own_0
            if CHANNELS > 1:
                color_1 += weight * own_1
            if CHANNELS > 2:
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


@triton.jit(do_not_specialize=["number", "height", "width"])
def backward(
    scales, colors, frames, images, pitches, gradients, in_means, in_scales, in_rotations, in_colors,
    number, height, width,
    CHANNELS: tl.constexpr, GAUSSIANS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Compute gradients (N, ...) of GAUSSIANS Gaussians from those (B, CHANNELS + 1, H, W) in the sums of the pixels.

    LANES pixels of each Gaussian are processed at a time. With q = dL/dw dw/d(d^2 / 2), the gradients follow from the
    sums over pixels of q u, q v, q u^2, q v^2, q u v, and of w times the gradients of the colours.
    """
    index = tl.program_id(0) * GAUSSIANS + tl.arange(0, GAUSSIANS)
    valid = index < number
    image = tl.load(images + index, valid, 0)
    pitch_y, pitch_x = tl.load(pitches + 2 * image, valid, 1.0), tl.load(pitches + 2 * image + 1, valid, 1.0)
    frame = frames + index * FRAME
    center_x, center_y = tl.load(frame, valid, 0.0), tl.load(frame + 1, valid, 0.0)
    ux, uy = tl.load(frame + 2, valid, 0.0), tl.load(frame + 3, valid, 0.0)
    vx, vy = tl.load(frame + 4, valid, 0.0), tl.load(frame + 5, valid, 0.0)
    left, columns = _pixel_span(center_x, tl.load(frame + 6, valid, 0.0), pitch_x, width)
    top, rows = _pixel_span(center_y, tl.load(frame + 7, valid, 0.0), pitch_y, height)
    own_0, own_1, own_2, own_3 = _load_channels(colors + index * CHANNELS, 1, valid, CHANNELS)
    own_0, own_1, own_2, own_3 = own_0[:, None], own_1[:, None], own_2[:, None], own_3[:, None]

    area = height.to(tl.int64) * width
    pixels = tl.where(valid, rows * columns, 0)
    columns = tl.maximum(columns, 1)
    # Each lane goes through the box row by row, in steps of LANES pixels.
    ahead_rows, ahead_columns = (LANES // columns)[:, None], (LANES % columns)[:, None]
    lane = tl.arange(0, LANES)[None, :]
    row, column = lane // columns[:, None], lane % columns[:, None]
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
    for done in range(0, tl.max(pixels, 0), LANES):
        inside = done + lane < pixels[:, None]
        pixel = plane + (row * width + column)
        in_0, in_1, in_2, in_3 = _load_channels(pixel, area, inside, CHANNELS)
        in_total = tl.load(pixel + area * CHANNELS, inside, 0.0)
        dx = ((left[:, None] + column).to(tl.float32) + 0.5) * pitch_x[:, None] - center_x[:, None]
        dy = ((top[:, None] + row).to(tl.float32) + 0.5) * pitch_y[:, None] - center_y[:, None]
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

    # u, v, ux, uy, vx and vy above are ROOT_UNIT times those in standard deviations.
    total_u, total_v = tl.sum(sum_u, 1) / UNIT, tl.sum(sum_v, 1) / UNIT
    scale_u, scale_v = tl.load(scales + 2 * index, valid, 1.0), tl.load(scales + 2 * index + 1, valid, 1.0)
    tl.store(in_means + 2 * index, -(total_u * ux + total_v * vx), valid)
    tl.store(in_means + 2 * index + 1, -(total_u * uy + total_v * vy), valid)
    tl.store(in_scales + 2 * index, -tl.sum(sum_uu, 1) / (scale_u * UNIT), valid)
    tl.store(in_scales + 2 * index + 1, -tl.sum(sum_vv, 1) / (scale_v * UNIT), valid)
    tl.store(in_rotations + index, tl.sum(sum_uv, 1) / UNIT * (scale_v / scale_u - scale_u / scale_v), valid)
    _store_channels(
        in_colors + index * CHANNELS, 1, tl.sum(sum_0, 1), tl.sum(sum_1, 1), tl.sum(sum_2, 1), tl.sum(sum_3, 1),
        valid, CHANNELS,
    )  # fmt: skip
