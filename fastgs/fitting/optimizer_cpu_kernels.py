"""numba kernels of optimizer_cpu.py: from gradients of pixels to the Gaussians of the next step, and whole steps."""

from __future__ import annotations

import numpy as np

from fastgs.fitting.options import ADAM_EPSILON
from fastgs.render.cpu_geometry_kernels import BLOCK, describe, find_span, write_description
from fastgs.render.cpu_kernels import MOMENTS, descend_pixels, gather
from fastgs.runtime.jit import inlined, jit
from fastgs.runtime.simd import LANES, fma, load, splat, square_root, store
from fastgs.runtime.simd_math import exponential

EPSILON = np.float32(ADAM_EPSILON)
ZERO, ONE = np.float32(0), np.float32(1)


@inlined
def _adam(variables, averages, squares, place, gradient, rate, shares):
    """Take a step of Adam (Kingma and Ba, 2015) for eight variables, and return their new values.

    shares are the weights of the new gradient and of its square in the averages, and 1 over the correction of the
    second for its start at 0; the rate has that of the first.
    """
    average, square = load(averages, place), load(squares, place)
    average = fma(splat(shares[0]), gradient - average, average)
    square = fma(splat(shares[1]), gradient * gradient - square, square)
    store(averages, place, average)
    store(squares, place, square)
    size = square_root(square * splat(shares[2])) + splat(EPSILON)
    moved = load(variables, place) - splat(rate) * average / size
    store(variables, place, moved)
    return moved


@jit
def descend(
    frames, bounds, spans, colors, zeros, count, height, width, stride, gradients,
    variables, averages, squares, fixed, shapes, rates, shares, start, stop,
):  # fmt: skip
    """Take a step of Adam for the Gaussians of blocks [start, stop), and describe them as the next rendering needs it.

    All are flat, with room for P Gaussians, a whole number of blocks; `frames`, `bounds`, `spans` and the gradients of
    pixels are those of `fastgs.render.cpu_kernels` and cpu_geometry_kernels.py.

    variables, averages, squares (5 + C, P): offsets u, v, log scales u, v, rotation, colours
    fixed (6, P): start x, y, frame (real, imaginary), floors u, v, as in `fastgs.fitting.parametrization.Relative`
    shapes (4, P): means x, y, scales u, v, and colors, not flat, (P, C): read and written
    rates (4,): of offsets, log scales, rotation and colours; shares (3,): see `_adam`
    """
    room = len(shapes) // 4
    sums = np.zeros((MOMENTS + len(zeros)) * BLOCK, np.float32)
    one, zero = splat(ONE), splat(ZERO)
    for block in range(start, stop):
        end = min(count, (block + 1) * BLOCK)
        gather(frames, bounds, colors, zeros, height, width, stride, gradients, 0, block * BLOCK, end, sums)
        for k in range(block * BLOCK, end, LANES):
            column = k - block * BLOCK
            right, down = load(sums, column), load(sums, BLOCK + column)
            along, across = load(fixed, 2 * room + k), load(fixed, 3 * room + k)
            gradient = fma(along, right, across * down)
            u = _adam(variables, averages, squares, k, gradient, rates[0], shares)
            gradient = along * down - across * right
            v = _adam(variables, averages, squares, room + k, gradient, rates[0], shares)
            x = load(fixed, k) + (along * u - across * v)
            y = load(fixed, room + k) + fma(across, u, along * v)
            s1, s2 = load(shapes, 2 * room + k), load(shapes, 3 * room + k)
            gradient = load(sums, 4 * BLOCK + column) * (s1 / s2 - s2 / s1)
            rotation = _adam(variables, averages, squares, 4 * room + k, gradient, rates[2], shares)
            s1 = _scale(variables, averages, squares, 2 * room + k, load(sums, 2 * BLOCK + column), s1,
                        load(fixed, 4 * room + k), rates[1], shares)  # fmt: skip
            s2 = _scale(variables, averages, squares, 3 * room + k, load(sums, 3 * BLOCK + column), s2,
                        load(fixed, 5 * room + k), rates[1], shares)  # fmt: skip
            store(shapes, k, x)
            store(shapes, room + k, y)
            store(shapes, 2 * room + k, s1)
            store(shapes, 3 * room + k, s2)
            described = describe(x, y, s1, s2, rotation, one, one, zero, height, width)
            write_description(described, frames, bounds, k)
            for channel in range(len(zeros)):
                gradient = load(sums, (MOMENTS + channel) * BLOCK + column)
                place = (5 + channel) * room + k
                _adam(variables, averages, squares, place, gradient, rates[3], shares)
                for lane in range(LANES):
                    colors[k + lane, channel] = variables[place + lane]
        find_span(bounds, count, block, spans)


