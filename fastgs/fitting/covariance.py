"""Covariance matrices and the axes of their ellipses, both ways.

A symmetric matrix is given by its three entries xx, xy, yy, in squared pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Length in pixels of the axis that a matrix gets which is no covariance (an eigenvalue of zero or less): an ellipse so
# thin falls between the pixels.
SMALLEST = 1e-3


def covariances(scales: Tensor, rotations: Tensor) -> Tensor:
    """Return `R(theta) diag(s)^2 R(theta)^T`, (K, 3), for scales (K, 2) in pixels and rotations (K,) in radians."""
    cosine, sine = torch.cos(rotations), torch.sin(rotations)
    first, second = scales.square().unbind(1)
    return torch.stack(
        [
            first * cosine * cosine + second * sine * sine,
            (first - second) * cosine * sine,
            first * sine * sine + second * cosine * cosine,
        ],
        dim=1,
    )


def axes(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return scales (K, 2) in pixels, the larger first, and the angle (K,) of the larger, for (K, 3) matrices.

    The inverse of `covariances`. The gradient is that of whatever is drawn with the ellipse, and right for circles,
    too. There the angle is free, so its own derivative is infinite, but what it is multiplied with vanishes; only their
    product is the pull on the shear of the circle, which no gradient of scales and angle tells once it is one. So a
    circle is drawn as an ellipse whose eigenvalues are apart by 2 sqrt(eps) of their mean: 3e-4 in float32, where the
    product still has as many digits.
    """
    scales, rotations = _Axes.apply(matrices)
    return scales, rotations


class _Axes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> tuple[Tensor, Tensor]:
        xx, xy, yy = matrices.unbind(1)
        mean, half_difference = (xx + yy) / 2, (xx - yy) / 2
        apart = torch.finfo(matrices.dtype).eps ** 0.5 * mean
        radius = torch.maximum(torch.hypot(half_difference, xy), apart)
        eigenvalues = torch.stack([mean + radius, mean - radius], dim=1).clamp(min=SMALLEST**2)
        rotations = torch.atan2(xy, half_difference) / 2
        ctx.save_for_backward(eigenvalues, rotations)
        return eigenvalues.sqrt(), rotations

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        """Use dM_11 = 2 s_1 ds_1, dM_22 = 2 s_2 ds_2, dM_12 = (s_1^2 - s_2^2) dtheta, with M = R^T Sigma R."""
        (eigenvalues, rotations), (of_scales, of_rotations) = ctx.saved_tensors, upstream
        first, second = (of_scales / (2 * eigenvalues.sqrt())).unbind(1)
        gap = (eigenvalues[:, 0] - eigenvalues[:, 1]).clamp(min=torch.finfo(eigenvalues.dtype).eps * SMALLEST**2)
        shear = of_rotations / gap
        cosine, sine = torch.cos(rotations), torch.sin(rotations)
        mixed = cosine * sine
        return torch.stack(
            [
                first * cosine * cosine + second * sine * sine - shear * mixed,
                2 * (first - second) * mixed + shear * (cosine * cosine - sine * sine),
                first * sine * sine + second * cosine * cosine + shear * mixed,
            ],
            dim=1,
        )
