"""Triton kernels of the rasterizer, second part: pixels from Gaussians, and back; reference.py has the equations.

cuda_bin_kernels.py has the rows of Gaussians and the bins of tiles. Forward, one program owns a tile: it sorts its bin,
and blends. Backward, a row of lanes owns a Gaussian, and loops over the pixels of its bounding box with the sums in
registers. Each number is thus summed by one program in a fixed order, and the same input gives the same bits. In a
descent, other programs find the sums of the slices into which the box of a large Gaussian is cut.

Each pixel has CHANNELS + 1 sums: of weighted colours, one for each channel, and last of weights. They stay in
registers, so the kernels are compiled for 1 to MOST_CHANNELS channels each; cuda.py renders more in groups. What is
numbered 0 to 3 below belongs to these channels; those beyond CHANNELS are never used, and cost nothing.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from fastgs.render import reference
from fastgs.render.cuda_bin_kernels import (
    COLOR,
    COMING,
    FULL,
    GOING,
    IMAGES,
    ROW,
    SLICES,
    TILE,
    UNIT,
    UNROLL,
    load_channels,
    load_pair,
    load_rows,
    pixel_span,
    sort_bin,
    store_channels,
)

MOST_CHANNELS = tl.constexpr(4)
# Floats of the sums over the pixels of a slice.
SUMS = tl.constexpr(9)
EPSILON = tl.constexpr(reference.EPSILON)
# The fade as a function of u^2 + v^2.
SLOPE = tl.constexpr(1 / (reference.CUTOFF**2 - reference.FADE_START**2))
FADE_OFFSET = tl.constexpr(reference.CUTOFF**2 / (reference.CUTOFF**2 - reference.FADE_START**2))
FADE_SLOPE = tl.constexpr(2 * math.log(2) / (reference.CUTOFF**2 - reference.FADE_START**2))


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
    store_channels(plane, area, error_0, error_1, error_2, error_3, mask, CHANNELS)
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
    sort_bin(bins, entries, start, count)
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
            center_x, center_y = load_pair(own)
            ux, uy = load_pair(own + 2)
            vx, vy = load_pair(own + 4)
            own_0, own_1 = load_pair(own + COLOR)
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
                own_2, own_3 = load_pair(own + COLOR + 2)
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
    store_channels(out, area, color_0, color_1, color_2, color_3, mask, CHANNELS)
    if DESCEND:
        wanted_0, wanted_1, wanted_2, wanted_3 = load_channels(
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
    error_0, error_1, error_2, error_3 = load_channels(upstream + place, area, mask, CHANNELS)
    color_0, color_1, color_2, color_3 = load_channels(output + place, area, mask, CHANNELS)
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
    own_0, own_1 = load_pair(rows + index * ROW + COLOR)
    own_2, own_3 = own_0, own_0
    if CHANNELS > 2:
        own_2, own_3 = load_pair(rows + index * ROW + COLOR + 2)
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
        in_0, in_1, in_2, in_3 = load_channels(pixel, area, inside, CHANNELS)
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
    left, columns = pixel_span(x, extent_x, pitch_x, width)
    top, lines = pixel_span(y, extent_y, pitch_y, height)
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
        left, columns = pixel_span(x, extent_x, pitch_x, width)
        top, lines = pixel_span(y, extent_y, pitch_y, height)
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
    store_channels(in_colors + index * CHANNELS, 1, in_0, in_1, in_2, in_3, valid, CHANNELS)
