"""SSIM and MS-SSIM in plain torch, as torchmetrics defines them, in float32 to the bit; differentiable.

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
    first, second = (functional.pad(each[None], (RADIUS,) * 4, mode="reflect") for each in (image, target))
    planes = torch.cat((first, second, first * first, second * second, first * second))
    window = _make_window(image).expand(channels, 1, -1, -1)
    mean1, mean2, square1, square2, product = torch.split(functional.conv2d(planes, window, groups=channels), 1)
    squared1, squared2, both = mean1.pow(2), mean2.pow(2), mean1 * mean2
    # Rounding must not make variances negative.
    variance1, variance2 = (square1 - squared1).clamp(min=0.0), (square2 - squared2).clamp(min=0.0)
    upper, lower = 2 * (product - both) + C2, variance1 + variance2 + C2
    whole = ((2 * both + C1) * upper) / ((squared1 + squared2 + C1) * lower)
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


def _make_window(like: Tensor) -> Tensor:
    """Return the (11, 11) window, whose sum is 1, in the dtype and on the device of a tensor."""
    distance = torch.arange(-RADIUS, RADIUS + 1, dtype=like.dtype, device=like.device)
    line = torch.exp(-torch.pow(distance / SIGMA, 2) / 2)
    line = (line / line.sum())[None]
    return line.t() @ line
