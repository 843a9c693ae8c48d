"""Colour management: conversion of a file's colours to sRGB.

A file can describe its colours in three ways: by an ICC profile, which LittleCMS applies; by code points (CICP, ITU-T
H.273); or by the gamma and chromaticities of PNG. The latter two are a curve and a matrix.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fastgs.io.pixels import D65, SRGB, Encoding, Floats, Pixels, UnsupportedError, warn
from fastgs.io.profiles import (
    COLORSPACES,
    adaptation_matrix,
    is_valid,
    make_profile,
    profile_fault,
    rgb_to_xyz,
    xy_to_xyz,
)
from fastgs.io.transfer import WHITE_LUMINANCE, decode_light

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
_CURVES = {16: "pq", 18: "hlg"}  # of high dynamic range
_LINEAR = Encoding(1.0)


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
    if np.allclose(chromaticities, SRGB, rtol=0, atol=0.003) or not is_valid(chromaticities):
        chromaticities = SRGB
    encoding = Encoding(None if abs(gamma / GAMMA - 1) < NEAR else 1 / gamma, chromaticities)
    return None if encoding == Encoding() else encoding


def cicp_profile(primaries: int, transfer: int) -> Encoding | None:
    """Return the encoding of code points of ITU-T H.273; None for sRGB and for curves that screens show as sRGB.

    Args:
        primaries: Code point of the primaries and the white point.
        transfer: Code point of the transfer function.

    Raises:
        UnsupportedError: The code points are rare.
    """
    if primaries in _PRIMARIES and transfer in _CURVES:
        return Encoding(None, _PRIMARIES[primaries], _CURVES[transfer])
    if primaries not in _PRIMARIES or transfer not in _EXPONENTS:
        kind = f"code points {primaries} and {transfer}"
        raise UnsupportedError(f"has colours of kind {kind} instead of sRGB; convert it to sRGB")
    encoding = Encoding(_EXPONENTS[transfer], _PRIMARIES[primaries])
    return None if encoding == Encoding() else encoding


def changes(profile: bytes | Encoding | None) -> bool:
    """Tell whether colours with this profile or encoding differ from sRGB; those with a damaged profile do not."""
    if not isinstance(profile, bytes):
        return profile is not None
    return profile_fault(profile) is None and _effect(profile) not in ("none", "unknown")


def check_profile(pixels: Pixels, name: str) -> Pixels:
    """Return the image without its ICC profile if that is damaged or belongs to another kind of colours.

    Browsers ignore such profiles as well. A warning (`ImageWarning`) of one line says so.

    Args:
        pixels: Image as it was read.
        name: Name of the image, with which the warning begins.
    """
    profile = pixels.profile
    if not isinstance(profile, bytes):
        return pixels
    fault = profile_fault(profile)
    kind, count = COLORSPACES.get(profile[16:20], (None, 0))
    channels = pixels.colors.shape[2]
    if fault is None and (kind is None or (count != channels and (kind, channels) != ("rgb", 1))):
        fault = (
            f"it is of {profile[16:20].decode('ascii', 'replace').strip()} colours, the image has {channels} channels"
        )
    if fault is None and _effect(profile) == "unknown":
        fault = "it cannot be applied"
    if fault is None:
        return pixels
    warn(name, f"its colour profile is damaged or does not fit ({fault}); the numbers are taken as they are")
    return replace(pixels, profile=None)


@functools.lru_cache(maxsize=16)
def _effect(profile: bytes) -> str:
    """Return what a profile does to colours: "none" if it changes none by half a step of 8 bits, else "some".

    "unknown" means that the CMS cannot apply it.
    """
    kind, count = COLORSPACES.get(profile[16:20], ("", 0))
    steps = np.linspace(0, 1, 9, dtype=np.float32)
    grid = np.stack(np.meshgrid(*[steps] * 4)[:count], axis=-1).reshape(81, 81, count) if count else None
    converted = None if grid is None else _transform(grid, profile, kind)
    if grid is None or converted is None:
        return "unknown"
    return "none" if kind != "cmyk" and bool(np.abs(converted - grid).max() < 0.5 / 255) else "some"


def to_srgb(pixels: Pixels) -> tuple[Floats, Floats | None]:
    """Convert the colours of an image whose profile was checked to sRGB, or to linear light if they are linear.

    Without a profile, CMYK is taken as ideal inks: R = (1 - C)(1 - K), and so on.

    Returns:
        (H, W, 1 or 3) colours, multiplied by alpha if those of the image were; and alpha, which may be None.
    """
    colors, alpha = pixels.colors, pixels.alpha
    associated = alpha if pixels.associated else None
    if pixels.profile is not None:
        converted = _convert_by_profile(
            colors if associated is None else unmultiply(colors, associated, pixels.linear), pixels
        )
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
        if pixels.linear:
            light: Floats = np.maximum(_change_primaries(colors, profile), 0)
            return light
        return _convert_by_encoding(colors, profile) if colors.shape[2] != 4 else None
    assert isinstance(profile, bytes)
    if not pixels.linear and _effect(profile) == "none":
        return None
    kind, _ = COLORSPACES[profile[16:20]]
    if kind == "rgb" and colors.shape[2] == 1:
        colors = np.repeat(colors, 3, axis=2)
    return _transform(colors, profile, kind, pixels.depth, pixels.linear)


def _convert_by_encoding(colors: Floats, encoding: Encoding) -> Floats:
    """Convert (H, W, 1 or 3) colours in [0, 1] to sRGB; colours outside its gamut are clipped.

    Those of high dynamic range become linear light with the primaries of sRGB.
    """
    if encoding.curve:
        light = _decode_hlg(colors) if encoding.curve == "hlg" else _decode_pq(colors)
        visible: Floats = np.maximum(_change_primaries(light, encoding), 0)
        return visible
    if encoding.exponent is None:
        linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    else:
        linear = colors**encoding.exponent
    linear = _change_primaries(linear, encoding).clip(0, 1)
    shown: NDArray[Any] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return shown.clip(0, 1).astype(np.float32)


def _decode_pq(colors: Floats) -> Floats:
    """Return the light that a screen shows for PQ (ITU-R BT.2100-2, table 4), where 1 is 203 cd/m2."""
    light: Floats = decode_light(torch.from_numpy(np.require(colors, requirements=["C", "W"])), "pq").numpy()
    return light


def _decode_hlg(colors: Floats) -> Floats:
    """Return the light that a screen of 1000 cd/m2 shows for HLG (ITU-R BT.2100-2, table 5), where 1 is 203 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    values = colors.astype(np.float64)
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])[:, None] if scene.shape[2] == 3 else scene
    light: Floats = (1000 / WHITE_LUMINANCE * luminance**0.2 * scene).astype(np.float32)
    return light


