"""The rasterizer on the CPU: cpu_kernels.py and cpu_topk_kernels.py as a differentiable function of float32 tensors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastgs.render import cpu_kernels as kernels
from fastgs.render import cpu_topk_kernels as top_kernels
from fastgs.runtime import threads
from fastgs.runtime.simd import LANES

# Parts of the work per thread; several, since they differ in cost and threads wake up late.
PARTS = 4


class _Layout(NamedTuple):
    """Geometry of a batch.

    Attributes:
        frames: (N, FRAME) of the Gaussians, with the columns of cpu_kernels.py.
        rows: (N, 2) first and last row of the batch that each Gaussian reaches.
        offsets: (B + 1,); image b has the Gaussians [offsets[b], offsets[b + 1]).
        pitches: (B, 2) distances of neighbouring pixels in y and x, in pixels of the canvas.
        bands: Intervals [top, bottom) of rows with about equal cost.
    """

    frames: NDArray[np.float32]
    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    pitches: NDArray[np.float32]
    bands: list[tuple[int, int]]


def _zeros(channels: int) -> tuple[np.float32, ...]:
    """Return the tuple that tells kernels the number of channels."""
    return (kernels.ZERO,) * channels


def _to_array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().contiguous().numpy()
    return array


def _lay_out(
    means: Tensor, scales: Tensor, rotations: Tensor, counts: list[int], pitches: list[tuple[float, float]], height: int
) -> _Layout:
    workers = threads.num_threads()
    frames, rows = np.empty((len(means), kernels.FRAME), np.float32), np.empty((len(means), 2), np.int64)
    offsets, pitch_array = np.cumsum([0, *counts]), np.asarray(pitches, np.float32)
    inputs = (_to_array(means), _to_array(scales), _to_array(rotations))
    threads.run(
        kernels.prepare, (*inputs, offsets, pitch_array, height, frames, rows), threads.parts(len(means), 2 * workers)
    )
    edges = np.empty(PARTS * workers + 1, np.int64)
    kernels.bands(frames, rows, np.zeros(len(counts) * height + 1), edges)
    bands = [(int(top), int(bottom)) for top, bottom in pairwise(edges) if top < bottom]
    return _Layout(frames, rows, offsets, pitch_array, bands)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        scales: Tensor,
        rotations: Tensor,
        colors: Tensor,
        counts: list[int],
        pitches: list[tuple[float, float]],
        height: int,
        width: int,
        normalized: bool,
        top_k: int | None,
    ) -> Tensor:
        layout = _lay_out(means, scales, rotations, counts, pitches, height)
        stride = width + LANES - 1  # the last vector of a row may reach this far
        channels = colors.shape[1]
        planes = np.empty(len(counts) * height * kernels.count_planes(channels) * stride, np.float32)
        images = torch.empty(len(counts), channels, height, width)
        gaussians = (_to_array(means), layout.frames, layout.rows, _to_array(colors), _zeros(channels))
        inputs = (*gaussians, layout.offsets, layout.pitches)
        outputs = (stride, planes, images.numpy(), normalized)
        if top_k is None:
            threads.run(kernels.forward, (*inputs, *outputs), layout.bands)
        else:
            threads.run(top_kernels.forward, (*inputs, *outputs, top_k), layout.bands)
        ctx.save_for_backward(means, scales, colors, images)
        ctx.kept = layout, planes, stride, normalized, top_k
        return images

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        means, scales, colors, images = ctx.saved_tensors
        layout, planes, stride, normalized, top_k = ctx.kept
        gradients = np.empty_like(planes)
        pixels = (planes, _to_array(images), _to_array(upstream[0]), stride, normalized, gradients)
        threads.run(kernels.pixel_gradients, pixels, layout.bands)
        results = [torch.empty(shape) for shape in (means.shape, scales.shape, means.shape[:1], colors.shape)]
        gaussians = (_to_array(means), _to_array(scales), layout.frames, layout.rows, _to_array(colors))
        batch = (_zeros(colors.shape[1]), layout.offsets, layout.pitches)
        inputs = (*gaussians, *batch, *images.shape[2:], stride, gradients)
        outputs = [result.numpy() for result in results]
        parts = threads.parts(len(means), PARTS * threads.num_threads())
        if top_k is None:
            threads.run(kernels.backward, (*inputs, *outputs), parts)
        else:
            threads.run(top_kernels.backward, (*inputs, planes, *outputs), parts)
        return *results, *[None] * 6  # counts, pitches, height, width, normalized, top_k


def rasterize(
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    counts: list[int],
    pitches: list[tuple[float, float]],
    height: int,
    width: int,
    normalized: bool,
    top_k: int | None = None,
) -> Tensor:
    """Render a ragged batch of float32 tensors on the CPU.

    The arguments are those of `fastgs.render.rasterize`. More than MOST_CHANNELS are rendered in groups.

    Returns:
        (B, C, H, W).
    """
    geometry, options = (means, scales, rotations), (counts, pitches, height, width, normalized, top_k)
    groups = torch.tensor_split(colors, -(-colors.shape[1] // kernels.MOST_CHANNELS), dim=1)
    images: list[Tensor] = [_Rasterize.apply(*geometry, group, *options) for group in groups]
    return images[0] if len(images) == 1 else torch.cat(images, dim=1)
