"""The rasterizer on the CPU as a differentiable function of float32 tensors; cpu_arrays.py draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastgs.render import cpu_kernels as kernels
from fastgs.render import cpu_topk_kernels as top_kernels
from fastgs.render.cpu_arrays import PARTS, count_blocks, count_channels, count_groups, draw, make_planes
from fastgs.runtime import threads


def _to_array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().contiguous().numpy()
    return array


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
        inputs = (_to_array(means), _to_array(scales), _to_array(rotations), _to_array(colors))
        drawn = draw(*inputs, counts, pitches, height, width, normalized, top_k)
        images = torch.from_numpy(drawn.images)
        ctx.save_for_backward(means, scales, colors, images)
        ctx.kept = drawn.layout, drawn.planes, drawn.stride, normalized, top_k
        return images

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        means, scales, colors, images = ctx.saved_tensors
        layout, planes, stride, normalized, top_k = ctx.kept
        gradients = make_planes(len(images) * images.shape[2], images.shape[1], stride)
        pixels = (planes, _to_array(images), _to_array(upstream[0]), stride, normalized, gradients)
        threads.run(kernels.pixel_gradients, pixels, layout.bands)
        results = [torch.empty(shape) for shape in (means.shape, scales.shape, means.shape[:1], colors.shape)]
        gaussians = (_to_array(scales), layout.frames, layout.bounds, _to_array(colors))
        batch = (count_channels(colors.shape[1]), layout.offsets, layout.pitches)
        inputs = (*gaussians, *batch, *images.shape[2:], stride, gradients)
        outputs = [result.numpy() for result in results]
        parts = threads.shares(count_blocks(len(means)), PARTS)
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
    groups = torch.tensor_split(colors, count_groups(colors.shape[1]), dim=1)
    images: list[Tensor] = [_Rasterize.apply(*geometry, group, *options) for group in groups]
    return images[0] if len(images) == 1 else torch.cat(images, dim=1)
