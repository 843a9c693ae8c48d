"""Questions of relocation to a fit: by how much does the error grow if a Gaussian goes, and where is the error?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from fastgs.fitting import removal_kernels as kernels
from fastgs.fitting.parametrization import Attributes
from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import smooth
from fastgs.render import Backend, choose, cpu_kernels, rasterize, render
from fastgs.render.cpu_arrays import PARTS, Layout, count_channels, lay_out, make_planes
from fastgs.render.reference import EPSILON
from fastgs.runtime import threads

# Largest memory in bytes that is kept between calls. Of large images it would add to the peak of the steps.
KEPT_BYTES = 2**26


_T = TypeVar("_T")


class Appraisal:
    """Worth of K Gaussians on a target.

    Args:
        gaussians: K Gaussians.
        image: (C, H, W) their rendering.
        target: (C, H, W) target.

    Attributes:
        errors: (H, W) squared errors, summed over channels; valid until the next appraisal.
    """

    def __init__(self, gaussians: Gaussians, image: Tensor, target: Tensor) -> None:
        self._gaussians, self._image = gaussians, image
        self.errors = (image - target).square().sum(0)

    def removal_errors(self, task: Callable[[], _T]) -> tuple[Tensor, _T]:
        """Return `removal_errors` of these Gaussians, (K,), and the result of a task that does not need them.

        Args:
            task: Callable that may run in another thread at the same time.
        """
        return removal_errors(self._gaussians, self._image), task()


class _Memory(NamedTuple):
    """Memory that is kept from one appraisal to the next: arguments of `removal_kernels.appraise` of the same names."""

    planes: NDArray[np.float32]
    errors: NDArray[np.float32]
    factors: NDArray[np.float32]


class Appraiser:
    """Callable that appraises Gaussians on one target, again and again.

    Args:
        target: (C, H, W) image.
    """

    def __init__(self, target: Tensor) -> None:
        self.target = target.contiguous()
        self._kept: _Memory | None = None

    def __call__(self, gaussians: Gaussians, image: Callable[[], Tensor]) -> Appraisal:
        """Return what the Gaussians are worth.

        On the CPU and by the normalized rule, kernels draw the Gaussians themselves, all of them in each pixel.

        Args:
            gaussians: K Gaussians on the canvas of the target, K at least 1.
            image: Callable that renders them, (C, H, W).
        """
        native = choose(gaussians.means, "auto") == "cpu" and gaussians.blend == "normalized"
        if native and gaussians.channels <= cpu_kernels.MOST_CHANNELS:
            return _NativeAppraisal(gaussians, self)
        return Appraisal(gaussians, image(), self.target)

    def memory(self, stride: int) -> _Memory:
        """Return memory for rows of so many floats."""
        channels, height, width = self.target.shape
        memory = self._kept or _allocate(channels, height, width, stride)
        if sum(each.nbytes for each in memory) <= KEPT_BYTES:
            self._kept = memory
        return memory


class _NativeAppraisal(Appraisal):
    """Appraisal by the kernels."""

    def __init__(self, gaussians: Gaussians, appraiser: Appraiser) -> None:
        self._gaussians, self._appraiser = gaussians, appraiser
        channels, _, width = appraiser.target.shape
        self._stride = width + cpu_kernels.MARGIN
        memory = appraiser.memory(self._stride)
        _, scales, _, colors = self._arrays()
        layout = self._lay_out(scales)
        drawn = (*layout[:3], colors, count_channels(channels), layout.offsets)
        outputs = (memory.planes, appraiser.target.numpy(), memory.errors, memory.factors)
        threads.run(kernels.appraise, (*drawn, self._stride, *outputs), layout.bands)
        self._factors = memory.factors
        self.errors = torch.from_numpy(memory.errors)

    @override
    def removal_errors(self, task: Callable[[], _T]) -> tuple[Tensor, _T]:
        results: list[_T] = []
        channels, height, width = self._appraiser.target.shape
        _, scales, _, _ = self._arrays()
        # The square of a Gaussian is one with scales divided by sqrt(2).
        squares = self._lay_out(scales / np.float32(math.sqrt(2)))
        sums = torch.empty(len(scales), channels + kernels.MORE)
        zeros = count_channels(sums.shape[1])
        shared = (squares.frames, squares.bounds, zeros, height, width, self._stride, self._factors, sums.numpy())

        def work(start: int, stop: int) -> None:
            if stop:
                kernels.gather(*shared, start, stop)
            else:
                results.append(task())

        threads.run(work, (), [(0, 0), *threads.parts(len(scales), PARTS * threads.num_threads())])
        return _expand(self._gaussians.colors, sums[:, :channels], sums[:, channels:]), results[0]

    def _arrays(self) -> tuple[NDArray[np.float32], ...]:
        """Return means, scales, rotations and colours."""
        tensors = (getattr(self._gaussians, name) for name in Attributes._fields)
        return tuple(each.detach().contiguous().numpy() for each in tensors)

    def _lay_out(self, scales: NDArray[np.float32]) -> Layout:
        """Return the geometry of the Gaussians with other scales, (K, 2)."""
        means, _, rotations, _ = self._arrays()
        _, height, width = self._appraiser.target.shape
        return lay_out(means, scales, rotations, [len(scales)], [(1.0, 1.0)], height, width)


def _allocate(channels: int, height: int, width: int, stride: int) -> _Memory:
    planes = make_planes(height, channels, stride)
    factors = np.empty((height + 1) * (channels + kernels.MORE) * stride, np.float32)
    factors[height * (channels + kernels.MORE) * stride :] = 0
    return _Memory(planes, np.empty((height, width), np.float32), factors)


@torch.no_grad()
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
