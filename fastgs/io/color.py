"""Colour management: from the colours of a file to sRGB, by LittleCMS.

Three things in a file can say what its numbers mean: an ICC profile, code points (CICP, ITU-T H.273), or the gamma and
chromaticities of PNG. The latter two are made a profile, so that all colours go one way.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from PIL import Image

from fastgs.io.pixels import Floats, Pixels, UnsupportedError

# Chromaticities x, y of white, red, green and blue.
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# Exponents of files closer than this to that of sRGB mean sRGB, which has no pure exponent (as libpng has it).
GAMMA, NEAR = 0.45455, 0.05
# Primaries and transfer functions by code point. Those of video are seen as sRGB on every screen; None is its curve.
_WHITE = SRGB[:2]
_PRIMARIES = {
    **dict.fromkeys((1, 2, 5, 6, 7), SRGB),
    9: (*_WHITE, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (*_WHITE, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_EXPONENTS = {**dict.fromkeys((1, 2, 6, 13, 14, 15)), 4: 2.2, 5: 2.8, 8: 1.0}
_COLORSPACES = {b"GRAY": "gray", b"RGB ": "rgb", b"CMYK": "cmyk"}


def file_profile(image: Image.Image) -> bytes | None:
    """Return the ICC profile of a file that Pillow has opened, or one made of gAMA and cHRM (PNG); None for sRGB.

    As the PNG specification orders: a profile counts before sRGB, and both before gAMA and cHRM.
    """
    info = image.info
    profile = info.get("icc_profile")
    if profile:
        return bytes(profile)
    if "srgb" in info:
        return None
    gamma, places = info.get("gamma") or GAMMA, info.get("chromaticity") or SRGB
    plain = abs(gamma / GAMMA - 1) < NEAR
    if plain and np.allclose(places, SRGB, rtol=0, atol=0.003):
        return None
    return _simple_profile(None if plain else 1 / gamma, tuple(places))


def cicp_profile(primaries: int, transfer: int) -> bytes | None:
    """Return a profile for code points of ITU-T H.273; None for sRGB and what is seen as that.

    Raises:
        UnsupportedError: They are of high dynamic range, or rare.
    """
    if primaries not in _PRIMARIES or transfer not in _EXPONENTS:
        kind = {16: "PQ (HDR)", 18: "HLG (HDR)"}.get(transfer, f"code points {primaries} and {transfer}")
        raise UnsupportedError(f"has colours of kind {kind} instead of sRGB; convert it to sRGB")
    places, exponent = _PRIMARIES[primaries], _EXPONENTS[transfer]
    return None if places == SRGB and exponent is None else _simple_profile(exponent, places)


@functools.lru_cache(maxsize=16)
def _simple_profile(exponent: float | None, places: tuple[float, ...]) -> bytes | None:
    """Make a profile of primaries and an exponent, that of sRGB for None; None where there is no such."""
    import imagecodecs

    white, *primaries = [(*places[index : index + 2], 1.0) for index in range(0, 8, 2)]
    curve: dict[str, Any] = {"gamma": exponent}
    if exponent is None:
        steps = np.linspace(0, 1, 4096, dtype=np.float32)
        curve = {"transferfunction": np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)}
    try:
        made: bytes = imagecodecs.cms_profile("rgb", whitepoint=white, primaries=sum(primaries, ()), **curve)
    except (RuntimeError, ValueError):  # numbers that no colours can have
        return None
    return made


@functools.lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Tell whether a profile changes gray or RGB by less than half a step of 8 bits; pixels are then left alone."""
    kind = _COLORSPACES.get(profile[16:20])
    if kind == "cmyk" or kind is None:
        return False
    steps = np.linspace(0, 1, 9, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    grid = grid[..., :1] if kind == "gray" else grid
    converted = _convert(grid, profile, kind)
    return converted is None or bool(np.abs(converted - grid).max() < 0.5 / 255)


def to_srgb(pixels: Pixels) -> tuple[Floats, Floats | None]:
    """Return (H, W, 1 or 3) colours in sRGB, multiplied by alpha if they were, and alpha.

    A profile of another kind of colours than the image has, or a damaged one, is ignored, as browsers do. Without one,
    CMYK is taken as ideal inks: (1 - C)(1 - K) and so on.
    """
    colors, alpha, profile = pixels.colors, pixels.alpha, pixels.profile
    kind = _COLORSPACES.get(profile[16:20]) if profile else None
    if profile and kind and not is_srgb(profile):
        if kind == "rgb" and colors.shape[2] == 1:
            colors = np.repeat(colors, 3, axis=2)
        if {"gray": 1, "rgb": 3, "cmyk": 4}[kind] == colors.shape[2]:
            associated = alpha if pixels.associated else None
            straight = colors if associated is None else _divide(colors, associated)
            converted = _convert(straight, profile, kind, pixels.depth)
            if converted is not None:
                return (converted if associated is None else converted * associated[..., None]), alpha
    if colors.shape[2] == 4:
        opaque = np.float32(1) if alpha is None or not pixels.associated else alpha[..., None]
        colors = (opaque - colors[..., :3]) * (1 - colors[..., 3:] / np.maximum(opaque, np.float32(1e-6)))
    return colors, alpha


def _divide(colors: Floats, alpha: Floats) -> Floats:
    """Undo the multiplication by alpha; black where nothing is left of the colour."""
    divided: Floats = np.minimum(colors / np.maximum(alpha, 1e-6)[..., None], 1)
    return divided


def _convert(colors: Floats, profile: bytes, kind: str, depth: int = 16) -> Floats | None:
    """Convert (H, W, C) to sRGB (H, W, 3); None if the profile is damaged.

    RGB of 8 bits goes by tables that are right to a third of a step and 20 times as fast; all else in floating point,
    but for CMYK, which LittleCMS counts in percent there.
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
