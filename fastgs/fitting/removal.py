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
from torch.nn import functional
from typing_extensions import override

from fastgs.fitting import removal_kernels as kernels
from fastgs.fitting.parametrization import Attributes
from fastgs.gaussians import Gaussians
from fastgs.render import Backend, choose, cpu_kernels, rasterize, render
from fastgs.render.cpu_arrays import PARTS, Layout, count_channels, lay_out, make_planes
from fastgs.render.reference import EPSILON
from fastgs.runtime import threads

# Largest memory in bytes that is kept between calls. Of large images it would add to the peak of the steps.
KEPT_BYTES = 2**26

# Mean spacing in pixels from which errors are found in cells of four pixels.
LARGE_SPACING = 4.0

_T = TypeVar("_T")


class Appraisal:
    """Worth of K Gaussians on a target.

    Args:
        gaussians: K Gaussians.
        image: (C, H, W) their rendering.
        target: (C, H, W) target.

    Attributes:
        gaussians: The Gaussians.
        side: Side in pixels of square cells, see `choose_side`.
        errors: (H / side, W / side), rounded up: squared errors, summed over channels, the means of cells; valid until
            the next appraisal.
    """

    def __init__(self, gaussians: Gaussians, image: Tensor, target: Tensor) -> None:
        self.gaussians, self._image = gaussians, image
        self.side = choose_side(target[0].numel(), len(gaussians))
        errors = (image - target).square().sum(0)
        cells = functional.avg_pool2d(errors[None], self.side, ceil_mode=True)[0]
        self.errors = cells if self.side > 1 else errors

    def removal_errors(self, task: Callable[[], _T]) -> tuple[Tensor, _T]:
        """Return `removal_errors` of these Gaussians, (K,), and the result of a task that does not need them.

        Args:
            task: Callable that may run in another thread at the same time.
        """
        return removal_errors(self.gaussians, self._image), task()


def choose_side(pixels: int, num_gaussians: int) -> int:
    """Return the side in pixels of the cells that errors are found in: 2 where Gaussians are far apart, and else 1."""
    return 2 if pixels >= num_gaussians * LARGE_SPACING**2 else 1


class _Memory(NamedTuple):
    """Memory that is kept from one appraisal to the next: arguments of `removal_kernels.appraise` of the same names."""

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
        self._planes: NDArray[np.float32] | None = None

    def __call__(self, gaussians: Gaussians, image: Callable[[], Tensor]) -> Appraisal:
        """Return what the Gaussians are worth.

        On the CPU and by the normalized rule, kernels draw the Gaussians themselves, all of them in each pixel.

        Args:
            gaussians: K Gaussians on the canvas of the target, K at least 1.
            image: Callable that renders them, (C, H, W).
        """
        device, dtype = gaussians.means.device, gaussians.means.dtype
        native = device.type == "cpu" and choose(device, "auto", None, dtype) == "cpu"
        if not native or gaussians.blend != "normalized" or gaussians.channels > cpu_kernels.MOST_CHANNELS:
            return Appraisal(gaussians, image(), self.target)
        channels, height, width = self.target.shape
        stride = width + cpu_kernels.MARGIN
        planes = self._planes if self._planes is not None else make_planes(height, channels, stride)
        self._planes = planes if planes.nbytes <= KEPT_BYTES else None
        means, scales, rotations, _ = _arrays(gaussians)
        layout = lay_out(means, scales, rotations, [len(gaussians)], [(1.0, 1.0)], height, width)
        return self.draw(gaussians, layout, planes)

    def draw(
        self,
        gaussians: Gaussians,
        layout: Layout,
        planes: NDArray[np.float32],
        colors: NDArray[np.float32] | None = None,
    ) -> Appraisal:
        """Return what Gaussians are worth by the normalized rule.

        Args:
            gaussians: K Gaussians on the CPU, K at least 1, of at most `cpu_kernels.MOST_CHANNELS` channels.
            layout: Geometry of the Gaussians, and perhaps of further ones before them, which are drawn and not judged.
            planes: Memory of `fastgs.render.cpu_arrays.make_planes`; overwritten.
            colors: (N, C) colours of all that the layout has; by default those of the Gaussians.
        """
        channels, height, width = self.target.shape
        side = choose_side(height * width, len(gaussians))
        shape = -(-height // side), -(-width // side)
        memory = self._kept
        if memory is None or memory.errors.shape != shape:
            memory = _Memory(np.empty(shape, np.float32), allocate_factors(channels, height, width))
        self._kept = memory if sum(each.nbytes for each in memory) <= KEPT_BYTES else None
        colors, stride = _arrays(gaussians)[3] if colors is None else colors, width + cpu_kernels.MARGIN
        drawn = (*layout[:3], colors, count_channels(channels), layout.offsets, stride, planes)
        bands = [(top - top % side, end if end == height else end - end % side) for top, end in layout.bands]
        parts = [(top, end) for top, end in bands if top < end]
        threads.run(kernels.appraise, (*drawn, self.target.numpy(), *memory, side), parts)
        return _NativeAppraisal(gaussians, memory, side)


class _NativeAppraisal(Appraisal):
    """Appraisal by the kernels."""

    def __init__(self, gaussians: Gaussians, memory: _Memory, side: int) -> None:
        self.gaussians, self.side = gaussians, side
        self.errors = torch.from_numpy(memory.errors)
        self._factors = memory.factors

    @override
    def removal_errors(self, task: Callable[[], _T]) -> tuple[Tensor, _T]:
        results: list[_T] = []
        means, scales, rotations, colors = _arrays(self.gaussians)
        height, width = self.gaussians.height, self.gaussians.width
        squares = lay_out(means, square(scales), rotations, [len(means)], [(1.0, 1.0)], height, width)
        removal = np.empty(len(means), np.float32)
        zeros = count_channels(colors.shape[1] + kernels.MORE)
        canvas = height, width, width + cpu_kernels.MARGIN
        shared = (squares.frames, squares.bounds, colors, zeros, *canvas, self._factors, removal)

        def work(start: int, stop: int) -> None:
            if stop:
                kernels.gather(*shared, start, stop)
            else:
                results.append(task())

        threads.run(work, (), [(0, 0), *threads.shares(len(means), PARTS)])
        return torch.from_numpy(removal), results[0]


def _arrays(gaussians: Gaussians) -> tuple[NDArray[np.float32], ...]:
    """Return means, scales, rotations and colours."""
    tensors = (getattr(gaussians, name) for name in Attributes._fields)
    return tuple(each.detach().contiguous().numpy() for each in tensors)


def square(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scales of the squares of Gaussians with these scales."""
    smaller: NDArray[np.float32] = scales / np.float32(math.sqrt(2))
    return smaller


def allocate_factors(channels: int, height: int, width: int) -> NDArray[np.float32]:
    """Return memory for the factors of `removal_kernels.appraise`."""
    per_row = (channels + kernels.MORE) * (width + cpu_kernels.MARGIN)
    factors = np.empty((height + 1) * per_row, np.float32)
    factors[height * per_row :] = 0
    return factors


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
    colors = gaussians.colors
    return (colors.square().sum(1) * rest[:, 0] - 2 * (colors * linear).sum(1) + rest[:, 1]).clamp(min=0)


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
