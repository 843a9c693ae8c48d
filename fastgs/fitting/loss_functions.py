"""Functions behind the names of losses: differentiable distances between a rendered image and its target."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.metrics.quality import ssim_loss

# Image-GS adds 0.1 (1 - SSIM) to L1 (arXiv 2407.01866). Squared errors are some ten times smaller than absolute ones,
# so the same share is 0.01 there.
SSIM_SHARE_OF_L1 = 0.1
SSIM_SHARE_OF_MSE = 0.01

# Bounds between which the gradient of a clamped image passes: hardtanh lets none pass at a bound itself.
BELOW_BLACK, ABOVE_WHITE = -torch.finfo(torch.float32).tiny, 1 + torch.finfo(torch.float32).eps


@runtime_checkable
class KnownGradient(Protocol):
    """Loss whose gradient in the image is known, which spares the passes over the image that autograd would need."""

    def gradient(self, image: Tensor, error: Tensor) -> Tensor:
        """Return the gradient in the image.

        Args:
            image: Image, without a gradient.
            error: Image minus target; may be overwritten.
        """


class SquaredError:
    """Mean squared error, whose gradient is `2 (image - target) / size`.

    Kernels that find an instance of it need no loss.
    """

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the mean over pixels and channels, a scalar."""
        return functional.mse_loss(image, target)

    def gradient(self, image: Tensor, error: Tensor) -> Tensor:
        """Return the gradient in the image, see `KnownGradient`."""
        return error.mul_(2 / error.numel())


class ClampedSquaredError:
    """Mean squared error of the image clamped to [0, 1]: the loss of GaussianImage.

    The gradient passes at exactly 0 and 1, as `torch.clamp` let it until PyTorch 2.13: GaussianImage++ starts with a
    black image.
    """

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the mean over pixels and channels, a scalar."""
        return functional.mse_loss(functional.hardtanh(image, BELOW_BLACK, ABOVE_WHITE), target)

    def gradient(self, image: Tensor, error: Tensor) -> Tensor:
        """Return the gradient in the image, see `KnownGradient`."""
        torch.ops.aten.hardtanh_backward(error, image, BELOW_BLACK, ABOVE_WHITE, grad_input=error)
        return error.mul_(2 / error.numel())


MSE = SquaredError()
CLAMPED_MSE = ClampedSquaredError()


def absolute_error(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error, a scalar."""
    return functional.l1_loss(image, target)


def squared_error_and_ssim(image: Tensor, target: Tensor) -> Tensor:
    """Return `MSE + 0.01 (1 - SSIM)`, a scalar."""
    return functional.mse_loss(image, target) + SSIM_SHARE_OF_MSE * ssim_loss(image, target)


def absolute_error_and_ssim(image: Tensor, target: Tensor) -> Tensor:
    """Return `L1 + 0.1 (1 - SSIM)`, a scalar: the loss of Image-GS."""
    return functional.l1_loss(image, target) + SSIM_SHARE_OF_L1 * ssim_loss(image, target)
