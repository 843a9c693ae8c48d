"""Triton kernels of the rasterizer; reference.py has the equations.

Forward, one program owns a tile of TILE x TILE pixels, and loops over the list of the Gaussians that touch it.
Backward, a row of lanes owns a Gaussian, and loops over the pixels of its bounding box with the sums in registers. Each
number is thus summed by one program in a fixed order: there are no atomics, and the same input gives the same bits.

The frame of a Gaussian is a row of FRAME floats:

    x, y                centre, in pixels of the canvas
    ux, uy, vx, vy      u = ux dx + uy dy, v = vx dx + vy dy, scaled so that exp(-d^2 / 2) = 2^-(u^2 + v^2)
    extent x, extent y  half of the bounding box of its support, in pixels of the canvas

Pixel (i, j) of an image samples the canvas at ((j + 0.5) pitch x, (i + 0.5) pitch y).

Each pixel has PLANES sums: of weighted colours, one for each of the CHANNELS, and last of weights. The kernels are
written out for three channels, which stay in registers; cuda.py renders other numbers in groups of three.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from fastgs.render import reference

# In expressions, a constant stands behind the tensor: the interpreter of Triton 3.8 leaves `constant - tensor` wrapped.
FRAME = tl.constexpr(8)
TILE = tl.constexpr(8)
CHANNELS = tl.constexpr(3)
PLANES = tl.constexpr(4)
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
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write an entry for each tile that each Gaussian touches; those of Gaussian k end at ends[k].

    ends (N,) int64 -> tiles (capacity,) of any integer type, owners (capacity,) int32
    """
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
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
    entry = tl.load(ends + index, mask, 0) - count
    tile = (image * tiles_y + top) * tiles_x + left
    column = tl.zeros([BLOCK], tl.int32)
    for done in range(tl.max(count, 0)):
        inside = (done < count) & (entry < capacity)
        tl.store(tiles + entry, (tile + column).to(tiles.dtype.element_ty), inside)
        tl.store(owners + entry, index, inside)
        entry += 1
        column += 1
        wrap = column == columns
        column = tl.where(wrap, 0, column)
        tile += tl.where(wrap, tiles_x, 0)


@triton.jit
def _pixel_gradients(error_r, error_g, error_b, red, green, blue, weight, NORMALIZED: tl.constexpr):
    """Return the gradients in the sums of a pixel, given those in its colour."""
    if NORMALIZED:
        scale = 1.0 / (weight + EPSILON)
        in_weight = -(error_r * red + error_g * green + error_b * blue) * scale
        return error_r * scale, error_g * scale, error_b * scale, in_weight
    return error_r, error_g, error_b, tl.zeros_like(weight)


