"""Kernels of `fastgs.models.inference`: between pixels, Gaussians and cells of FOLD x FOLD pixels."""

from __future__ import annotations

from fastgs.runtime.jit import jit

FOLD = 2  # that of fastgs.models.unet


@jit
def fold(planes, extra, width, folded, start, stop):
    """Fold planes, and one number for each image, into the channels of cells; beyond the borders they are repeated.

    Args:
        planes: (B, C, H, W) float32 planes.
        extra: (B, D) float32 numbers, each of which is a further plane.
        width: Number of cells in a row.
        folded: (B h, w FOLD FOLD (C + D)) float32 cells of rows of images one below the other.
        start: First row of cells.
        stop: End of the rows.
    """
    images, channels, rows, columns = planes.shape
    height = len(folded) // images
    total = channels + extra.shape[1]
    for row in range(start, stop):
        image, result = row // height, folded[row].reshape(width * FOLD, FOLD * total)
        top = (row - image * height) * FOLD
        for dy in range(FOLD):
            y = min(top + dy, rows - 1)
            for channel in range(channels):
                source = planes[image, channel, y]
                for cell in range(width):
                    for dx in range(FOLD):
                        x = min(cell * FOLD + dx, columns - 1)
                        result[cell * FOLD + dy, dx * total + channel] = source[x]
            for channel in range(extra.shape[1]):
                for cell in range(width):
                    for dx in range(FOLD):
                        result[cell * FOLD + dy, dx * total + channels + channel] = extra[image, channel]


@jit
def spread(begin, offsets, columns, terms, contributions, height, channels, sums, start, stop):
    """Add what Gaussians contribute to the cells around theirs, as a 3 x 3 convolution would.

    Args:
        begin: (R, w C) float32 values that the sums begin with; R rows of cells, of images one below the other.
        offsets: (R + 1,) first Gaussian of each row of cells.
        columns: (N,) column of the cell of each Gaussian, by row.
        terms: (N,) row of `contributions` of each Gaussian.
        contributions: (N, 3, 3 C) float32 contributions to the cells around, row by row.
        height: Number of rows of cells of an image.
        channels: C.
        sums: (R, w C) float32 result.
        start: First row of cells.
        stop: End of the rows.
    """
    width = sums.shape[1]
    for row in range(start, stop):
        result = sums[row]
        result[:] = begin[row]
        for dy in range(-1, 2):
            if not 0 <= row % height + dy < height:
                continue
            for i in range(offsets[row + dy], offsets[row + dy + 1]):
                # The cells to the left, at and to the right of a Gaussian lie side by side.
                left = (columns[i] - 1) * channels
                first, last = max(left, 0), min(left + 3 * channels, width)
                cells, term = result[first:last], contributions[terms[i], 1 - dy, first - left : last - left]
                for k in range(len(cells)):
                    cells[k] += term[k]


@jit
def gather(features, rows, columns, height, found, start, stop):
    """Copy the features of the 3 x 3 cells around those of Gaussians; beyond the borders they are 0.

    Args:
        features: (R, w, C) features, of any type, of R rows of cells, of images one below the other.
        rows: (N,) row of the cell of each Gaussian.
        columns: (N,) column of the cell of each Gaussian.
        height: Number of rows of cells of an image.
        found: (N, 9, C) result.
        start: First Gaussian.
        stop: End of the Gaussians.
    """
    width, channels = features.shape[1:]
    for i in range(start, stop):
        for dy in range(3):
            for dx in range(3):
                y, x, result = rows[i] % height + dy - 1, columns[i] + dx - 1, found[i, dy * 3 + dx]
                if 0 <= y < height and 0 <= x < width:
                    source = features[rows[i] + dy - 1, x]
                    for channel in range(channels):
                        result[channel] = source[channel]
                else:
                    for channel in range(channels):
                        result[channel] = 0
