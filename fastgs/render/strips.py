"""Rendering of images that are larger than the memory, a strip of rows after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastgs.definition import GaussianArrays
from fastgs.render.cpu_arrays import Floats, Region, check_region, render_window

# Largest number of samples that are drawn at a time; they take about 40 bytes each.
MOST_SAMPLES = 2**22


def render_strips(
    gaussians: GaussianArrays,
    height: int,
    width: int,
    rows: int = 256,
    antialias: bool = False,
    region: Region | None = None,
) -> Iterator[Floats]:
    """Yield the strips of an image, or of a part of it, from top to bottom.

    The pixels are those of `fastgs.render.cpu_arrays.render` but for rounding. Memory follows the size of a strip, and
    is bounded by the Gaussians themselves, one strip of pixels, and the drawing of `MOST_SAMPLES` samples.

    Args:
        gaussians: K Gaussians, K from 0 up.
        height: Height of the image in pixels, at least 1.
        width: Width of the image in pixels, at least 1.
        rows: Rows of a strip; the last one may have fewer.
        antialias: If true, each pixel is the mean over its area where the image is smaller than the canvas.
        region: Part of the image; by default all of it.

    Yields:
        (C, rows, W) float32, not clamped; W is the width of the part.

    Raises:
        ValueError: The region is empty or not within the image; the message begins with "region: ".

    Example:
        for strip in render_strips(gaussians.arrays(), gaussians.height, gaussians.width):
            print(strip.mean())
    """
    per_pixel = 1
    if antialias:
        per_pixel = -(-gaussians.height // height) * -(-gaussians.width // width)
    region = region or Region(0, 0, width, height)
    check_region(region, height, width)
    for top in range(0, region.height, rows):
        tall = min(rows, region.height - top)
        # Blocks of the strip: whole columns of it, or parts of these where each pixel is the mean of many samples.
        high = max(1, min(tall, MOST_SAMPLES // per_pixel))
        wide = max(1, min(region.width, MOST_SAMPLES // (per_pixel * high)))
        strip = np.empty((gaussians.channels, tall, region.width), np.float32)
        for y in range(0, tall, high):
            for x in range(0, region.width, wide):
                size = min(wide, region.width - x), min(high, tall - y)
                part = Region(region.x + x, region.y + top + y, *size)
                block = render_window(gaussians, height, width, part, antialias)
                strip[:, y : y + part.height, x : x + part.width] = block
        yield strip
