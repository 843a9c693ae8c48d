"""Functions behind the names of losses: differentiable distances between a rendered image and its target."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.metrics.quality import ssim_loss

# Image-GS adds 0.1 (1 - SSIM) to L1 (arXiv 2407.01866). Squared errors are some ten times smaller than absolute ones,
# so the same share is 0.01 there.
SSIM_SHARE_OF_L1 = 0.1
SSIM_SHARE_OF_MSE = 0.01


class SquaredError:
    """Mean squared error.

    A type of its own, because the gradient in the image is known, `2 (image - target) / size`: optimizers that find an
    instance of it skip the passes over the image that autograd would need.
    """

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the mean over pixels and channels, a scalar."""
        return functional.mse_loss(image, target)


MSE = SquaredError()


def absolute_error(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error, a scalar."""
    return functional.l1_loss(image, target)


def squared_error_and_ssim(image: Tensor, target: Tensor) -> Tensor:
    """Return `MSE + 0.01 (1 - SSIM)`, a scalar."""
    return functional.mse_loss(image, target) + SSIM_SHARE_OF_MSE * ssim_loss(image, target)


def absolute_error_and_ssim(image: Tensor, target: Tensor) -> Tensor:
    """Return `L1 + 0.1 (1 - SSIM)`, a scalar: the loss of Image-GS."""
    return functional.l1_loss(image, target) + SSIM_SHARE_OF_L1 * ssim_loss(image, target)


def clamped_squared_error(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of the image clamped to [0, 1], a scalar: the loss of GaussianImage.

    The gradient passes at exactly 0 and 1, as `torch.clamp` let it until PyTorch 2.13: GaussianImage++ starts with a
    black image.
    """
    shown = image.detach().clamp(0, 1)
    return functional.mse_loss(torch.where(image == shown, image, shown), target)
