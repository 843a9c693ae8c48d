"""Gaussians as integers: the symbols that a file of the scheme "fastgs" holds and that its encoder searches.

The shape of a Gaussian is the logarithm of its covariance, three numbers that are all in the same unit: the log of its
area `a = log(s1 s2)`, and a vector of length `rho = log(s1 / s2)` at twice its angle, `(u, v) = rho (cos 2 theta,
sin 2 theta)`. So a circle takes no bits for an angle, and angles do not jump from pi to 0. Colours are in an
orthonormal basis, in which equal errors of symbols are equal errors of the image: (R + G + B) / sqrt(3),
(R - B) / sqrt(2), (R - 2 G + B) / sqrt(6) for RGB, gray and alpha as they are, and mixtures of other channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.channels import RGB, Channels
from fastgs.codec.mixing import to_basis
from fastgs.definition import GaussianArrays

if TYPE_CHECKING:
    from fastgs.gaussians import Gaussians

# Indices of the columns of symbols; those of the colours follow.
X, Y, AREA, U, V, COLOR = range(6)
GEOMETRY = ("x", "y", "area", "u", "v")


@dataclass(frozen=True)
class Steps:
    """Units of the symbols of a layer.

    Attributes:
        position: Exponent from -3 to 6; the unit of x and y is `2 ** -position` pixels.
        area: Unit of the logarithm of the area, positive. This and the other units are rounded to 16-bit floating
            point.
        shape: Unit of the two components of the shape, positive.
        luma: Unit of luma, or of all channels of an image that is neither gray nor RGB, positive.
        chroma: Unit of both chroma components, positive; None if there are none.
        alpha: Unit of alpha, positive; None if there is none.

    Raises:
        ValueError: A unit is out of range.
    """

    position: int
    area: float
    shape: float
    luma: float
    chroma: float | None = None
    alpha: float | None = None

    def __post_init__(self) -> None:
        if not -3 <= self.position <= 6:
            raise ValueError(f"position: must be from -3 to 6, got {self.position}")
        for name in ("area", "shape", "luma", "chroma", "alpha"):
            unit = getattr(self, name)
            if unit is None:
                continue
            with np.errstate(over="ignore"):
                step = float(np.float16(unit))
            if not 0 < step < np.inf:
                raise ValueError(f"{name}: must be positive and finite in 16-bit floating point")
            object.__setattr__(self, name, step)

    def columns(self, channels: Channels = RGB) -> NDArray[np.float64]:
        """Return the (5 + C,) unit of each column."""
        pixel = 2.0**-self.position
        units = {"luma": self.luma, "channels": self.luma, "chroma": self.chroma, "alpha": self.alpha}
        colors = [units[attribute] for attribute in channels.attributes]
        return np.array([pixel, pixel, self.area, self.shape, self.shape, *colors], np.float64)


@dataclass(frozen=True)
class Layer:
    """Set of Gaussians of an image.

    Attributes:
        symbols: (N, 5 + C) int32, columns as in `GEOMETRY` and then those of the colours; x and y are not negative and
            on the canvas.
        steps: Units of the symbols.
        mixing: (C, C) int8, the channels that each column of colours is a mixture of, as in mixing.py; None if the
            columns are those of the basis of `Channels`. All layers of an image have the same.
    """

    symbols: NDArray[np.int32]
    steps: Steps
    mixing: NDArray[np.int8] | None = None


def values(gaussians: Gaussians, transform: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the (K, 5 + C) values that symbols are roundings of, in units of 1.

    Args:
        gaussians: K Gaussians of C channels.
        transform: (C, C) matrix whose rows turn a colour into its columns; by default the basis of the channels.
    """
    scales = gaussians.scales.detach().cpu().double().numpy()
    angles = 2 * gaussians.rotations.detach().cpu().double().numpy()
    area, ratio = np.log(scales).sum(1), np.log(scales[:, 0] / scales[:, 1])
    if transform is None:
        transform = Channels(gaussians.channels, gaussians.alpha).basis
    colors = gaussians.colors.detach().cpu().double().numpy() @ transform.T
    means = gaussians.means.detach().cpu().double().numpy()
    return np.column_stack([means, area, ratio * np.cos(angles), ratio * np.sin(angles), colors])


def dequantize(layers: Sequence[Layer], height: int, width: int, channels: Channels = RGB) -> GaussianArrays:
    """Return the Gaussians of layers, in their order.

    Args:
        layers: Layers of an image.
        height: Height of the canvas in pixels.
        width: Width of the canvas in pixels.
        channels: Channels of the image.
    """
    none = np.zeros((0, COLOR + channels.count))
    columns = np.concatenate([none, *(layer.symbols * layer.steps.columns(channels) for layer in layers)])
    mixing = layers[0].mixing if layers else None
    basis = channels.basis if mixing is None else to_basis(mixing)
    ratio = np.hypot(columns[:, U], columns[:, V])
    means, scales, rotations, colors = (
        np.ascontiguousarray(each).astype(np.float32)
        for each in (
            columns[:, :2],
            np.exp(0.5 * (columns[:, [AREA]] + ratio[:, None] * [1, -1])),
            0.5 * np.arctan2(columns[:, V], columns[:, U]),
            columns[:, COLOR:] @ basis,
        )
    )
    return GaussianArrays(means, scales, rotations, colors, height, width, alpha=channels.alpha)
