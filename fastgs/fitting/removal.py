"""What relocation asks of a fit: by how much the error grows if a Gaussian goes, and where the error is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastgs.fitting import removal_kernels as kernels
from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import smooth
from fastgs.render import Backend, choose, cpu_kernels, rasterize, render
from fastgs.render.reference import EPSILON
from fastgs.runtime import threads
from fastgs.runtime.simd import LANES

# Parts of the work per thread; several, since they differ in cost and threads wake up late.
PARTS = 4

# Largest memory in bytes that is kept between calls. Of large images it would add to the peak of the steps.
KEPT_BYTES = 2**26


class Appraisal(NamedTuple):
    """What K Gaussians are worth.

    Attributes:
        removal: (K,) growth of the squared error if one goes, see `removal_errors`.
        errors: (H, W) squared errors of their rendering, summed over channels.
    """

    removal: Tensor
    errors: Tensor


class _Memory(NamedTuple):
    """Memory of `Appraiser`: arguments of `removal_kernels.appraise` of the same names."""

    planes: NDArray[np.float32]
    errors: NDArray[np.float32]
    factors: NDArray[np.float32]


class Appraiser:
    """Callable that appraises Gaussians on one target, with memory that is kept between calls.

    Args:
        target: (C, H, W) image.
    """

    def __init__(self, target: Tensor) -> None:
        self._target = target.contiguous()
        self._kept: _Memory | None = None

    @torch.no_grad()
    def __call__(self, gaussians: Gaussians, image: Callable[[], Tensor]) -> Appraisal:
        """Return what the Gaussians are worth; the errors are valid until the next call.

        On the CPU, and by the normalized rule, one rendering serves both.

        Args:
            gaussians: K Gaussians on the canvas of the target, K at least 1.
            image: Callable that renders them, (C, H, W).
        """
        fast = choose(gaussians.means, "auto") == "cpu" and gaussians.blend == "normalized"
        if fast and gaussians.channels <= cpu_kernels.MOST_CHANNELS:
            return self._appraise(gaussians)
        rendered = image()
        return Appraisal(removal_errors(gaussians, rendered), (rendered - self._target).square().sum(0))

    def _appraise(self, gaussians: Gaussians) -> Appraisal:
        channels, height, width = self._target.shape
        stride = width + LANES - 1  # the last vector of a row may reach this far
        memory = self._kept or _allocate(channels, height, width, stride)
        if sum(each.nbytes for each in memory) <= KEPT_BYTES:
            self._kept = memory
        workers = threads.num_threads()
        means, scales, rotations, colors = (
            getattr(gaussians, name).detach().contiguous().numpy()
            for name in ("means", "scales", "rotations", "colors")
        )
        offsets, pitches = np.array([0, len(means)]), np.ones((1, 2), np.float32)
        parts = threads.parts(len(means), PARTS * workers)
        frames, rows = np.empty((2, len(means), cpu_kernels.FRAME), np.float32), np.empty((2, len(means), 2), np.int64)
        # The square of a Gaussian is one with scales divided by sqrt(2).
        for number, size in enumerate((scales, scales / np.float32(math.sqrt(2)))):
            inputs = (means, size, rotations, offsets, pitches, height, frames[number], rows[number])
            threads.run(cpu_kernels.prepare, inputs, parts)
        edges = np.empty(PARTS * workers + 1, np.int64)
        cpu_kernels.bands(frames[0], rows[0], np.zeros(height + 1), edges)
        bands = [(int(top), int(bottom)) for top, bottom in pairwise(edges) if top < bottom]
        drawn = (means, frames[0], rows[0], colors, (kernels.ZERO,) * channels, offsets, pitches)
        outputs = (memory.planes, self._target.numpy(), memory.errors, memory.factors)
        threads.run(kernels.appraise, (*drawn, stride, *outputs), bands)
        sums = torch.empty(len(means), channels + kernels.MORE)
        zeros = (kernels.ZERO,) * sums.shape[1]
        squares = (means, frames[1], rows[1], zeros, height, width, stride, memory.factors, sums.numpy())
        threads.run(kernels.gather, squares, parts)
        linear, rest = sums[:, :channels], sums[:, channels:]
        return Appraisal(_expand(gaussians.colors, linear, rest), torch.from_numpy(memory.errors))


def _allocate(channels: int, height: int, width: int, stride: int) -> _Memory:
    planes = np.empty(height * cpu_kernels.count_planes(channels) * stride, np.float32)
    factors = np.empty(height * (channels + kernels.MORE) * stride, np.float32)
    return _Memory(planes, np.empty((height, width), np.float32), factors)


def _expand(colors: Tensor, linear: Tensor, rest: Tensor) -> Tensor:
    """Return (K,) sums of squares from (K, C) colours and the sums that they are multiplied by, (K, C) and (K, 2)."""
    return (colors.square().sum(1) * rest[:, 0] - 2 * (colors * linear).sum(1) + rest[:, 1]).clamp(min=0)


def smooth_errors(errors: Tensor, sigma: float) -> Tensor:
    """Blur (H, W) errors by a Gaussian of so many pixels, as `fastgs.initializers.filters.smooth` does, but faster."""
    if errors.device.type != "cpu" or errors.dtype != torch.float32:
        return smooth(errors, sigma)
    radius = math.ceil(3 * sigma)
    taps = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    smoothed = torch.empty_like(errors, memory_format=torch.contiguous_format)
    weights = np.array([tap / sum(taps) for tap in taps], np.float32)
    parts = threads.parts(len(errors), PARTS * threads.num_threads())
    threads.run(kernels.smooth, (errors.contiguous().numpy(), weights, smoothed.numpy()), parts)
    return smoothed


@torch.no_grad()
def removal_errors(gaussians: Gaussians, image: Tensor, backend: Backend = "auto") -> Tensor:
    """Return, (K,), by how much the squared error of a well fitted image grows if a Gaussian goes, to second order.

    Under the normalized rule, with weights G_k and W = sum_k G_k, the image I changes by -G_k (c_k - I) / W. The first
    order of the error vanishes where the fit has converged; the second is the sum of squares of that change,

        sum_x G_k^2 (|c_k|^2 - 2 c_k I + |I|^2) / W^2,

    where G_k^2 is a Gaussian with scales divided by sqrt(2): its sums against images are what the rasterizer under the
    sum rule gives as gradients of colours.
    """
    ones = torch.ones_like(gaussians.colors[:, :1])
    weights = render(replace(gaussians, colors=ones, blend="sum", alpha=False), backend=backend) + EPSILON
    squared = weights.square()
    energy = image.square().sum(0, keepdim=True)
    linear = _sum_over_pixels(gaussians, image / squared, backend)
    planes = torch.cat([1 / squared, energy / squared])
    rest = _sum_over_pixels(gaussians, planes, backend)
    return _expand(gaussians.colors, linear, rest)


def _sum_over_pixels(gaussians: Gaussians, images: Tensor, backend: Backend) -> Tensor:
    """Return (K, C) sums over pixels of the squared weight of each Gaussian times each channel of (C, H, W)."""
    with torch.enable_grad():
        colors = gaussians.colors.new_zeros(len(gaussians), len(images)).requires_grad_()
        rendered = rasterize(
            gaussians.means,
            gaussians.scales / 2**0.5,
            gaussians.rotations,
            colors,
            counts=[len(gaussians)],
            pitches=[(1.0, 1.0)],
            height=gaussians.height,
            width=gaussians.width,
            blend="sum",
            backend=backend,
        )
        (result,) = torch.autograd.grad(rendered, colors, images[None].contiguous())
    return result
