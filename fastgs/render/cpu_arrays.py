"""The rasterizer on the CPU for float32 arrays, without torch: cpu_kernels.py and cpu_topk_kernels.py in threads."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgs.definition import CUTOFF, GaussianArrays
from fastgs.render import cpu_geometry_kernels as geometry
from fastgs.render import cpu_kernels as kernels
from fastgs.render import cpu_topk_kernels as top_kernels
from fastgs.runtime import threads

# Parts of the work per thread; several, since they differ in cost and threads wake up late.
PARTS = 4

Floats = NDArray[np.float32]


class Layout(NamedTuple):
    """Geometry of a batch.

    Attributes:
        frames: Flat, and
        bounds: and
        spans: what cpu_geometry_kernels.py says; all with room for whole blocks of Gaussians.
        offsets: (B + 1,); image b has the Gaussians [offsets[b], offsets[b + 1]).
        pitches: (B, 2) distances of neighbouring pixels in y and x, in pixels of the canvas.
        bands: Intervals [top, bottom) of rows with about equal cost.
    """

    frames: Floats
    bounds: NDArray[np.int32]
    spans: NDArray[np.int32]
    offsets: NDArray[np.int64]
    pitches: Floats
    bands: list[tuple[int, int]]


class Region(NamedTuple):
    """Part of an image, in its pixels.

    Attributes:
        x: First column.
        y: First row.
        width: Number of columns, at least 1.
        height: Number of rows, at least 1.
    """

    x: int
    y: int
    width: int
    height: int


class Drawn(NamedTuple):
    """Images, and what their gradients take.

    Attributes:
        images: (B, C, H, W).
        layout: Geometry of the batch.
        planes: Accumulated planes of all rows, flat, see `fastgs.render.cpu_kernels.forward`.
        stride: Length of a row of a plane.
    """

    images: Floats
    layout: Layout
    planes: Floats
    stride: int


def count_channels(channels: int) -> tuple[np.float32, ...]:
    """Return the tuple of zeros that tells kernels the number of channels."""
    return (geometry.ZERO,) * channels


def count_groups(channels: int) -> int:
    """Return the number of groups of channels, of at most MOST_CHANNELS, that are rendered one after the other."""
    return -(-channels // kernels.MOST_CHANNELS)


def count_blocks(number: int) -> int:
    """Return the number of blocks of so many Gaussians."""
    return -(-number // geometry.BLOCK)


def make_planes(rows: int, channels: int, stride: int) -> Floats:
    """Return planes (rows, planes, stride), flat, with the spare rows of cpu_kernels.py and nothing in the others."""
    per_row = kernels.count_planes(channels) * stride
    planes = np.empty((rows + kernels.SPARE_ROWS) * per_row, np.float32)
    planes[-per_row:] = 0
    return planes


def split_rows(layout: Layout, count: int, rows: int) -> list[tuple[int, int]]:
    """Return bands [top, bottom) of the rows of a batch, of about equal cost and several for each thread of many.

    Args:
        layout: Geometry of the batch; its own bands are not used.
        count: Number of Gaussians.
        rows: Number of rows of all images together.
    """
    number = threads.num_threads()
    if number == 1:
        return [(0, rows)]
    edges = np.empty(PARTS * number + 1, np.int64)
    geometry.bands(layout.frames, layout.bounds, count, np.zeros(rows + 1), edges)
    return [(int(top), int(bottom)) for top, bottom in pairwise(edges) if top < bottom]


def lay_out(
    means: Floats,
    scales: Floats,
    rotations: Floats,
    counts: list[int],
    pitches: list[tuple[float, float]],
    height: int,
    width: int,
) -> Layout:
    """Return the geometry of a batch; the arguments are those of `draw`."""
    blocks = count_blocks(len(means))
    layout = Layout(
        frames=np.empty(blocks * geometry.BLOCK * geometry.FRAME, np.float32),
        bounds=np.empty((3, blocks * geometry.BLOCK), np.int32),
        spans=np.empty((blocks, 2), np.int32),
        offsets=np.cumsum([0, *counts]),
        pitches=np.asarray(pitches, np.float32),
        bands=[],
    )
    threads.run(
        geometry.prepare,
        (means, scales, rotations, layout.offsets, layout.pitches, height, width, *layout[:3]),
        threads.shares(blocks, 2),
    )
    return layout._replace(bands=split_rows(layout, len(means), len(counts) * height))


def draw(
    means: Floats,
    scales: Floats,
    rotations: Floats,
    colors: Floats,
    counts: list[int],
    pitches: list[tuple[float, float]],
    height: int,
    width: int,
    normalized: bool,
    top_k: int | None = None,
    rows: tuple[int, int] | None = None,
) -> Drawn:
    """Render a ragged batch of contiguous float32 arrays of at most MOST_CHANNELS channels.

    The arguments are those of `fastgs.render.rasterize`, and `rows`, the first row and the end of those that are drawn
    in a batch of one image; the others hold anything, and take no time, nor memory where pages are given when used.
    """
    layout = lay_out(means, scales, rotations, counts, pitches, height, width)
    if rows is not None:
        bands = [(max(top, rows[0]), min(bottom, rows[1])) for top, bottom in layout.bands]
        layout = layout._replace(bands=[(top, bottom) for top, bottom in bands if top < bottom])
    stride = width + kernels.MARGIN
    channels = colors.shape[1]
    planes = make_planes(len(counts) * height, channels, stride)
    images = np.empty((len(counts), channels, height, width), np.float32)
    shared = colors, count_channels(channels), layout.offsets, stride, planes, images, normalized
    if top_k is None:
        threads.run(kernels.forward, (layout.frames, layout.bounds, layout.spans, *shared), layout.bands)
    else:
        threads.run(top_kernels.forward, (layout.frames, layout.bounds, *shared, top_k), layout.bands)
    return Drawn(images, layout, planes, stride)


def render(
    gaussians: GaussianArrays, height: int, width: int, antialias: bool = False, region: Region | None = None
) -> Floats:
    """Return the (C, H, W) image that `fastgs.render` makes of the same Gaussians, bit for bit.

    Args:
        gaussians: K Gaussians, K from 0 up.
        height: Height of the image in pixels, at least 1.
        width: Width of the image in pixels, at least 1.
        antialias: If true, each pixel is the mean over its area where the image is smaller than the canvas.
        region: Part of the image to draw alone: exactly the pixels that the whole image has there, in a time that
            follows the Gaussians and the rows of the part. By default the whole image.

    Raises:
        ValueError: The region is empty or not within the image; the message begins with "region: ".
    """
    region = region or Region(0, 0, width, height)
    check_region(region, height, width)
    rows, columns = 1, 1
    if antialias:
        rows, columns = math.ceil(gaussians.height / height), math.ceil(gaussians.width / width)
    pitches = [(gaussians.height / (height * rows), gaussians.width / (width * columns))]
    if region != (0, 0, width, height):
        gaussians = select_reaching(gaussians, region, gaussians.height / height, gaussians.width / width)
    # The part in samples.
    left, top = region.x * columns, region.y * rows
    right, bottom = left + region.width * columns, top + region.height * rows
    image = _draw_samples(gaussians, pitches, height * rows, width * columns, (top, bottom))[:, top:bottom, left:right]
    return _average(image, rows, columns)


def render_window(
    gaussians: GaussianArrays, height: int, width: int, region: Region, antialias: bool = False
) -> Floats:
    """Return a part of an image of any size, in memory that follows the part alone.

    The pixels are those of `render` but for rounding: positions are taken from the corner of the part.

    Args:
        gaussians: K Gaussians, K from 0 up.
        height: Height of the image in pixels, at least 1.
        width: Width of the image in pixels, at least 1.
        region: Part of the image.
        antialias: If true, each pixel is the mean over its area where the image is smaller than the canvas.

    Returns:
        (C, h, w) pixels of the part.

    Raises:
        ValueError: The region is empty or not within the image; the message begins with "region: ".
    """
    check_region(region, height, width)
    rows, columns = 1, 1
    if antialias:
        rows, columns = math.ceil(gaussians.height / height), math.ceil(gaussians.width / width)
    pitch_y, pitch_x = gaussians.height / height, gaussians.width / width
    near = select_reaching(gaussians, region, pitch_y, pitch_x)
    corner = np.array([region.x * pitch_x, region.y * pitch_y])
    near = replace(near, means=(near.means - corner).astype(np.float32))
    pitches = [(pitch_y / rows, pitch_x / columns)]
    return _average(_draw_samples(near, pitches, region.height * rows, region.width * columns), rows, columns)


def _draw_samples(
    gaussians: GaussianArrays,
    pitches: list[tuple[float, float]],
    height: int,
    width: int,
    rows: tuple[int, int] | None = None,
) -> Floats:
    """Return (C, H, W) samples of any number of channels; the arguments are those of `draw`."""
    fields = (gaussians.means, gaussians.scales, gaussians.rotations)
    means, scales, rotations = (np.ascontiguousarray(field) for field in fields)
    options = ([len(gaussians)], pitches, height, width, gaussians.blend == "normalized")
    groups = np.array_split(gaussians.colors, count_groups(gaussians.channels), axis=1)
    images = [
        draw(means, scales, rotations, np.ascontiguousarray(group), *options, rows=rows).images[0] for group in groups
    ]
    return np.concatenate(images) if len(images) > 1 else images[0]


def _average(samples: Floats, rows: int, columns: int) -> Floats:
    """Return the means of rows x columns samples."""
    if rows * columns == 1:
        return np.ascontiguousarray(samples)
    # The sum is taken in the order of torch's average pooling.
    channels, height, width = samples.shape
    total = np.zeros((channels, height // rows, width // columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            total += samples[:, row::rows, column::columns]
    total /= np.float32(rows * columns)
    return total


def render_inverses(gaussians: GaussianArrays, region: Region | None = None) -> Floats:
    """Return the image at the size of the canvas, by the rule "normalized", and what it divides by.

    Args:
        gaussians: K Gaussians of at most MOST_CHANNELS channels.
        region: Part of the image, as for `render`; by default the whole image.

    Returns:
        (C + 1, H, W); the last plane is 1 / (sum of weights + EPSILON).
    """
    height, width = gaussians.height, gaussians.width
    region = region or Region(0, 0, width, height)
    check_region(region, height, width)
    if region != (0, 0, width, height):
        gaussians = select_reaching(gaussians, region, 1.0, 1.0)
    rows, columns = slice(region.y, region.y + region.height), slice(region.x, region.x + region.width)
    fields = (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.colors)
    means, scales, rotations, colors = (np.ascontiguousarray(field) for field in fields)
    batch = [len(gaussians)], [(1.0, 1.0)], height, width, True
    drawn = draw(means, scales, rotations, colors, *batch, rows=(rows.start, rows.stop))
    planes = kernels.count_planes(gaussians.channels)
    inverses = drawn.planes[: height * planes * drawn.stride].reshape(height, planes, drawn.stride)[:, 0]
    return np.concatenate([drawn.images[0, :, rows, columns], inverses[None, rows, columns]])


def check_region(region: Region, height: int, width: int) -> None:
    """Check that a part has pixels, and lies within the image.

    Raises:
        ValueError: It does not; the message begins with "region: ".
    """
    x, y = region.x, region.y
    if min(region.width, region.height) < 1:
        raise ValueError(f"region: must have at least one pixel, got {region.width} x {region.height}")
    if min(x, y) < 0 or x + region.width > width or y + region.height > height:
        part = f"{region.width} x {region.height} pixels at {x}, {y}"
        raise ValueError(f"region: {part} are not within the image of {width} x {height} pixels")


def select_reaching(gaussians: GaussianArrays, region: Region, pitch_y: float, pitch_x: float) -> GaussianArrays:
    """Return the Gaussians whose support reaches a part of the image, and perhaps a few more.

    Args:
        gaussians: Gaussians.
        region: Part of the image.
        pitch_y: Distance of neighbouring rows in pixels of the canvas.
        pitch_x: Distance of neighbouring columns in pixels of the canvas.
    """
    cosine, sine = np.cos(gaussians.rotations), np.sin(gaussians.rotations)
    first, second = gaussians.scales.T
    apart = np.zeros(len(gaussians), bool)
    for center, along, across, start, size, pitch in (
        (gaussians.means[:, 0], cosine, sine, region.x, region.width, pitch_x),
        (gaussians.means[:, 1], sine, cosine, region.y, region.height, pitch_y),
    ):
        # Two pixels and a thousandth more than the support, against rounding.
        reach = 1.001 * CUTOFF * np.hypot(first * along, second * across) + 2 * pitch
        apart |= (center + reach < start * pitch) | (center - reach > (start + size) * pitch)
    fields = {name: getattr(gaussians, name)[~apart] for name in ("means", "scales", "rotations", "colors")}
    return replace(gaussians, **fields)
