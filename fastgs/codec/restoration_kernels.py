"""Kernel of the network of restoration: a 3 x 3 convolution of planes, by rows.

Planes are flat, (channels, rows + 2, stride), with a border of zeros on all sides: pixel (row, column) of a plane is
at `(row + 1) stride + column + 1`. Rows have room for whole steps of columns.
"""

from __future__ import annotations

import numpy as np

from fastgs.runtime.jit import jit
from fastgs.runtime.simd import load_wide
from fastgs.runtime.simd_tuples import add_loaded, fma_each, leak_each, read_row, splat_each_like, store_each

LANES = 16
STEP = 2 * LANES  # columns that are computed at once
# Channels that are computed at once. With two vectors for each, their sums are in registers, and a weight is read once
# for both: 6 channels give 107 billion multiplications a second on one core, 8 as many, 12 a quarter (AVX-512).
GROUP = 6
ZEROS = (np.float32(0),) * GROUP


@jit
def convolve(
    source, weights, biases, zeros, channels, height, width, stride, kept, adds, keeps, slope, result, start, stop
):
    """Convolve rows [start, stop) of planes with 3 x 3 weights, add other planes, and apply the leaky rectifier.

    Args:
        source: Planes of `channels` channels, as above.
        weights: (groups channels 9, GROUP) weights: of each group of results, for each channel and place, row by row.
        biases: (groups, GROUP) biases.
        zeros: GROUP zeros.
        channels: Number of channels of the source.
        height: Number of rows of a plane, without the border.
        width: Number of columns of a plane, without the border.
        stride: Length of a row, with the border.
        kept: Planes of the shape of the result, whose border means nothing.
        adds: True to add the kept planes to the sums.
        keeps: True to keep the sums in their place, as they are before the rectifier.
        slope: Factor of negative results, from 0 to 1; 1 for none.
        result: Planes of groups GROUP channels, whose first and last row stay as they are.
        start: First row.
        stop: End of the rows.
    """
    plane = (height + 2) * stride
    for row in range(start, stop):
        for x in range(0, width, STEP):
            for group in range(len(biases)):
                index = group * channels * 9
                place = row * stride + x
                first = splat_each_like(load_wide(source, place), read_row(biases, group, zeros))
                second = first
                for _ in range(channels):
                    line = place
                    for _ in range(3):
                        for shift in range(3):
                            # Each number of the row is spread over the lanes when it is used.
                            factors = splat_each_like(load_wide(source, line), read_row(weights, index, zeros))
                            first = fma_each(load_wide(source, line + shift), factors, first)
                            second = fma_each(load_wide(source, line + shift + LANES), factors, second)
                            index += 1
                        line += stride
                    place += plane
                target = group * len(zeros) * plane + (row + 1) * stride + x + 1
                if adds:
                    first = add_loaded(kept, target, plane, first)
                    second = add_loaded(kept, target + LANES, plane, second)
                if keeps:
                    store_each(kept, target, plane, first)
                    store_each(kept, target + LANES, plane, second)
                store_each(result, target, plane, leak_each(first, slope))
                store_each(result, target + LANES, plane, leak_each(second, slope))
        for channel in range(len(biases) * len(zeros)):
            line = channel * plane + (row + 1) * stride
            # What was computed beyond the last column is not of the image.
            result[line + width + 1 : line + stride] = ZEROS[0]