@jit
def take_steps(
    frames, bounds, spans, colors, zeros, offsets, count, height, width, stride, planes, targets, images, errors,
    keep, measure, normalized, is_drawn, first, states, rates, shares,
):  # fmt: skip
    """Take steps of each of B images of one size, with all its rows and Gaussians one after the other.

    The arguments are those of `descend_pixels` and `descend`, but there is one of each image: frames (B, F), bounds
    (B, 3, P), spans (B, blocks, 2), colors (B, P, C), targets and images (B, C, H, W), errors (B, H). The planes serve
    one image after the other.

    states (B, S, P): variables, averages, squares, fixed and shapes of `descend`, one after the other
    rates (B, steps, 4) and shares (steps, 3) have a row for each step

    `is_drawn` says that the planes have the gradients for the first step, of a single image; the blocks of Gaussians
    before `first` stay as they are. If `measure`, the errors become those before the first step; if `keep`, the images
    are drawn as they are after the last one.
    """
    channels, steps, room = len(zeros), len(shares), states.shape[2]
    size = (5 + channels) * room
    for one in range(len(states)):
        state = states[one].reshape(-1)
        variables, averages, squares = state[:size], state[size : 2 * size], state[2 * size : 3 * size]
        fixed, shapes = state[3 * size : 3 * size + 6 * room], state[3 * size + 6 * room :]
        for step in range(steps + int(keep)):
            if step > 0 or not is_drawn:
                descend_pixels(frames[one], bounds[one], spans[one], colors[one], zeros, offsets, stride, planes,
                               targets[one], images[one], errors[one], step == steps, measure and step == 0, normalized,
                               0, height)  # fmt: skip
            if step < steps:
                descend(frames[one], bounds[one], spans[one], colors[one], zeros, count, height, width, stride, planes,
                        variables, averages, squares, fixed, shapes, rates[one, step], shares[step],
                        first, spans.shape[1])  # fmt: skip


@inlined
def _scale(variables, averages, squares, place, moment, scale, floor, rate, shares):
    """Move the logarithm of a scale, whose gradient is d s ds / dl with d s = moment / s; return the new scale."""
    share = floor / scale
    gradient = moment * (splat(ONE) - share * share)
    free = exponential(_adam(variables, averages, squares, place, gradient, rate, shares))
    return square_root(fma(free, free, floor * floor))


@jit
def move(state, fresh, order, places, moved, start, stop):
    """Fill rows [start, stop) of a state with columns of others, and what room there is behind with zeros.

    Args:
        state: (S, P) state.
        fresh: (S, M) further columns.
        order: (N,) int32 numbers of columns of `state`; any at the places of further ones.
        places: (M,) where the further columns go.
        moved: (S, Q) result, Q at least N.
        start: First row.
        stop: End of the rows.
    """
    for row in range(start, stop):
        before, added, after = state[row], fresh[row], moved[row]
        for i in range(len(order)):
            after[i] = before[order[i]]
        for i in range(len(places)):
            after[places[i]] = added[i]
        after[len(order) :] = ZERO
