"""Detail of a picture: the feature of pixels whose power is the density of Gaussians, as initializers define it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fastgs.initializers import curvature, gradient

# Pixels around a window that the derivatives and the smoothing of a feature see.
REACH = 8


@dataclass(frozen=True)
class Detail:
    """Density of positions of an initializer, in two parts.

    Attributes:
        feature: Callable that gives the (H, W) feature of a (C, H, W) image, which depends on `REACH` pixels around.
        mixture: Callable from the number of Gaussians per pixel to the power of the feature, and the share of the
            Gaussians that are spread evenly.
    """

    feature: Callable[[Tensor], Tensor]
    mixture: Callable[[float], tuple[float, float]]


DETAILS = {
    "curvature": Detail(curvature.feature, curvature.mixture),
    "gradient": Detail(gradient.feature, lambda per_pixel: (1.0, gradient.UNIFORM)),
}
