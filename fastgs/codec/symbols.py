"""Gaussians as integers: the symbols that a file of the scheme "fastgs" holds and that its encoder searches.

The shape of a Gaussian is the logarithm of its covariance, three numbers that are all in the same unit: the log of its
area `a = log(s1 s2)`, and a vector of length `rho = log(s1 / s2)` at twice its angle, `(u, v) = rho (cos 2 theta,
sin 2 theta)`. So a circle takes no bits for an angle, and angles do not jump from pi to 0. Colours are in an
orthonormal basis, (R + G + B) / sqrt(3), (R - B) / sqrt(2), (R - 2 G + B) / sqrt(6), in which equal errors of symbols
are equal errors of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fastgs.gaussians import Gaussians

# Indices of the columns of symbols.
X, Y, AREA, U, V, LUMA, CHROMA1, CHROMA2 = range(8)
COLUMNS = ("x", "y", "area", "u", "v", "luma", "chroma1", "chroma2")

# The rows are the basis of colours.
BASIS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


@dataclass(frozen=True)
class Steps:
    """Units of the symbols of a layer.

    Attributes:
        position: Exponent from -3 to 6; the unit of x and y is `2 ** -position` pixels.
        area, shape, luma, chroma: Units of these columns, positive; they are rounded to 16-bit floating point.

    Raises:
        ValueError: A unit is out of range.
    """

    position: int
    area: float
    shape: float
    luma: float
    chroma: float

    def __post_init__(self) -> None:
        if not -3 <= self.position <= 6:
            raise ValueError(f"position: must be from -3 to 6, got {self.position}")
        for name in ("area", "shape", "luma", "chroma"):
            with np.errstate(over="ignore"):
                step = float(np.float16(getattr(self, name)))
            if not 0 < step < np.inf:
                raise ValueError(f"{name}: must be positive and finite in 16-bit floating point")
            object.__setattr__(self, name, step)

    def columns(self) -> NDArray[np.float64]:
        """Return the (8,) unit of each column."""
        pixel = 2.0**-self.position
        return np.array(
            [pixel, pixel, self.area, self.shape, self.shape, self.luma, self.chroma, self.chroma], np.float64
        )


@dataclass(frozen=True)
class Layer:
    """Set of Gaussians of an image.

    Attributes:
        symbols: (N, 8) int32, columns as in `COLUMNS`; x and y are not negative and on the canvas.
        steps: Units of the symbols.
    """

    symbols: NDArray[np.int32]
    steps: Steps


def values(gaussians: Gaussians) -> NDArray[np.float64]:
    """Return the (K, 8) values that symbols are roundings of, in units of 1."""
    scales = gaussians.scales.detach().cpu().double().numpy()
    angles = 2 * gaussians.rotations.detach().cpu().double().numpy()
    area, ratio = np.log(scales).sum(1), np.log(scales[:, 0] / scales[:, 1])
    colors = gaussians.colors.detach().cpu().double().numpy() @ BASIS.T
    means = gaussians.means.detach().cpu().double().numpy()
    return np.column_stack([means, area, ratio * np.cos(angles), ratio * np.sin(angles), colors])


def dequantize(layers: Sequence[Layer], height: int, width: int) -> Gaussians:
    """Return the Gaussians of layers, in their order, in float32.

    Args:
        layers: Layers of an image.
        height: Height of the canvas in pixels.
        width: Width of the canvas in pixels.
    """
    columns = np.concatenate([np.zeros((0, 8)), *(layer.symbols * layer.steps.columns() for layer in layers)])
    ratio = np.hypot(columns[:, U], columns[:, V])
    means, scales, rotations, colors = (
        torch.from_numpy(np.ascontiguousarray(each)).float()
        for each in (
            columns[:, :2],
            np.exp(0.5 * (columns[:, [AREA]] + ratio[:, None] * [1, -1])),
            0.5 * np.arctan2(columns[:, V], columns[:, U]),
            columns[:, LUMA:] @ BASIS,
        )
    )
    return Gaussians(means, scales, rotations, colors, height, width)
