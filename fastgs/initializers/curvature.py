"""Initialization by curvature, the default: the density of positions follows the norm of the Hessian of the image.

A blend of Gaussians reproduces a ramp from few centres, and a straight edge from a few long ones; what needs many
Gaussians is curvature. At the same K this density beats that of the gradient by 0.3 dB (benchmarks/LOG.md, section
"Start"). The more Gaussians there are per pixel, the flatter the best density: flat regions then hold noise that is
worth fitting too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from fastgs.initializers.filters import measure_curvature, mix_with_uniform, smooth
from fastgs.initializers.from_density import FromDensity

SMOOTHING = 1.0  # standard deviation in pixels of the blur of the norm
NOISE = 1e-3  # colour range per squared pixel; smaller curvature is rounding, and attracts no Gaussians


def density(image: Tensor, num_gaussians: int) -> Tensor:
    """Return the (H, W) density of positions, which sums to 1.

    It is the Frobenius norm of the Hessian over space and colour, smoothed, to a power that falls with K, mixed with a
    uniform share that rises with K. Power and share were fitted between 0.01 and 0.4 Gaussians per pixel
    (benchmarks/LOG.md, section "Start").

    Args:
        image: (3, H, W) image in [0, 1].
        num_gaussians: K, the number of Gaussians.
    """
    return mix_with_uniform(feature(image), *mixture(max(num_gaussians, 1) / image[0].numel()))


def densities(images: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the (B, H, W) densities of B numbers of Gaussians on (B, C, H, W) images, without a wait for a GPU."""
    height, width = images.shape[-2:]
    powers, shares = zip(*(mixture(max(count, 1) / (height * width)) for count in counts), strict=True)
    return mix_with_uniform(feature(images), powers, shares)


def feature(image: Tensor) -> Tensor:
    """Return the (..., H, W) Frobenius norm of the Hessian over space and colour, smoothed, of (..., C, H, W)."""
    return smooth(measure_curvature(image), SMOOTHING).add_(NOISE)


def mixture(per_pixel: float) -> tuple[float, float]:
    """Return the power of the feature and the uniform share, see `density`, for so many Gaussians per pixel."""
    octaves = math.log2(per_pixel / 0.04)
    return min(1.1, max(0.5, 1.0 - 0.15 * octaves)), min(0.6, max(0.05, 0.05 + 0.1 * octaves))


# K Gaussians at positions error-diffused from the curvature density.
initialize = FromDensity(density, densities)
