"""numba kernels of SSIM on the CPU in float32: the loss, and its gradient with respect to the image.

Along each axis, blurring with a window of 11 taps and mirrored borders is a matrix with 11 diagonals, and so is its
transpose, which the gradient needs. `taps` returns the diagonals of both, so that all blurs are the same two loops:
along y, eight columns at a time, into one row that stays in the cache, then along x. Every thread owns the rows that it
writes, and sums are kept by row, so the result is the same to the bit for any number of threads.

With m, n, q, r the window's means of image x, of target y, of x y and of (x - y)^2,

    SSIM = a1 / b1 a2 / b2,  a1 = 2 m n + C1,  b1 = a1 + (m - n)^2,  a2 = 2 (q - m n) + C2,  b2 = a2 + r - (m - n)^2

in each pixel, and dL/dx = B' dL/dm + y B' dL/dq + 2 (x - y) B' dL/dr, where B' is the transposed blur.
Because of the differences in these equations, SSIM is exactly 1 and its gradient exactly 0 where image and target are
equal. The number of channels is that of the arrays.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fastgs.runtime.jit import jit
from fastgs.runtime.simd import LANES, fma, horizontal_sum, load, minimum, splat, store

RADIUS, SIGMA = 5, 1.5  # of the window, in pixels
TAPS = 2 * RADIUS + 1
C1, C2 = np.float32(0.01**2), np.float32(0.03**2)  # (K1 L)^2 and (K2 L)^2 of the paper, with the data range L = 1
# Lower bound of b2. b2 - C2 is a sum of variances, which only rounding makes negative: strongly so where pixels are far
# beyond [0, 1].
LEAST_B2 = C2 / 2
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)

# Planes of a row of window means: of x, y, x y and (x - y)^2.
MEANS = 4
OF_IMAGE, OF_TARGET, OF_PRODUCT, OF_SQUARE = range(MEANS)
# Planes of a row of partial derivatives, one channel: with respect to m, q and r, the last of them doubled.
PARTIALS = 3
BY_MEAN, BY_PRODUCT, BY_SQUARE = range(PARTIALS)


@lru_cache(maxsize=16)
def taps(length: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the diagonals, both (11, length + LANES), of the blur along an axis and of its transpose.

    Output i is the sum over t of `taps[t, i] * input[i + t - 5]`. Inputs beyond the border count as 0; their mirrored
    weights are added to the taps of the pixels inside. The last LANES columns are 0.

    Args:
        length: Number of pixels along the axis, at least 6.
    """
    window = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    blur, transposed = np.zeros((2, TAPS, length + LANES))
    outputs = np.arange(length)
    for tap, weight in enumerate(window / window.sum()):
        inputs = np.abs(outputs + tap - RADIUS)
        inputs = length - 1 - np.abs(length - 1 - inputs)
        np.add.at(blur, (inputs - outputs + RADIUS, outputs), weight)
        np.add.at(transposed, (outputs - inputs + RADIUS, inputs), weight)
    return blur.astype(np.float32), transposed.astype(np.float32)


def stride(width: int) -> int:
    """Return the length of a line in the kernels' buffers: five columns on either side, and room for a last vector."""
    return width + 2 * RADIUS + LANES


@jit
def _moments_along_y(image, target, weights, y, height, width, line, lines):
    """Blur x, y, x y and (x - y)^2 along y, into MEANS lines; image and target are flat (H, W)."""
    for block in range(0, width, LANES):
        x = min(block, width - LANES)
        of_image, of_target, of_product, of_square = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
        for tap in range(max(0, RADIUS - y), min(TAPS, height + RADIUS - y)):
            at, weight = (y + tap - RADIUS) * width + x, splat(weights[tap, y])
            a, b = load(image, at), load(target, at)
            difference = a - b
            of_image, of_target = fma(weight, a, of_image), fma(weight, b, of_target)
            of_product = fma(weight, a * b, of_product)
            of_square = fma(weight, difference * difference, of_square)
        store(lines, OF_IMAGE * line + RADIUS + x, of_image)
        store(lines, OF_TARGET * line + RADIUS + x, of_target)
        store(lines, OF_PRODUCT * line + RADIUS + x, of_product)
        store(lines, OF_SQUARE * line + RADIUS + x, of_square)