@triton.jit(do_not_specialize=["height", "width", "tiles_y", "tiles_x"])
def forward(
    frames, colors, entries, starts, pitches, output, sums, target, height, width, tiles_y, tiles_x,
    NORMALIZED: tl.constexpr, DESCEND: tl.constexpr,
):  # fmt: skip
    """Render one tile of one image.

    frames (N, FRAME), colors (N, CHANNELS), entries (M,) int32 by tile, starts (B tiles + 1,) int32
    -> output (B, CHANNELS, H, W) and sums (B, H, W) of weights; with DESCEND and target (B, CHANNELS, H, W), sums
    (B, PLANES, H, W) has instead the gradients of half the squared error in the sums of each pixel
    """
    tile = tl.program_id(0)
    image = tile // (tiles_y * tiles_x)
    row = (tile // tiles_x % tiles_y) * TILE + tl.arange(0, TILE)
    column = (tile % tiles_x) * TILE + tl.arange(0, TILE)
    y = ((row.to(tl.float32) + 0.5) * tl.load(pitches + 2 * image))[:, None]
    x = ((column.to(tl.float32) + 0.5) * tl.load(pitches + 2 * image + 1))[None, :]
    red = tl.zeros([TILE, TILE], tl.float32)
    green = tl.zeros([TILE, TILE], tl.float32)
    blue = tl.zeros([TILE, TILE], tl.float32)
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
            color = colors + index * CHANNELS
            red += weight * tl.load(color, valid, 0.0)
            green += weight * tl.load(color + 1, valid, 0.0)
            blue += weight * tl.load(color + 2, valid, 0.0)
            total += weight
    if NORMALIZED:
        scale = 1.0 / (total + EPSILON)
        red, green, blue = red * scale, green * scale, blue * scale
    area = height.to(tl.int64) * width
    pixel = row[:, None] * width + column[None, :]
    mask = (row < height)[:, None] & (column < width)[None, :]
    out = output + image * CHANNELS * area + pixel
    tl.store(out, red, mask)
    tl.store(out + area, green, mask)
    tl.store(out + 2 * area, blue, mask)
    if DESCEND:
        wanted = target + image * CHANNELS * area + pixel
        in_red, in_green, in_blue, in_total = _pixel_gradients(
            red - tl.load(wanted, mask, 0.0),
            green - tl.load(wanted + area, mask, 0.0),
            blue - tl.load(wanted + 2 * area, mask, 0.0),
            red, green, blue, total, NORMALIZED,
        )  # fmt: skip
        plane = sums + image * PLANES * area + pixel
        tl.store(plane, in_red, mask)
        tl.store(plane + area, in_green, mask)
        tl.store(plane + 2 * area, in_blue, mask)
        tl.store(plane + area * CHANNELS, in_total, mask)
    else:
        tl.store(sums + image * area + pixel, total, mask)


@triton.jit(do_not_specialize=["area"])
def pixel_gradients(upstream, output, totals, gradients, area, NORMALIZED: tl.constexpr, BLOCK: tl.constexpr):
    """Compute gradients (B, PLANES, H, W) in the sums of each pixel from those (B, CHANNELS, H, W) in the image."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = pixel < area
    error, out = upstream + image * CHANNELS * area + pixel, output + image * CHANNELS * area + pixel
    in_red, in_green, in_blue, in_total = _pixel_gradients(
        tl.load(error, mask, 0.0), tl.load(error + area, mask, 0.0), tl.load(error + 2 * area, mask, 0.0),
        tl.load(out, mask, 0.0), tl.load(out + area, mask, 0.0), tl.load(out + 2 * area, mask, 0.0),
        tl.load(totals + image * area + pixel, mask, 0.0), NORMALIZED,
    )  # fmt: skip
    plane = gradients + image * PLANES * area + pixel
    tl.store(plane, in_red, mask)
    tl.store(plane + area, in_green, mask)
    tl.store(plane + 2 * area, in_blue, mask)
    tl.store(plane + area * CHANNELS, in_total, mask)


@triton.jit(do_not_specialize=["number", "height", "width"])
def backward(
    scales, colors, frames, images, pitches, gradients, in_means, in_scales, in_rotations, in_colors,
    number, height, width,
    GAUSSIANS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Compute gradients (N, ...) of GAUSSIANS Gaussians from those (B, PLANES, H, W) in the sums of the pixels.

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
    color = colors + index * CHANNELS
    own_red = tl.load(color, valid, 0.0)
    own_green = tl.load(color + 1, valid, 0.0)
    own_blue = tl.load(color + 2, valid, 0.0)

    area = height.to(tl.int64) * width
    pixels = tl.where(valid, rows * columns, 0)
    columns = tl.maximum(columns, 1)
    # Each lane goes through the box row by row, in steps of LANES pixels.
    ahead_rows, ahead_columns = (LANES // columns)[:, None], (LANES % columns)[:, None]
    lane = tl.arange(0, LANES)[None, :]
    row, column = lane // columns[:, None], lane % columns[:, None]
    plane = (gradients + (image * PLANES * area + top * width + left))[:, None]

    sum_u = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_v = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_uu = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_vv = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_uv = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_red = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_green = tl.zeros([GAUSSIANS, LANES], tl.float32)
    sum_blue = tl.zeros([GAUSSIANS, LANES], tl.float32)
    for done in range(0, tl.max(pixels, 0), LANES):
        inside = done + lane < pixels[:, None]
        pixel = plane + (row * width + column)
        in_red = tl.load(pixel, inside, 0.0)
        in_green = tl.load(pixel + area, inside, 0.0)
        in_blue = tl.load(pixel + 2 * area, inside, 0.0)
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
        in_weight = own_red[:, None] * in_red + own_green[:, None] * in_green + own_blue[:, None] * in_blue + in_total
        q = in_weight * slope
        sum_u += q * u
        sum_v += q * v
        sum_uu += q * u * u
        sum_vv += q * v * v
        sum_uv += q * u * v
        sum_red += weight * in_red
        sum_green += weight * in_green
        sum_blue += weight * in_blue
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
    in_color = in_colors + index * CHANNELS
    tl.store(in_color, tl.sum(sum_red, 1), valid)
    tl.store(in_color + 1, tl.sum(sum_green, 1), valid)
    tl.store(in_color + 2, tl.sum(sum_blue, 1), valid)
