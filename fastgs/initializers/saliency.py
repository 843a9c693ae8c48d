"""Initialization by saliency: the density of positions follows the spectral residual of Hou and Zhang (CVPR 2007).

This saliency needs no trained weights. Image-GS (arXiv 2407.01866) proposes sampling by the saliency of a trained
network.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.gaussians import Gaussians
from fastgs.initializers.filters import mix_with_uniform, smooth
from fastgs.initializers.from_density import gaussians_from_density

WORKING_SIZE = 64  # shorter side in pixels, as in the paper: saliency is a matter of the coarse scale
UNIFORM = 0.3  # share of the Gaussians that are spread evenly


def density(image: Tensor) -> Tensor:
    """Return the (H, W) density of positions, which sums to 1.

    The log amplitude spectrum of the small gray image less its local 3 x 3 mean, with the phase kept, is transformed
    back, squared, smoothed and mixed with a uniform share.

    Args:
        image: (3, H, W) image in [0, 1].
    """
    _, height, width = image.shape
    shrink = WORKING_SIZE / min(height, width)
    # At most four times as long as wide: a strip 3 pixels high must not become a hundred thousand wide.
    small = [min(max(1, round(size * shrink)), 4 * WORKING_SIZE) for size in (height, width)]
    gray = functional.interpolate(image.mean(0)[None, None], size=small, mode="area")[0, 0]
    spectrum = torch.fft.fft2(gray)
    log_amplitude = torch.log(spectrum.abs().clamp(min=1e-9))
    mean = functional.avg_pool2d(functional.pad(log_amplitude[None, None], (1,) * 4, mode="circular"), 3, 1)[0, 0]
    residual = torch.polar(torch.exp(log_amplitude - mean), spectrum.angle())
    saliency = smooth(torch.fft.ifft2(residual).abs().square(), 2.5)
    full = functional.interpolate(saliency[None, None], size=(height, width), mode="bilinear", align_corners=False)
    return mix_with_uniform(full[0, 0], 1.0, UNIFORM)


def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Return K Gaussians at positions error-diffused from the saliency (`fastgs.initializers.Initializer`)."""
    return gaussians_from_density(image, density(image), num_gaussians, generator)