@jit
def _partials_along_y(partials, weights, y, height, width, line, lines):
    """Blur the partial derivatives of one channel, flat (H, PARTIALS, line), along y, into PARTIALS lines."""
    for plane in range(PARTIALS):
        for x in range(0, width, LANES):
            total = splat(ZERO)
            for tap in range(max(0, RADIUS - y), min(TAPS, height + RADIUS - y)):
                row = (y + tap - RADIUS) * PARTIALS + plane
                total = fma(splat(weights[tap, y]), load(partials, row * line + x), total)
            store(lines, plane * line + RADIUS + x, total)


@jit
def _along_x(lines, weights, planes, width, line, blurred):
    """Blur lines along x. Column x is at `RADIUS + x` of a line and at x of the result, which is 0 beyond the width."""
    for plane in range(planes):
        for x in range(0, width, LANES):
            total = splat(ZERO)
            for tap in range(TAPS):
                total = fma(load(weights[tap], x), load(lines, plane * line + x + tap), total)
            store(blurred, plane * line + x, total)


@jit
def _compare(means, width, line, partials, base):
    """Return the sum over a row of 1 - SSIM; write the partial derivatives of SSIM into PARTIALS planes at `base`."""
    loss, one, two = splat(ZERO), splat(ONE), splat(TWO)
    for x in range(0, width, LANES):
        m, n = load(means, OF_IMAGE * line + x), load(means, OF_TARGET * line + x)
        product, difference = m * n, m - n
        square = difference * difference
        a1 = fma(two, product, splat(C1))
        a2 = fma(two, load(means, OF_PRODUCT * line + x) - product, splat(C2))
        b1, b2 = a1 + square, a2 + (load(means, OF_SQUARE * line + x) - square)
        b2 = b2 - minimum(b2 - splat(LEAST_B2), splat(ZERO))
        luminance, contrast = a1 / b1, a2 / b2
        similarity = luminance * contrast
        by_b1, by_b2 = two / b1, two / b2
        by_mean = by_b1 * (n * contrast - m * similarity) - by_b2 * (n * luminance - m * similarity)
        store(partials, base + BY_MEAN * line + x, by_mean)
        store(partials, base + BY_PRODUCT * line + x, by_b2 * (luminance - similarity))
        store(partials, base + BY_SQUARE * line + x, splat(ZERO) - by_b2 * similarity)
        loss = loss + (one - similarity)  # 0 beyond the width, where all means are
    return horizontal_sum(loss)


@jit
def forward(images, targets, down, across, width, line, partials, losses, start, stop):
    """Compute the loss of rows [start, stop) in all C channels of images that are at least 8 pixels wide.

    Args:
        images: (C, H W), flat.
        targets: (C, H W), flat.
        down: `taps` of H.
        across: `taps` of W.
        width: W.
        line: `stride` of W.
        partials: (C, H * PARTIALS * line), written: partial derivatives, row by row.
        losses: (C, H), written: sums of 1 - SSIM over the rows.
        start: First row.
        stop: End of the rows.
    """
    height = losses.shape[1]
    lines, means = np.zeros(MEANS * line, np.float32), np.empty(MEANS * line, np.float32)
    for channel in range(len(images)):
        for y in range(start, stop):
            _moments_along_y(images[channel], targets[channel], down, y, height, width, line, lines)
            _along_x(lines, across, MEANS, width, line, means)
            losses[channel, y] = _compare(means, width, line, partials[channel], y * PARTIALS * line)


@jit
def backward(images, targets, down, across, width, line, partials, factor, gradients, start, stop):
    """Compute rows [start, stop) of `gradients`, (C, H W): `factor` times the gradient of the sum of SSIM."""
    height = images.shape[1] // width
    lines, blurred = np.zeros(PARTIALS * line, np.float32), np.empty(PARTIALS * line, np.float32)
    for channel in range(len(images)):
        for y in range(start, stop):
            _partials_along_y(partials[channel], down, y, height, width, line, lines)
            _along_x(lines, across, PARTIALS, width, line, blurred)
            by_mean = blurred[BY_MEAN * line : BY_MEAN * line + width]
            by_product = blurred[BY_PRODUCT * line : BY_PRODUCT * line + width]
            by_square = blurred[BY_SQUARE * line : BY_SQUARE * line + width]
            image, target = images[channel, y * width : (y + 1) * width], targets[channel, y * width : (y + 1) * width]
            gradient = gradients[channel, y * width : (y + 1) * width]
            for x in range(width):
                total = by_mean[x] + target[x] * by_product[x] + (image[x] - target[x]) * by_square[x]
                gradient[x] = factor * total
