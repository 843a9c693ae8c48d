"""Triton kernel of optimizer_cuda.py: from the gradients of pixels to the Gaussians of the next step, in their bins."""

from __future__ import annotations

import triton
import triton.language as tl

from fastgs.fitting.options import ADAM_EPSILON
from fastgs.render.cuda_bin_kernels import FARTHEST, GOING, IMAGES, ROW, gather, load_rows, store_row
from fastgs.render.cuda_kernels import collect

EPSILON = tl.constexpr(ADAM_EPSILON)
WARP = tl.constexpr(32)


@triton.jit
def _adam(
    variables, averages, squares, gradient, rate, share, share_squared, rest, rest_squared, mask, WAIT: tl.constexpr
):
    """Take a step of Adam (Kingma and Ba, 2015) for a row of variables, and return their new values.

    share and share_squared are the weights of the new gradient and its square in the averages; rest and rest_squared
    correct for their start at 0. With WAIT, several warps load what one of them will overwrite.
    """
    variable = tl.load(variables, mask, 0.0)
    average = tl.load(averages, mask, 0.0)
    square = tl.load(squares, mask, 0.0)
    if WAIT:
        tl.debug_barrier()
    average += share * (gradient - average)
    square += share_squared * (gradient * gradient - square)
    tl.store(averages, average, mask)
    tl.store(squares, square, mask)
    moved = variable - rate / rest * average / (tl.sqrt(square / rest_squared) + EPSILON)
    tl.store(variables, moved, mask)
    return moved


@triton.jit
def _scale(
    variables, averages, squares, floors, gradient, scale, rate, share, share_squared, rest, rest_squared, mask,
    WAIT: tl.constexpr,
):  # fmt: skip
    """Take a step of Adam for logarithms of scales, given the scales and the gradients in them; return new scales."""
    free = tl.exp(tl.load(variables, mask, 0.0))
    floor = tl.load(floors, mask, 1.0)
    in_free = gradient * free * free / scale
    free = tl.exp(
        _adam(variables, averages, squares, in_free, rate, share, share_squared, rest, rest_squared, mask, WAIT)
    )
    return tl.sqrt(free * free + floor * floor)


