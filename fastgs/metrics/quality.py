"""Similarity of two images: PSNR, SSIM, MS-SSIM, and the SSIM loss.

The scores (`psnr`, `ssim`, `ms_ssim`) are computed on floating-point images clamped to [0, 1], without rounding to
8 bits and without gradients. SSIM and MS-SSIM of images of more than 1536 pixels a side are means over tiles. Both are
torchmetrics' definitions, in structure.py, since torchmetrics takes seconds to import; for SSIM of float32 on the CPU
there are kernels in ssim_kernels.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fastgs.metrics import ssim_kernels
from fastgs.metrics.structure import multiscale_similarity, similarity
from fastgs.runtime import threads
from fastgs.runtime.simd import LANES

MAX_PSNR = 100.0  # dB
# Largest side of a tile in pixels. structure.py takes about 800 bytes per pixel: 19 GB for a photo of 24 megapixels in
# one piece.
MAX_TILE = 1536
PARTS = 4  # parts of the work per thread; several, since threads wake up late
MIN_SSIM_SIZE = 6  # pixels; the window of 11 taps reflects 5 pixels at the border
MIN_MS_SSIM_SIZE = 176  # pixels; the image is halved four times, and the coarsest scale must hold the window


@torch.no_grad()
def psnr(image: Tensor, target: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB, `-10 log10(MSE)`, with the mean over all pixels and channels.

    The MSE is summed in float32, in pairs, and is taken as at least 1e-10, so that identical images give 100 dB.

    Args:
        image: (C, H, W), clamped to [0, 1] and not rounded.
        target: (C, H, W), clamped to [0, 1] and not rounded.

    Returns:
        At most 100; NaN if an image holds NaN.

    Raises:
        ValueError: The shapes differ or are not (C, H, W).
    """
    image, target = _clamp(image, target)
    return psnr_of_error(functional.mse_loss(image, target).item())


def psnr_of_error(mse: float) -> float:
    """Return the PSNR in dB for a mean squared error of values in [0, 1], as `psnr` does; NaN if it is not finite."""
    return -10 * math.log10(max(mse, 10 ** (-MAX_PSNR / 10))) if math.isfinite(mse) else math.nan


@torch.no_grad()
def ssim(image: Tensor, target: Tensor) -> float:
    """Return the structural similarity (Wang et al. 2004), at most 1.

    The window is a Gaussian of 11 taps and sigma 1.5; K1 = 0.01, K2 = 0.03; borders are reflected; the score is the
    mean over pixels and channels.

    Args:
        image: (C, H, W), clamped to [0, 1].
        target: (C, H, W), clamped to [0, 1].

    Raises:
        ValueError: The shapes differ or are not (C, H, W), or the shorter side is under 6 pixels.
    """
    return _mean_over_tiles(lambda a, b: 1 - ssim_loss(a, b).item(), *_clamp(image, target))


@torch.no_grad()
def ms_ssim(image: Tensor, target: Tensor) -> float | None:
    """Return the multi-scale structural similarity (Wang et al. 2003), in [0, 1].

    Scales and weights are the five of the paper, with the window of `ssim`; negative terms count as 0.

    Args:
        image: (C, H, W), clamped to [0, 1].
        target: (C, H, W), clamped to [0, 1].

    Returns:
        The score, or None if the shorter side is under 176 pixels, where five scales do not fit.

    Raises:
        ValueError: The shapes differ or are not (C, H, W).
    """
    image, target = _clamp(image, target)
    if min(image.shape[1:]) < MIN_MS_SSIM_SIZE:
        return None
    return _mean_over_tiles(lambda a, b: multiscale_similarity(a, b).item(), image, target)


def ssim_loss(image: Tensor, target: Tensor) -> Tensor:
    """Return `1 - SSIM` as a differentiable scalar; unlike in `ssim`, the images are not clamped, so gradients pass.

    Args:
        image: (C, H, W).
        target: (C, H, W).

    Raises:
        ValueError: The shapes differ or are not (C, H, W), or the shorter side is under 6 pixels.
    """
    _check(image, target)
    if min(image.shape[1:]) < MIN_SSIM_SIZE:
        raise ValueError(f"SSIM needs a shorter side of at least {MIN_SSIM_SIZE} pixels, got {tuple(image.shape)}")
    if _has_kernels(image, target):
        loss: Tensor = _SsimLoss.apply(image, target)
        return loss
    return 1 - similarity(image, target).whole


def _has_kernels(image: Tensor, target: Tensor) -> bool:
    """Tell whether `_SsimLoss` can compute the loss of these images, and all gradients that are asked for."""
    on_cpu = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in (image, target))
    return on_cpu and not target.requires_grad and image.shape[2] >= LANES


class _SsimLoss(torch.autograd.Function):
    """SSIM loss in float32 on the CPU, differentiable once in the image; ssim_kernels.py has the equations."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor) -> Tensor:
        channels, height, width = image.shape
        line = ssim_kernels.stride(width)
        (down, _), (across, _) = ssim_kernels.taps(height), ssim_kernels.taps(width)
        partials = np.empty((channels, height * ssim_kernels.PARTIALS * line), np.float32)
        losses = np.empty((channels, height))
        inputs = (_flatten(image), _flatten(target), down, across, width, line)
        threads.run(ssim_kernels.forward, (*inputs, partials, losses), _split_rows(height))
        ctx.save_for_backward(image, target)
        ctx.partials = partials
        return torch.tensor(losses.sum() / image.numel(), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        image, target = ctx.saved_tensors
        _, height, width = image.shape
        (_, down), (_, across) = ssim_kernels.taps(height), ssim_kernels.taps(width)
        gradient = torch.empty_like(image, memory_format=torch.contiguous_format)
        inputs = (_flatten(image), _flatten(target), down, across, width, ssim_kernels.stride(width))
        factor = np.float32(-upstream.item() / image.numel())
        threads.run(ssim_kernels.backward, (*inputs, ctx.partials, factor, _flatten(gradient)), _split_rows(height))
        return gradient, None


def _split_rows(height: int) -> list[tuple[int, int]]:
    return threads.parts(height, PARTS * threads.num_threads())


def _flatten(image: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = image.detach().contiguous().flatten(1).numpy()
    return array


def _mean_over_tiles(score: Callable[[Tensor, Tensor], float], image: Tensor, target: Tensor) -> float:
    """Return the score; for images of more than MAX_TILE pixels a side, its mean over tiles, weighted by their area."""
    rows, columns = (-(-size // MAX_TILE) for size in image.shape[1:])
    total = 0.0
    for strips in zip(image.tensor_split(rows, dim=1), target.tensor_split(rows, dim=1), strict=True):
        for a, b in zip(*(strip.tensor_split(columns, dim=2) for strip in strips), strict=True):
            total += score(a, b) * a.numel()
    return total / image.numel()


def _clamp(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Check the shapes of two images, and convert both to float32 in [0, 1]."""
    _check(image, target)
    return image.float().clamp(0, 1), target.float().clamp(0, 1)


def _check(image: Tensor, target: Tensor) -> None:
    """Refuse shapes other than two equal (C, H, W); some of them would broadcast."""
    if image.ndim != 3 or image.shape != target.shape or image.numel() == 0:
        raise ValueError(
            f"expected two images of one shape (C, H, W), got {tuple(image.shape)} and {tuple(target.shape)}"
        )
