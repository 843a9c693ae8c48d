"""Kernels of `fastgs.models.forces`: corrections of Gaussians, and what the error says about them."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from fastgs.runtime.jit import STRICT, jit

GEOMETRY = 5  # that of fastgs.models.attribute, as are the numbers below
MAX_CHANGE = np.float32(2.0)
GEOMETRY_UNIT = np.float32(0.3)

SLOPES = GEOMETRY + 6
# Columns of the base: centre, geometric mean of the scales, its logarithm, the two elongations, 2 pi times the area.
X, Y, SIZE, LOG_SIZE, P, Q, AREA = range(7)

HALF, ONE = np.float32(0.5), np.float32(1.0)
# As in `correct` of fastgs.models.attribute: circles have no direction, and scales end at the smallest.
ROUND, NEARLY_ROUND, TURN, ROUNDED = np.float32(1e-12), np.float32(2e-6), np.float32(1e-6), np.float32(1 - 1e-5)


@jit
def correct(base, base_colors, corrections, smallest, means, scales, rotations, colors, slopes, start, stop):
    """Apply corrections to Gaussians [start, stop), as `fastgs.models.attribute.correct` does.

    Args:
        base: (N, 7) columns as above of the uncorrected Gaussians.
        base_colors: (N, C) colours.
        corrections: (N, 5 + C).
        smallest: Smallest scale.
        means: (N, 2) result, as are the next three.
        scales: (N, 2).
        rotations: (N,).
        colors: (N, C).
        slopes: (N, SLOPES) result: derivatives of the five changes in their corrections, and, in the two elongations,
            of the size of both and of the rotation; those of the two scales in their logarithms.
        start: First Gaussian.
        stop: End of the Gaussians.
    """
    for k in range(start, stop):
        row, change, slope = base[k], corrections[k], slopes[k]
        size = row[SIZE]
        for axis in range(2):
            shift = math.tanh(change[axis])
            means[k, axis] = row[axis] + size * shift
            slope[axis] = size * (ONE - shift * shift)
        tilt = math.tanh(change[2] / MAX_CHANGE)
        m, slope[2] = row[LOG_SIZE] + MAX_CHANGE * tilt, ONE - tilt * tilt
        tilt = math.tanh(change[3] / MAX_CHANGE)
        p, slope[3] = row[P] + MAX_CHANGE * tilt, ONE - tilt * tilt
        tilt = math.tanh(change[4] / MAX_CHANGE)
        q, slope[4] = row[Q] + MAX_CHANGE * tilt, ONE - tilt * tilt
        radius = math.sqrt(p * p + q * q + ROUND)
        slope[5], slope[6] = p / radius, q / radius
        for axis in range(2):
            scale = math.exp(m + radius if axis == 0 else m - radius)
            larger = scale > smallest * ROUNDED
            scales[k, axis], slope[9 + axis] = (scale, scale) if larger else (smallest, np.float32(0))
        p = p + TURN if radius < NEARLY_ROUND else p
        rotations[k] = HALF * math.atan2(q, p)
        square = p * p + q * q
        slope[7], slope[8] = -HALF * q / square, HALF * p / square
        for channel in range(colors.shape[1]):
            colors[k, channel] = base_colors[k, channel] + change[GEOMETRY + channel]


@partial(jit, flags=STRICT | {"reassoc"})  # vectors of squares are summed up; NaN stays NaN
def subtract(images, drawn, errors, squares, start, stop):
    """Subtract rows [start, stop) of drawn (B, C, H, W) images from others, and sum up the squares (B H,) by row."""
    channels, height, width = images.shape[1:]
    for row in range(start, stop):
        image, y = row // height, row % height
        total = 0.0
        for channel in range(channels):
            wanted, found, error = images[image, channel, y], drawn[image, channel, y], errors[image, channel, y]
            square = np.float32(0)
            for x in range(width):
                error[x] = wanted[x] - found[x]
            for x in range(width):
                square += error[x] * error[x]
            total += square
        squares[row] = total


@jit
def describe(
    base, corrections, slopes, d_means, d_scales, d_rotations, d_colors, images, sizes, number, previous, answer,
    forces, states, start, stop,
):  # fmt: skip
    """Compute forces on the corrections of Gaussians [start, stop), and the states that the network sees.

    Args:
        base: (N, 7) columns that `correct` was given.
        corrections: (N, 5 + C), the same.
        slopes: (N, SLOPES) that it gave.
        d_means: (N, 2) gradients of minus half the squared error in the corrected Gaussians, as are the next three.
        d_scales: (N, 2).
        d_rotations: (N,).
        d_colors: (N, C).
        images: (N,) number of the image of each Gaussian.
        sizes: (B,) sizes of the errors.
        number: (N,) number of Gaussians in the pixel of each.
        previous: (N, 5 + C) forces before.
        answer: (N, 5 + C) what was added to the corrections since.
        forces: (N, 5 + C) result, per area.
        states: (N, 1 + 4 (5 + C)) result: `fastgs.models.attribute.GaussianState.columns`, divided by the numbers.
        start: First Gaussian.
        stop: End of the Gaussians.
    """
    count = forces.shape[1]
    for k in range(start, stop):
        slope, force = slopes[k], forces[k]
        first, second, turn = d_scales[k, 0] * slope[9], d_scales[k, 1] * slope[10], d_rotations[k]
        force[0], force[1] = d_means[k, 0] * slope[0], d_means[k, 1] * slope[1]
        force[2] = (first + second) * slope[2]
        force[3] = ((first - second) * slope[5] + turn * slope[7]) * slope[3]
        force[4] = ((first - second) * slope[6] + turn * slope[8]) * slope[4]
        for channel in range(d_colors.shape[1]):
            force[GEOMETRY + channel] = d_colors[k, channel]
        size, share = sizes[images[k]], ONE / number[k]
        state, change, before, added = states[k], corrections[k], previous[k], answer[k]
        state[0] = ONE
        for column in range(count):
            force[column] /= base[k, AREA]
            unit = GEOMETRY_UNIT if column < GEOMETRY else size
            state[1 + column] = change[column] * share
            state[1 + count + column] = force[column] / size * share
            state[1 + 2 * count + column] = before[column] / size * share
            state[1 + 3 * count + column] = added[column] / unit * share
