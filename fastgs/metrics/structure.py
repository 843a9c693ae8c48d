"""SSIM and MS-SSIM in plain torch, as torchmetrics defines them, to 1e-6 in float32; differentiable.

torchmetrics convolves with the whole window of 11 x 11 taps; here columns are weighted first, then rows.

With means m, variances v and the covariance c of two images under a Gaussian window around each pixel:

    SSIM     = (2 m1 m2 + C1) / (m1^2 + m2^2 + C1) * (2 c + C2) / (v1 + v2 + C2)
    contrast = (2 c + C2) / (v1 + v2 + C2)

The score is the mean over pixels and channels, with borders reflected; that of contrast leaves the borders out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

SIGMA = 1.5  # standard deviation of the window in pixels
RADIUS = 5  # pixels
MIDDLE = 0.5  # of the range of pixels
C1, C2 = 0.01**2, 0.03**2
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first (Wang et al. 2003)


class Similarity(NamedTuple):
    """Similarity of two images.

    Attributes:
        whole: SSIM, a scalar.
        contrast: Its term of contrast and structure, a scalar.
    """

    whole: Tensor
    contrast: Tensor


def similarity(image: Tensor, target: Tensor) -> Similarity:
    """Return the similarity of two (C, H, W) images, whose shorter side has at least RADIUS + 1 pixels."""
    channels = len(image)
    # Around 0 the squares are smaller, so that their means lose fewer digits to those of the variances.
    first, second = (functional.pad(each[None] - MIDDLE, (RADIUS,) * 4, mode="reflect") for each in (image, target))
    # All planes are channels of one image: that is the fast case of torch's convolution on the CPU.
    planes = torch.cat((first, second, first * first, second * second, first * second), dim=1)
    mean1, mean2, square1, square2, product = torch.split(_blur(planes), channels, dim=1)
    # Rounding must not make variances negative.
    variance1, variance2 = (square1 - mean1 * mean1).clamp(min=0.0), (square2 - mean2 * mean2).clamp(min=0.0)
    upper, lower = 2 * (product - mean1 * mean2) + C2, variance1 + variance2 + C2
    mean1, mean2 = mean1 + MIDDLE, mean2 + MIDDLE
    whole = ((2 * mean1 * mean2 + C1) * upper) / ((mean1 * mean1 + mean2 * mean2 + C1) * lower)
    contrast = (upper / lower)[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    return Similarity(whole.reshape(-1).mean(), contrast.reshape(-1).mean())


def multiscale_similarity(image: Tensor, target: Tensor) -> Tensor:
    """Return the product over five scales of contrast, at the coarsest of SSIM, each to the power of its weight.

    Negative terms count as 0.

    Args:
        image: (C, H, W), whose shorter side has at least 176 pixels.
        target: (C, H, W).
    """
    terms = []
    for scale in range(len(WEIGHTS)):
        if scale:
            image, target = functional.avg_pool2d(image, 2), functional.avg_pool2d(target, 2)
        terms.append(similarity(image, target))
    scores = torch.stack([*(each.contrast for each in terms[:-1]), terms[-1].whole])
    return torch.prod(scores.relu() ** scores.new_tensor(WEIGHTS))


def _blur(planes: Tensor) -> Tensor:
    """Return the means of (1, N, H, W) under the window, (1, N, H - 2 RADIUS, W - 2 RADIUS)."""
    distance = torch.arange(-RADIUS, RADIUS + 1, dtype=planes.dtype, device=planes.device)
    line = torch.exp(-torch.pow(distance / SIGMA, 2) / 2)
    line = line / line.sum()
    number = planes.shape[1]
    down, across = (line.reshape(shape).expand(number, -1, -1, -1) for shape in ((1, 1, -1, 1), (1, 1, 1, -1)))
    return functional.conv2d(functional.conv2d(planes, down, groups=number), across, groups=number)
