"""Conversion of CIELab to sRGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgs.io.pixels import SRGB, Floats
from fastgs.io.profiles import D50, adaptation_matrix, rgb_to_xyz

_BREAK, _SLOPE = 6 / 29, 3 * (6 / 29) ** 2  # CIE 15:2004, section 8.2.1


def lab_to_srgb(lab: NDArray[np.float64]) -> Floats:
    """Convert (H, W, 3) L in [0, 100], a and b (white at D50) to sRGB; colours outside its gamut are clipped."""
    middle = (lab[..., :1] + 16) / 116
    cubes = np.concatenate([middle + lab[..., 1:2] / 500, middle, middle - lab[..., 2:] / 200], axis=2)
    xyz = np.where(cubes > _BREAK, cubes**3, _SLOPE * (cubes - 4 / 29)) * np.array(D50)
    matrix = np.linalg.inv(rgb_to_xyz(SRGB)) @ adaptation_matrix(np.array(D50))
    linear = (xyz @ matrix.T).clip(0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colors: Floats = shown.clip(0, 1).astype(np.float32)
    return colors