def _change_primaries(linear: NDArray[Any], encoding: Encoding) -> NDArray[Any]:
    """Convert linear (H, W, 1 or 3) colours with the primaries of an encoding to those of sRGB."""
    places = encoding.chromaticities
    if places == SRGB or linear.shape[2] != 3:
        return linear
    matrix = np.linalg.inv(rgb_to_xyz(SRGB)) @ adaptation_matrix(xy_to_xyz(*places[:2])) @ rgb_to_xyz(places)
    converted: NDArray[Any] = (linear @ matrix.T).astype(linear.dtype)
    return converted


def unmultiply(colors: Floats, alpha: Floats, unbounded: bool = False) -> Floats:
    """Divide (H, W, C) colours by alpha, at most up to 1 unless unbounded; where alpha is 0 they stay black."""
    divided: Floats = colors / np.maximum(alpha, np.float32(1e-6))[..., None]
    return np.where(alpha[..., None] > 0, divided, 0) if unbounded else np.minimum(divided, 1)


def _transform(colors: Floats, profile: bytes, kind: str, depth: int = 16, linear: bool = False) -> Floats | None:
    """Convert (H, W, C) colours in [0, 1] to sRGB (H, W, 3) by an ICC profile; None if the profile is damaged.

    The intent is perceptual, with black point compensation. RGB and CMYK of 8 bits are converted as integers: for RGB,
    LittleCMS then has tables that are accurate to a third of a step and 20 times as fast. Everything else is converted
    in floating point, except for CMYK of more bits, in integers of 16 bits, since floating-point CMYK is in percent
    there. If `linear`, colours may exceed 1, and become linear light with the primaries of sRGB.
    """
    import imagecodecs

    dtype: type[Any] = np.uint8 if depth <= 8 and kind != "gray" else np.uint16 if kind == "cmyk" else np.float32
    limit = 1 if dtype is np.float32 else np.iinfo(dtype).max
    given = np.ascontiguousarray(colors) if limit == 1 else np.rint(colors * limit).astype(dtype)
    given = given[..., 0] if kind == "gray" else given
    out: type[Any] = np.uint16 if dtype is np.uint8 else np.float32
    wanted = make_profile(_LINEAR) if linear else imagecodecs.cms_profile("srgb")
    try:
        converted = imagecodecs.cms_transform(
            given, profile, wanted, colorspace=kind, outcolorspace="rgb", outdtype=out,
            intent=imagecodecs.CMS.INTENT.PERCEPTUAL, flags=imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
    except (RuntimeError, ValueError):
        return None
    scaled: Floats = converted.astype(np.float32) / np.float32(65535 if out is np.uint16 else 1)
    return np.maximum(scaled, 0) if linear else np.clip(scaled, 0, 1)
