"""Colour management: conversion of a file's colours to sRGB.

A file can describe its colours in three ways: by an ICC profile, which LittleCMS applies; by code points (CICP, ITU-T
H.273); or by the gamma and chromaticities of PNG. The latter two are a curve and a matrix.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastgs.io.pixels import D65, SRGB, Chromaticities, Encoding, Floats, Pixels, UnsupportedError

# The gamma that PNG files state for sRGB, whose curve has no exact exponent; and the relative difference up to which
# another gamma means sRGB, too (as in libpng).
GAMMA, NEAR = 0.45455, 0.05
# Primaries and exponents by code point. None is the curve of sRGB, with which screens also show the curves of video.
_PRIMARIES = {
    **dict.fromkeys((1, 2, 5, 6, 7), SRGB),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_EXPONENTS = {**dict.fromkeys((1, 2, 6, 13, 14, 15)), 4: 2.2, 5: 2.8, 8: 1.0}
_COLORSPACES = {b"GRAY": "gray", b"RGB ": "rgb", b"CMYK": "cmyk"}
# The Bradford transform from X, Y, Z to the responses of cones, with which ICC profiles adapt white points.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def file_profile(image: Image.Image) -> bytes | Encoding | None:
    """Return the ICC profile of a file that Pillow has opened, or the encoding by gAMA and cHRM (PNG); None for sRGB.

    By the PNG specification, an ICC profile has precedence over sRGB, and both over gAMA and cHRM.
    """
    info = image.info
    if info.get("icc_profile"):
        return bytes(info["icc_profile"])
    if "srgb" in info:
        return None
    gamma, chromaticities = info.get("gamma") or GAMMA, tuple(info.get("chromaticity") or SRGB)
    if np.allclose(chromaticities, SRGB, rtol=0, atol=0.003) or not _is_valid(chromaticities):
        chromaticities = SRGB
    encoding = Encoding(None if abs(gamma / GAMMA - 1) < NEAR else 1 / gamma, chromaticities)
    return None if encoding == Encoding() else encoding


def cicp_profile(primaries: int, transfer: int) -> Encoding | None:
    """Return the encoding of code points of ITU-T H.273; None for sRGB and for curves that screens show as sRGB.

    Args:
        primaries: Code point of the primaries and the white point.
        transfer: Code point of the transfer function.

    Raises:
        UnsupportedError: The code points are of high dynamic range, or rare.
    """
    if primaries not in _PRIMARIES or transfer not in _EXPONENTS:
        kind = {16: "PQ (HDR)", 18: "HLG (HDR)"}.get(transfer, f"code points {primaries} and {transfer}")
        raise UnsupportedError(f"has colours of kind {kind} instead of sRGB; convert it to sRGB")
    encoding = Encoding(_EXPONENTS[transfer], _PRIMARIES[primaries])
    return None if encoding == Encoding() else encoding


def changes(profile: bytes | Encoding | None) -> bool:
    """Tell whether colours with this profile or encoding differ from sRGB."""
    return not _is_srgb(profile) if isinstance(profile, bytes) else profile is not None


@functools.lru_cache(maxsize=16)
def _is_srgb(profile: bytes) -> bool:
    """Tell whether an ICC profile is damaged or changes no colour by half a step of 8 bits; pixels stay as they are."""
    kind = _COLORSPACES.get(profile[16:20])
    if kind == "cmyk" or kind is None:
        return False
    steps = np.linspace(0, 1, 9, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    grid = grid[..., :1] if kind == "gray" else grid
    converted = _transform(grid, profile, kind)
    return converted is None or bool(np.abs(converted - grid).max() < 0.5 / 255)


def to_srgb(pixels: Pixels) -> tuple[Floats, Floats | None]:
    """Convert the colours of an image to sRGB.

    An ICC profile of another kind of colours than the image has, or a damaged one, is ignored, as browsers do. Without
    a profile, CMYK is taken as ideal inks: R = (1 - C)(1 - K), and so on.

    Returns:
        (H, W, 1 or 3) colours, multiplied by alpha if those of the image were; and alpha, which may be None.
    """
    colors, alpha = pixels.colors, pixels.alpha
    associated = alpha if pixels.associated else None
    if pixels.profile is not None:
        converted = _convert_by_profile(colors if associated is None else _unmultiply(colors, associated), pixels)
        if converted is not None:
            return (converted if associated is None else converted * associated[..., None]), alpha
    if colors.shape[2] == 4:
        opaque = np.float32(1) if associated is None else associated[..., None]
        colors = (opaque - colors[..., :3]) * (1 - colors[..., 3:] / np.maximum(opaque, np.float32(1e-6)))
    return colors, alpha


def _convert_by_profile(colors: Floats, pixels: Pixels) -> Floats | None:
    """Convert colours without alpha by the image's profile or encoding; None if it changes nothing or does not fit."""
    profile = pixels.profile
    if isinstance(profile, Encoding):
        return _convert_by_encoding(colors, profile) if colors.shape[2] != 4 else None
    assert isinstance(profile, bytes)
    kind = _COLORSPACES.get(profile[16:20])
    if kind is None or _is_srgb(profile):
        return None
    if kind == "rgb" and colors.shape[2] == 1:
        colors = np.repeat(colors, 3, axis=2)
    fits = {"gray": 1, "rgb": 3, "cmyk": 4}[kind] == colors.shape[2]
    return _transform(colors, profile, kind, pixels.depth) if fits else None


