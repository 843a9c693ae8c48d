"""Triton kernel of optimizer_cuda.py: from the gradients of Gaussians to the Gaussians of the next step."""

from __future__ import annotations

import triton
import triton.language as tl

from fastgs.fitting.options import ADAM_EPSILON

EPSILON = tl.constexpr(ADAM_EPSILON)


@triton.jit
def _adam(variables, averages, squares, gradient, rate, share, share_squared, rest, rest_squared, mask):
    """Take a step of Adam (Kingma and Ba, 2015) for a row of variables, and return their new values.

    share and share_squared are the weights of the new gradient and its square in the averages; rest and rest_squared
    correct for their start at 0.
    """
    average = tl.load(averages, mask, 0.0)
    square = tl.load(squares, mask, 0.0)
    average += share * (gradient - average)
    square += share_squared * (gradient * gradient - square)
    tl.store(averages, average, mask)
    tl.store(squares, square, mask)
    moved = tl.load(variables, mask, 0.0) - rate / rest * average / (tl.sqrt(square / rest_squared) + EPSILON)
    tl.store(variables, moved, mask)
    return moved


@triton.jit(do_not_specialize=["number", "capacity"])
def descend(
    variables, averages, squares, start, frames, floors, in_means, in_scales, in_rotations, in_colors,
    means, scales, rotations, colors, ends, taken, factor,
    weights, rate_offsets, rate_scales, rate_rotations, rate_colors, number, capacity,
    CHANNELS: tl.constexpr, LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take a step of Adam and update the Gaussians; do nothing if the lists of tiles had no room for all entries.

    variables, averages, squares (5 + CHANNELS, N): offsets u, v, log scales u, v, rotation, colours
    start (N, 2), frames (N, 2), floors (N, 2): as in `fastgs.fitting.parametrization.Relative`
    taken: number of steps including this one; factor: current factor of the learning rates
    weights (LAST, 4): share, rest, share_squared and rest_squared of each step, from `fastgs.fitting.adam.weights`;
    those of the last row hold for all later steps
    """
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < tl.where(tl.load(ends + number - 1) <= capacity, number, 0)
    row_of_weights = weights + 4 * (tl.minimum(tl.load(taken), LAST) - 1)
    share, rest = tl.load(row_of_weights), tl.load(row_of_weights + 1)
    share_squared, rest_squared = tl.load(row_of_weights + 2), tl.load(row_of_weights + 3)
    now = tl.load(factor)
    along, across = tl.load(frames + 2 * index, mask, 1.0), tl.load(frames + 2 * index + 1, mask, 0.0)
    in_x, in_y = tl.load(in_means + 2 * index, mask, 0.0), tl.load(in_means + 2 * index + 1, mask, 0.0)
    u = _adam(
        variables + index, averages + index, squares + index, along * in_x + across * in_y,
        rate_offsets * now, share, share_squared, rest, rest_squared, mask,
    )  # fmt: skip
    row = index + number
    v = _adam(
        variables + row, averages + row, squares + row, along * in_y - across * in_x,
        rate_offsets * now, share, share_squared, rest, rest_squared, mask,
    )  # fmt: skip
    tl.store(means + 2 * index, tl.load(start + 2 * index, mask, 0.0) + along * u - across * v, mask)
    tl.store(means + 2 * index + 1, tl.load(start + 2 * index + 1, mask, 0.0) + across * u + along * v, mask)
    for axis in tl.static_range(2):
        row = index + (2 + axis) * number
        free = tl.exp(tl.load(variables + row, mask, 0.0))
        floor = tl.load(floors + 2 * index + axis, mask, 0.0)
        gradient = tl.load(in_scales + 2 * index + axis, mask, 0.0) * free * free
        free = tl.exp(_adam(
            variables + row, averages + row, squares + row,
            gradient / tl.load(scales + 2 * index + axis, mask, 1.0),
            rate_scales * now, share, share_squared, rest, rest_squared, mask,
        ))  # fmt: skip
        tl.store(scales + 2 * index + axis, tl.sqrt(free * free + floor * floor), mask)
    row = index + 4 * number
    rotation = _adam(
        variables + row, averages + row, squares + row, tl.load(in_rotations + index, mask, 0.0),
        rate_rotations * now, share, share_squared, rest, rest_squared, mask,
    )  # fmt: skip
    tl.store(rotations + index, rotation, mask)
    for channel in tl.static_range(CHANNELS):
        row = index + (5 + channel) * number
        color = _adam(
            variables + row, averages + row, squares + row, tl.load(in_colors + index * CHANNELS + channel, mask, 0.0),
            rate_colors * now, share, share_squared, rest, rest_squared, mask,
        )  # fmt: skip
        tl.store(colors + index * CHANNELS + channel, color, mask)
