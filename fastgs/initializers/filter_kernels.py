"""numba kernels of filters: what operators of torch do plane by plane, in one pass over the rows of all planes.

They compute the same numbers, to the bit, where the processor has fused multiply-add, as torch uses it then. A photo of
64 x 64 pixels takes a tenth of the time of the operators, each of which costs more to call than to do.
"""

from __future__ import annotations

import numpy as np

from fastgs.runtime.jit import jit
from fastgs.runtime.simd import LANES, fma, load, splat, store

ZERO, TWO, FOUR = np.float32(0), np.float32(2), np.float32(4)


@jit
def smooth(planes, taps, smoothed, start, stop):
    """Blur rows [start, stop) of planes along both axes, see `fastgs.initializers.filters.smooth`.

    Args:
        planes: (N, H, W) float32 planes; the borders of each are repeated.
        taps: (2 R + 1,) float32 weights.
        smoothed: (N, H, W) result.
        start: First row, counted over all planes.
        stop: End of the rows.
    """
    _, height, width = planes.shape
    radius, whole = len(taps) // 2, width - width % LANES
    source, result = planes.reshape(-1), smoothed.reshape(-1)
    padded, bases = np.empty(width + 2 * radius, np.float32), np.empty(len(taps), np.int64)
    for y in range(start, stop):
        first = y - y % height  # of the plane
        for tap in range(len(taps)):
            bases[tap] = min(max(y + tap - radius, first), first + height - 1) * width
        for x in range(0, whole, LANES):
            total = splat(ZERO)
            for tap in range(len(taps)):
                total = fma(load(source, bases[tap] + x), splat(taps[tap]), total)
            store(padded, radius + x, total)
        for x in range(whole, width):
            single = ZERO
            for tap in range(len(taps)):
                single += source[bases[tap] + x] * taps[tap]
            padded[radius + x] = single
        padded[:radius] = padded[radius]
        padded[radius + width :] = padded[radius + width - 1]
        for x in range(0, whole, LANES):
            total = splat(ZERO)
            for tap in range(len(taps)):
                total = fma(load(padded, x + tap), splat(taps[tap]), total)
            store(result, y * width + x, total)
        for x in range(whole, width):
            single = ZERO
            for tap in range(len(taps)):
                single += padded[x + tap] * taps[tap]
            result[y * width + x] = single


@jit
def pad_row(plane, y, padded):
    """Copy row y of a plane, which may be one beyond its borders, with one more pixel at either end.

    What is outside is in line with the two pixels next to it, so that a ramp has no curvature at the border.

    Args:
        plane: (H, W) float32 plane.
        y: Row, from -1 to H.
        padded: (W + 2,) result.
    """
    height, width = plane.shape
    near = min(max(y, 0), height - 1)
    for x in range(width):
        padded[x + 1] = plane[near, x]
    if y != near and height > 1:
        far = near + (near - y)
        for x in range(width):
            padded[x + 1] = TWO * plane[near, x] - plane[far, x]
    padded[0], padded[width + 1] = padded[1], padded[width]
    if width > 1:
        padded[0] = TWO * padded[1] - padded[2]
        padded[width + 1] = TWO * padded[width] - padded[width - 1]


def _curvature(images, squared, start, stop):
    """Compute the squared Frobenius norm of the Hessian over space and channels in rows [start, stop).

    Args:
        images: (N, C, H, W) float32 images.
        squared: (N, H, W) result.
        start: First row, counted over all images.
        stop: End of the rows.
    """
    _, channels, height, width = images.shape
    above, row, below = np.empty((3, width + 2), np.float32)
    for line in range(start, stop):
        image, y = line // height, line % height
        out = squared[image, y]
        out[:] = ZERO
        for channel in range(channels):
            plane = images[image, channel]
            pad_row(plane, y - 1, above)
            pad_row(plane, y, row)
            pad_row(plane, y + 1, below)
            for x in range(width):
                twice = TWO * row[x + 1]
                xx = row[x + 2] + row[x] - twice
                yy = below[x + 1] + above[x + 1] - twice
                xy = (below[x + 2] + above[x] - below[x] - above[x + 2]) / FOUR
                out[x] += xx * xx + TWO * xy * xy + yy * yy


def _structure(images, xx, xy, yy, start, stop):
    """Compute the products of the first derivatives, summed over channels, in rows [start, stop).

    Args:
        images: (N, C, H, W) float32 images.
        xx: (N, H, W) squares of the derivatives in x.
        xy: (N, H, W) products of both.
        yy: (N, H, W) squares of the derivatives in y.
        start: First row, counted over all images.
        stop: End of the rows.
    """
    _, channels, height, width = images.shape
    above, row, below = np.empty((3, width + 2), np.float32)
    for line in range(start, stop):
        image, y = line // height, line % height
        out_xx, out_xy, out_yy = xx[image, y], xy[image, y], yy[image, y]
        out_xx[:] = out_xy[:] = out_yy[:] = ZERO
        for channel in range(channels):
            plane = images[image, channel]
            pad_row(plane, y - 1, above)
            pad_row(plane, y, row)
            pad_row(plane, y + 1, below)
            for x in range(width):
                dx, dy = (row[x + 2] - row[x]) / TWO, (below[x + 1] - above[x + 1]) / TWO
                out_xx[x] += dx * dx
                out_xy[x] += dx * dy
                out_yy[x] += dy * dy


# Without contraction, as the operators of torch compute them.
curvature = jit(_curvature, frozenset())
structure = jit(_structure, frozenset())
