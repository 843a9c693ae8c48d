"""Colour management: from the colours of a file to sRGB.

Three things in a file can say what its numbers mean: an ICC profile, which LittleCMS understands; code points (CICP,
ITU-T H.273); or the gamma and chromaticities of PNG. The latter two are a curve and a matrix.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastgs.io.pixels import D65, SRGB, Chromaticities, Encoding, Floats, Pixels, UnsupportedError

# Exponents of files closer than this to that of sRGB mean sRGB, which has no pure exponent (as libpng has it).
GAMMA, NEAR = 0.45455, 0.05
# Primaries and exponents by code point. None is the curve of sRGB, as which screens show those of video.
_PRIMARIES = {
    **dict.fromkeys((1, 2, 5, 6, 7), SRGB),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_EXPONENTS = {**dict.fromkeys((1, 2, 6, 13, 14, 15)), 4: 2.2, 5: 2.8, 8: 1.0}
_COLORSPACES = {b"GRAY": "gray", b"RGB ": "rgb", b"CMYK": "cmyk"}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def file_profile(image: Image.Image) -> bytes | Encoding | None:
    """Return the ICC profile of a file that Pillow has opened, or what gAMA and cHRM say (PNG); None for sRGB.

    As the PNG specification orders: a profile counts before sRGB, and both before gAMA and cHRM.
    """
    info = image.info
    if info.get("icc_profile"):
        return bytes(info["icc_profile"])
    if "srgb" in info:
        return None
    gamma, places = info.get("gamma") or GAMMA, tuple(info.get("chromaticity") or SRGB)
    if np.allclose(places, SRGB, rtol=0, atol=0.003) or not _possible(places):
        places = SRGB
    encoding = Encoding(None if abs(gamma / GAMMA - 1) < NEAR else 1 / gamma, places)
    return None if encoding == Encoding() else encoding


def cicp_profile(primaries: int, transfer: int) -> Encoding | None:
    """Return what code points of ITU-T H.273 say; None for sRGB and what is seen as that.

    Raises:
        UnsupportedError: They are of high dynamic range, or rare.
    """
    if primaries not in _PRIMARIES or transfer not in _EXPONENTS:
        kind = {16: "PQ (HDR)", 18: "HLG (HDR)"}.get(transfer, f"code points {primaries} and {transfer}")
        raise UnsupportedError(f"has colours of kind {kind} instead of sRGB; convert it to sRGB")
    encoding = Encoding(_EXPONENTS[transfer], _PRIMARIES[primaries])
    return None if encoding == Encoding() else encoding


def changes(profile: bytes | Encoding | None) -> bool:
    """Tell whether what a file says of its colours makes them others than sRGB."""
    return not _is_srgb(profile) if isinstance(profile, bytes) else profile is not None


@functools.lru_cache(maxsize=16)
def _is_srgb(profile: bytes) -> bool:
    """Tell whether an ICC profile changes nothing by half a step of 8 bits; pixels are then left alone."""
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

    An ICC profile of another kind of colours than the image has, or a damaged one, is ignored, as browsers do. Without
    one, CMYK is taken as ideal inks: (1 - C)(1 - K) and so on.
    """
    colors, alpha = pixels.colors, pixels.alpha
    associated = alpha if pixels.associated else None
    if pixels.profile is not None:
        converted = _managed(colors if associated is None else _divide(colors, associated), pixels)
        if converted is not None:
            return (converted if associated is None else converted * associated[..., None]), alpha
    if colors.shape[2] == 4:
        opaque = np.float32(1) if associated is None else associated[..., None]
        colors = (opaque - colors[..., :3]) * (1 - colors[..., 3:] / np.maximum(opaque, np.float32(1e-6)))
    return colors, alpha


def _managed(colors: Floats, pixels: Pixels) -> Floats | None:
    """Convert colours, not multiplied by alpha, as the image says; None if that changes nothing or cannot be done."""
    profile = pixels.profile
    if isinstance(profile, Encoding):
        return _shown(colors, profile) if colors.shape[2] != 4 else None
    assert isinstance(profile, bytes)
    kind = _COLORSPACES.get(profile[16:20])
    if kind is None or _is_srgb(profile):
        return None
    if kind == "rgb" and colors.shape[2] == 1:
        colors = np.repeat(colors, 3, axis=2)
    fits = {"gray": 1, "rgb": 3, "cmyk": 4}[kind] == colors.shape[2]
    return _convert(colors, profile, kind, pixels.depth) if fits else None


def _shown(colors: Floats, encoding: Encoding) -> Floats:
    """Convert (H, W, 1 or 3) in [0, 1] to sRGB; what sRGB cannot show is clipped."""
    if encoding.exponent is None:
        linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    else:
        linear = colors**encoding.exponent
    if encoding.places != SRGB and colors.shape[2] == 3:
        matrix = np.linalg.inv(_to_xyz(SRGB)) @ _adaptation(encoding.places[:2]) @ _to_xyz(encoding.places)
        linear = (linear @ matrix.T).clip(0, 1)
    shown: NDArray[Any] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return shown.clip(0, 1).astype(np.float32)


def _divide(colors: Floats, alpha: Floats) -> Floats:
    """Undo the multiplication by alpha; black where nothing is left of the colour."""
    divided: Floats = np.minimum(colors / np.maximum(alpha, 1e-6)[..., None], 1)
    return divided


def _convert(colors: Floats, profile: bytes, kind: str, depth: int = 16) -> Floats | None:
    """Convert (H, W, C) to sRGB (H, W, 3) by an ICC profile; None if that is damaged.

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


def _to_xyz(places: Chromaticities) -> NDArray[np.float64]:
    """The matrix from linear R, G, B to X, Y, Z, where white has Y = 1."""
    columns = np.stack([_xyz(*places[index : index + 2]) for index in (2, 4, 6)], axis=1)
    matrix: NDArray[np.float64] = columns * np.linalg.solve(columns, _xyz(*places[:2]))
    return matrix


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1, (1 - x - y) / y])


def _adaptation(white: tuple[float, ...]) -> NDArray[np.float64]:
    """The matrix in X, Y, Z that makes a white D65 (Bradford, as in ICC profiles)."""
    gains = (_BRADFORD @ _xyz(*D65)) / (_BRADFORD @ _xyz(*white))
    matrix: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    return matrix


def _possible(places: Chromaticities) -> bool:
    """Tell whether there can be colours of these chromaticities."""
    if len(places) != 8 or min(places[1::2]) <= 0:
        return False
    columns = np.stack([_xyz(*places[index : index + 2]) for index in (2, 4, 6)])
    return bool(np.linalg.matrix_rank(columns) == 3 and np.isfinite(_adaptation(places[:2])).all())
