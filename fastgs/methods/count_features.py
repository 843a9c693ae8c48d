"""Features of an image that tell how many Gaussians it takes: how well its largest wavelets alone approximate it.

Both Gaussians and wavelets go where the image has detail, so the error that is left with the M largest wavelets
(nonlinear approximation, DeVore 1998) falls with M as the error of a fit falls with K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

# Low-pass filters of orthogonal wavelets: one has no overlap, the other no coefficients on ramps (Daubechies 1988).
HAAR = np.full(2, math.sqrt(0.5))
DAUBECHIES = np.array([0.48296291314453414, 0.8365163037378079, 0.2241438680420134, -0.12940952255126037])

# log2 of the numbers of wavelets, relative to K, whose PSNRs are features.
OCTAVES = (-2, -1, 0, 1, 2, 3)
LEAST_MSE = 1e-7  # of an approximation, so that flat images have a PSNR
_GRID = np.arange(0.0, 24.01, 0.25)  # log2 of numbers of wavelets


@dataclass(frozen=True)
class ImageFeatures:
    """Features of an image, known before any fit.

    Attributes:
        shape: Channels, height and width.
        curves: (2, M) PSNR in dB that is left with so many of the largest wavelets, for each filter.
    """

    shape: tuple[int, int, int]
    curves: Array

    @classmethod
    def of(cls, image: Tensor) -> ImageFeatures:
        """Return the features of a (C, H, W) image in [0, 1]."""
        values = image.detach().cpu().numpy().astype(np.float64)
        channels, height, width = values.shape
        return cls((channels, height, width), np.stack([_curve(values, each) for each in (HAAR, DAUBECHIES)]))

    @property
    def pixels(self) -> int:
        """Return the number of pixels."""
        return self.shape[1] * self.shape[2]

    def at(self, log_count: float, iterations: int) -> Array:
        """Return the features for a number of Gaussians.

        Args:
            log_count: log2 of K.
            iterations: Number of steps of the fit.

        Returns:
            PSNR of the approximations, then logarithms of Gaussians per pixel, Gaussians, pixels and steps, and the
            number of channels.
        """
        approximations = [np.interp(log_count + octave, _GRID, curve) for curve in self.curves for octave in OCTAVES]
        log_pixels = math.log2(self.pixels)
        sizes = [log_count - log_pixels, log_count, log_pixels, math.log2(iterations / 200), min(self.shape[0], 4)]
        return np.array([*approximations, *sizes])


REFERENCE = 2 * len(OCTAVES) - 3  # index of the approximation that is nearest the PSNR of a fit


def _curve(image: Array, low: Array) -> Array:
    """Return the PSNR at `_GRID` of approximations by the largest wavelets of all channels together."""
    energies = np.sort(np.concatenate(_energies(image, low)))
    left = np.concatenate([[0.0], np.cumsum(energies)])[::-1] / image.size  # left[m]: without the m largest
    counts = np.minimum(2.0**_GRID, len(energies))
    mse = np.interp(counts, np.arange(len(left)), left)
    psnr: Array = -10 * np.log10(mse + LEAST_MSE)
    return psnr


def _energies(image: Array, low: Array) -> list[Array]:
    """Return the squared wavelet coefficients of a (C, H, W) image, summed over channels, by level and direction."""
    found = []
    while min(image.shape[1:]) > 1 and max(image.shape[1:]) > 2:
        image, *details = (each for half in _split(image, low, 1) for each in _split(half, low, 2))
        found += [(detail**2).sum(0).ravel() for detail in details]
    found.append(((image - image.mean((1, 2), keepdims=True)) ** 2).sum(0).ravel())
    return found


def _split(values: Array, low: Array, axis: int) -> tuple[Array, Array]:
    """Return the low and the high band along an axis, with half as many samples each; borders are mirrored."""
    length = values.shape[axis]
    padding = [(0, 0)] * values.ndim
    padding[axis] = (0, len(low) - 2 + length % 2)
    padded = np.moveaxis(np.pad(values, padding, mode="symmetric"), axis, 0)
    half = (length + 1) // 2
    high = low[::-1] * (-1.0) ** np.arange(len(low))
    taps = [padded[start : start + 2 * half - 1 : 2] for start in range(len(low))]
    bands = (sum(weight * tap for weight, tap in zip(band, taps, strict=True)) for band in (low, high))
    first, second = (np.moveaxis(np.asarray(band), 0, axis) for band in bands)
    return first, second
