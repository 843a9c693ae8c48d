"""Kernels of `fastgs.models.inference`: between pixels, Gaussians and cells of FOLD x FOLD pixels."""

from __future__ import annotations

from fastgs.runtime.jit import jit
from fastgs.runtime.simd import load_wide, splat_like
from fastgs.runtime.simd_tuples import fma_each, load_each, splat_each_like, store_each

FOLD = 2  # that of fastgs.models.unet
WIDE = 16  # lanes of the vectors


@jit
def fold(planes, factors, extra, image, start, height, width, folded):
    """Fold planes, and one number for each image, into the channels of cells; beyond the borders they are repeated.

    Args:
        planes: (B, C, H, W) float32 planes.
        factors: (B,) float32 factors of the planes.
        extra: (B, D) float32 numbers, each of which is a further plane.
        image: Number of the image.
        start: First row of cells that is asked for; those that the image does not have are 0.
        height: Number of rows of cells of an image.
        width: Number of cells in a row.
        folded: (n, w FOLD FOLD (C + D)) float32 rows of cells.
    """
    channels, rows, columns = planes.shape[1:]
    total, factor = channels + extra.shape[1], factors[image]
    for row in range(len(folded)):
        if not 0 <= start + row < height:
            folded[row] = 0
            continue
        result = folded[row].reshape(width * FOLD, FOLD * total)
        top = (start + row) * FOLD
        for dy in range(FOLD):
            y = min(top + dy, rows - 1)
            for channel in range(channels):
                source = planes[image, channel, y]
                for cell in range(width):
                    for dx in range(FOLD):
                        x = min(cell * FOLD + dx, columns - 1)
                        result[cell * FOLD + dy, dx * total + channel] = factor * source[x]
            for channel in range(extra.shape[1]):
                for cell in range(width):
                    for dx in range(FOLD):
                        result[cell * FOLD + dy, dx * total + channels + channel] = extra[image, channel]


@jit
def spread(
    begin, offsets, columns, pixels, sources, states, weights, zeros, height, image, start, channels, sums
):  # fmt: skip
    """Add what Gaussians contribute to the cells around theirs, as a 3 x 3 convolution of their states would.

    Args:
        begin: (R, w C) float32 values that the sums begin with; R rows of cells, of images one below the other.
        offsets: (R + 1,) first Gaussian of each row of cells.
        columns: (N,) column of the cell of each Gaussian, by row.
        pixels: (N,) pixel of the cell.
        sources: (N,) row of `states`.
        states: (M, S) float32 states.
        weights: Flat float32 (FOLD FOLD, 3, S, P): by pixel of the cell, contributions of states to the three cells of
            the row above, of the same row and of that below; P is 3 C, filled by zeros to whole vectors.
        zeros: Tuple of P / WIDE zeros.
        height: Number of rows of cells of an image.
        image: Number of the image.
        start: First row of cells that is asked for; of those that the image does not have, the result has no meaning.
        channels: C.
        sums: (n, room) float32 result, which begins with a cell to the left of the image, with room for P values from
            the last cell on.
    """
    wide, size = begin.shape[1], states.shape[1]
    step = len(zeros) * WIDE
    like = splat_each_like(load_wide(weights, 0), zeros)
    for index in range(len(sums)):
        result, row = sums[index], start + index
        if not 0 <= row < height:
            result[:] = 0
            continue
        result[channels : channels + wide] = begin[image * height + row]
        for dy in range(max(-1, -row), min(2, height - row)):
            other = image * height + row + dy
            for i in range(offsets[other], offsets[other + 1]):
                # The cells to the left, at and to the right of a Gaussian lie side by side.
                place, state = columns[i] * channels, states[sources[i]]
                weight = (pixels[i] * 3 + 1 - dy) * size * step
                total = load_each(result, place, WIDE, like)
                for k in range(size):
                    factor = splat_like(like[0], state[k])
                    total = fma_each(factor, load_each(weights, weight, WIDE, like), total)
                    weight += step
                store_each(result, place, WIDE, total)


@jit
def gather(features, rows, columns, height, width, found):
    """Copy the features of the 3 x 3 cells around those of Gaussians; beyond the borders they are 0.

    Args:
        features: (R, w C) features, of any type, of R rows of cells, of images one below the other.
        rows: (N,) row of the cell of each Gaussian.
        columns: (N,) column of the cell of each Gaussian.
        height: Number of rows of cells of an image.
        width: Number of cells in a row.
        found: (N, 9 C) result.
    """
    wide = features.shape[1]
    channels = wide // width
    for i in range(len(found)):
        row, left = rows[i] % height, (columns[i] - 1) * channels
        # The three cells of a row lie side by side.
        first, last = max(left, 0), min(left + 3 * channels, wide)
        for dy in range(3):
            result = found[i, dy * 3 * channels : (dy + 1) * 3 * channels]
            inside = 0 <= row + dy - 1 < height
            if not inside or last - first < len(result):
                for k in range(len(result)):
                    result[k] = 0
            if inside:
                source, target = features[rows[i] + dy - 1, first:last], result[first - left : last - left]
                for k in range(len(target)):
                    target[k] = source[k]