def _convert_by_encoding(colors: Floats, encoding: Encoding) -> Floats:
    """Convert (H, W, 1 or 3) colours in [0, 1] to sRGB; colours outside its gamut are clipped."""
    if encoding.exponent is None:
        linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    else:
        linear = colors**encoding.exponent
    if encoding.chromaticities != SRGB and colors.shape[2] == 3:
        places = encoding.chromaticities
        matrix = np.linalg.inv(_rgb_to_xyz(SRGB)) @ _adaptation_matrix(places[:2]) @ _rgb_to_xyz(places)
        linear = (linear @ matrix.T).clip(0, 1)
    shown: NDArray[Any] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return shown.clip(0, 1).astype(np.float32)


def _unmultiply(colors: Floats, alpha: Floats) -> Floats:
    """Divide (H, W, C) colours by alpha, at most up to 1; where alpha is 0 they stay black."""
    divided: Floats = np.minimum(colors / np.maximum(alpha, 1e-6)[..., None], 1)
    return divided


def _transform(colors: Floats, profile: bytes, kind: str, depth: int = 16) -> Floats | None:
    """Convert (H, W, C) colours in [0, 1] to sRGB (H, W, 3) by an ICC profile; None if the profile is damaged.

    RGB and CMYK of 8 bits are converted as integers: for RGB, LittleCMS then has tables that are accurate to a third
    of a step and 20 times as fast. Everything else is converted in floating point, except for CMYK of more bits, in
    integers of 16 bits, since floating-point CMYK is in percent there.
    """
    import imagecodecs

    dtype: type[Any] = np.uint8 if depth <= 8 and kind != "gray" else np.uint16 if kind == "cmyk" else np.float32
    limit = 1 if dtype is np.float32 else np.iinfo(dtype).max
    given = np.ascontiguousarray(colors) if limit == 1 else np.rint(colors * limit).astype(dtype)
    given = given[..., 0] if kind == "gray" else given
    out: type[Any] = np.uint16 if dtype is np.uint8 else np.float32
    try:
        converted = imagecodecs.cms_transform(
            given, profile, imagecodecs.cms_profile("srgb"), colorspace=kind, outcolorspace="rgb", outdtype=out
        )
    except (RuntimeError, ValueError):
        return None
    scaled: Floats = np.clip(converted.astype(np.float32) / np.float32(65535 if out is np.uint16 else 1), 0, 1)
    return scaled


def _rgb_to_xyz(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """Return the matrix from linear R, G, B to X, Y, Z, where white has Y = 1."""
    columns = np.stack([_xy_to_xyz(*chromaticities[index : index + 2]) for index in (2, 4, 6)], axis=1)
    matrix: NDArray[np.float64] = columns * np.linalg.solve(columns, _xy_to_xyz(*chromaticities[:2]))
    return matrix


def _xy_to_xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1, (1 - x - y) / y])


def _adaptation_matrix(white: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the matrix in X, Y, Z that adapts a white point x, y to D65."""
    gains = (_BRADFORD @ _xy_to_xyz(*D65)) / (_BRADFORD @ _xy_to_xyz(*white))
    matrix: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    return matrix


def _is_valid(chromaticities: Chromaticities) -> bool:
    """Tell whether chromaticities span a colour space and can be adapted to D65."""
    if len(chromaticities) != 8 or min(chromaticities[1::2]) <= 0:
        return False
    columns = np.stack([_xy_to_xyz(*chromaticities[index : index + 2]) for index in (2, 4, 6)])
    return bool(np.linalg.matrix_rank(columns) == 3 and np.isfinite(_adaptation_matrix(chromaticities[:2])).all())