@triton.jit(do_not_specialize=["room", "number", "height", "width", "tiles_y", "tiles_x"])
def descend(
    variables, averages, squares, start, turns, floors, scales, rows, images, pitches, gradients,
    starts, counts, bins, state, items, bases, room, partials,
    units, factors, weights, rate_offsets, rate_scales, rate_rotations, rate_colors,
    number, height, width, tiles_y, tiles_x,
    CHANNELS: tl.constexpr, LAST: tl.constexpr, BATCH: tl.constexpr, SLICE: tl.constexpr, LIMIT: tl.constexpr,
    GAUSSIANS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Move Gaussians by the gradients of the pixels, and put them into bins; do nothing if there was no room.

    variables, averages, squares (5 + CHANNELS, N): offsets u, v, log scales u, v, rotation, colours
    start (N, 2), turns (N, 2), floors (N, 2): as in `fastgs.fitting.parametrization.Relative`, turns being its frame
    scales (N, 2), rows (N + 1, ROW): the Gaussians, read and written
    images, pitches, gradients, starts, counts, bins, state, items, bases, room, partials: as in
    `fastgs.render.cuda_bin_kernels`
    units (B,): units of the steps of colours, of each image
    factors (BATCH,): factors of the learning rates, that of step i at place i modulo BATCH
    weights (LAST, 4): share, rest, share_squared and rest_squared of each step, from `fastgs.fitting.adam.weights`;
    those of the last row hold for all later steps
    """
    index = tl.program_id(0) * GAUSSIANS + tl.arange(0, GAUSSIANS)
    mask = (index < number) & (tl.load(state + GOING) != 0)
    index = tl.where(mask, index, number)
    image = tl.load(images + index, mask, 0)
    pitch_y, pitch_x = tl.load(pitches + 2 * image), tl.load(pitches + 2 * image + 1)
    x, y, ux, uy, vx, vy, extent_x, extent_y = load_rows(rows, index)
    scale_u, scale_v = tl.load(scales + 2 * index, mask, 1.0), tl.load(scales + 2 * index + 1, mask, 1.0)
    in_x, in_y, in_u, in_v, in_rotation, in_0, in_1, in_2, in_3 = collect(
        index, rows, scale_u, scale_v, x, y, ux, uy, vx, vy, extent_x, extent_y, image, pitch_y, pitch_x,
        gradients, bases, partials, height, width, CHANNELS, SLICE, LIMIT, GAUSSIANS, LANES,
    )  # fmt: skip

    if LANES > WARP:
        tl.debug_barrier()  # all warps have read which slices there are
    taken = tl.maximum(tl.load(state + IMAGES) - 1, 0)  # steps before this one
    row_of_weights = weights + 4 * tl.minimum(taken, LAST - 1)
    share, rest = tl.load(row_of_weights), tl.load(row_of_weights + 1)
    share_squared, rest_squared = tl.load(row_of_weights + 2), tl.load(row_of_weights + 3)
    now = tl.load(factors + taken % BATCH)
    rate_colors *= tl.load(units + image)
    along, across = tl.load(turns + 2 * index, mask, 1.0), tl.load(turns + 2 * index + 1, mask, 0.0)
    row = index
    u = _adam(
        variables + row, averages + row, squares + row, along * in_x + across * in_y,
        rate_offsets * now, share, share_squared, rest, rest_squared, mask, LANES > WARP,
    )  # fmt: skip
    row += number
    v = _adam(
        variables + row, averages + row, squares + row, along * in_y - across * in_x,
        rate_offsets * now, share, share_squared, rest, rest_squared, mask, LANES > WARP,
    )  # fmt: skip
    x = tl.load(start + 2 * index, mask, -FARTHEST) + along * u - across * v
    y = tl.load(start + 2 * index + 1, mask, -FARTHEST) + across * u + along * v
    row += number
    scale_u = _scale(
        variables + row, averages + row, squares + row, floors + 2 * index, in_u, scale_u,
        rate_scales * now, share, share_squared, rest, rest_squared, mask, LANES > WARP,
    )  # fmt: skip
    row += number
    scale_v = _scale(
        variables + row, averages + row, squares + row, floors + 2 * index + 1, in_v, scale_v,
        rate_scales * now, share, share_squared, rest, rest_squared, mask, LANES > WARP,
    )  # fmt: skip
    tl.store(scales + 2 * index, scale_u, mask)
    tl.store(scales + 2 * index + 1, scale_v, mask)
    row += number
    rotation = _adam(
        variables + row, averages + row, squares + row, in_rotation,
        rate_rotations * now, share, share_squared, rest, rest_squared, mask, LANES > WARP,
    )  # fmt: skip
    row += number
    color_0 = _adam(
        variables + row, averages + row, squares + row, in_0,
        rate_colors * now, share, share_squared, rest, rest_squared, mask, LANES > WARP,
    )  # fmt: skip
    color_1, color_2, color_3 = color_0, color_0, color_0
    if CHANNELS > 1:
        row += number
        color_1 = _adam(
            variables + row, averages + row, squares + row, in_1,
            rate_colors * now, share, share_squared, rest, rest_squared, mask, LANES > WARP,
        )  # fmt: skip
    if CHANNELS > 2:
        row += number
        color_2 = _adam(
            variables + row, averages + row, squares + row, in_2,
            rate_colors * now, share, share_squared, rest, rest_squared, mask, LANES > WARP,
        )  # fmt: skip
    if CHANNELS > 3:
        row += number
        color_3 = _adam(
            variables + row, averages + row, squares + row, in_3,
            rate_colors * now, share, share_squared, rest, rest_squared, mask, LANES > WARP,
        )  # fmt: skip
    ux, uy, vx, vy, extent_x, extent_y = store_row(
        rows + index * ROW, x, y, scale_u, scale_v, rotation, color_0, color_1, color_2, color_3, mask,
    )  # fmt: skip
    gather(
        index, x, y, ux, uy, vx, vy, extent_x, extent_y, image, pitch_y, pitch_x, starts, counts, bins, state,
        items, bases, room, height, width, tiles_y, tiles_x, True, SLICE, LIMIT, GAUSSIANS, LANES,
    )  # fmt: skip
