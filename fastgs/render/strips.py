"""Rendering of images that are larger than the memory, a strip of rows after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastgs.definition import GaussianArrays
from fastgs.render.cpu_arrays import Floats, Region, render_window

# Largest number of samples that are drawn at a time; they take about 40 bytes each.
MOST_SAMPLES = 2**22


def render_strips(
    gaussians: GaussianArrays, height: int, width: int, rows: int = 256, antialias: bool = False
) -> Iterator[Floats]:
    """Yield the strips of an image from top to bottom.

    The pixels are those of `fastgs.render.cpu_arrays.render` but for rounding. Memory follows the size of a strip, and
    is bounded by the Gaussians themselves, one strip of pixels, and the drawing of `MOST_SAMPLES` samples.

    Args:
        gaussians: K Gaussians, K from 0 up.
        height: Height of the image in pixels, at least 1.
        width: Width of the image in pixels, at least 1.
        rows: Rows of a strip; the last one may have fewer.
        antialias: If true, each pixel is the mean over its area where the image is smaller than the canvas.

    Yields:
        (C, rows, W) float32, not clamped.

    Example:
        for strip in render_strips(gaussians.arrays(), gaussians.height, gaussians.width):
            print(strip.mean())
    """
    per_pixel = 1
    if antialias:
        per_pixel = -(-gaussians.height // height) * -(-gaussians.width // width)
    for top in range(0, height, rows):
        tall = min(rows, height - top)
        # Blocks of the strip: whole columns of it, or parts of these where each pixel is the mean of many samples.
        high = max(1, min(tall, MOST_SAMPLES // per_pixel))
        wide = max(1, min(width, MOST_SAMPLES // (per_pixel * high)))
        strip = np.empty((gaussians.channels, tall, width), np.float32)
        for y in range(0, tall, high):
            for x in range(0, width, wide):
                part = Region(x, top + y, min(wide, width - x), min(high, tall - y))
                block = render_window(gaussians, height, width, part, antialias)
                strip[:, y : y + part.height, x : x + part.width] = block
        yield strip
