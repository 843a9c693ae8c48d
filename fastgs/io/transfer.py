"""Encodings of light: the sRGB curve, and two perceptual curves for high dynamic range.

Pixels in linear light are a poor target of a fit, because the eye sees ratios: an error of 0.01 is invisible in a
cloud and ruins a shadow. Pictures of high dynamic range are therefore kept as numbers in [0, 1] on one of two fixed
curves. Light of 1 is diffuse white, as in sRGB.

"pq" (SMPTE ST 2084, the curve of HDR10) reaches up to 10,000 cd/m2. White lies at 203 cd/m2, as ITU-R BT.2408
recommends, so that 1 in the encoding is a light of 10000 / 203 = 49.26:

    y = light * 203 / 10000;  value = ((c1 + c2 y^m1) / (1 + c3 y^m1))^m2

"log" reaches up to 65504, the largest number of 16-bit floats, for pictures with brighter spots, such as the sun:

    value = log2(1 + 1024 light) / log2(1 + 1024 * 65504)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# Luminance in cd/m2 of a light of 1 (ITU-R BT.2408-7, section 2.2), and of the end of the curve "pq".
WHITE_LUMINANCE, PQ_LUMINANCE = 203.0, 10_000.0
# Light that a value of 1 stands for, by name of the encoding.
PEAKS = {"srgb": 1.0, "pq": PQ_LUMINANCE / WHITE_LUMINANCE, "log": 65504.0}
# SMPTE ST 2084:2014, section 5.2.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# Light below about 1 / _KNEE is encoded linearly, light above it by its logarithm.
_KNEE = 1024.0


def choose_transfer(peak: float) -> str:
    """Return the encoding of high dynamic range for a picture whose brightest light is `peak`."""
    return "pq" if peak <= PEAKS["pq"] * (1 + 1e-6) else "log"  # as float32 rounds


def encode_light(light: Tensor, transfer: str) -> Tensor:
    """Encode linear light; light outside [0, PEAKS[transfer]] is clipped.

    Args:
        light: Linear light of any shape, where 1 is diffuse white.
        transfer: "srgb", "pq" or "log".

    Returns:
        Values in [0, 1] in the dtype of the light; they are computed in float64.

    Raises:
        ValueError: The encoding is unknown.
    """
    check_transfer(transfer)
    exact = light.double().clamp(0, PEAKS[transfer])
    if transfer == "srgb":
        values = torch.where(exact <= 0.0031308, 12.92 * exact, 1.055 * exact ** (1 / 2.4) - 0.055)
    elif transfer == "pq":
        power = (exact / PEAKS["pq"]) ** _M1
        values = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    else:
        values = torch.log2(1 + _KNEE * exact) / math.log2(1 + _KNEE * PEAKS["log"])
    return values.clamp(0, 1).to(light.dtype)


def decode_light(values: Tensor, transfer: str) -> Tensor:
    """Return the linear light of encoded values; values outside [0, 1] are clipped.

    Args:
        values: Encoded values of any shape.
        transfer: "srgb", "pq" or "log".

    Returns:
        Light in [0, PEAKS[transfer]] in the dtype of the values; it is computed in float64.

    Raises:
        ValueError: The encoding is unknown.
    """
    check_transfer(transfer)
    exact = values.double().clamp(0, 1)
    if transfer == "srgb":
        light = torch.where(exact <= 0.04045, exact / 12.92, ((exact + 0.055) / 1.055) ** 2.4)
    elif transfer == "pq":
        root = exact ** (1 / _M2)
        light = ((root - _C1).clamp(min=0) / (_C2 - _C3 * root)) ** (1 / _M1) * PEAKS["pq"]
    else:
        light = (2 ** (exact * math.log2(1 + _KNEE * PEAKS["log"])) - 1) / _KNEE
    return light.clamp(0, PEAKS[transfer]).to(values.dtype)


def check_transfer(transfer: Any) -> None:
    """Check the name of an encoding.

    Raises:
        ValueError: The encoding is unknown.
    """
    if transfer not in PEAKS:
        raise ValueError(f"transfer: expected one of {', '.join(PEAKS)}, got {transfer!r}")
