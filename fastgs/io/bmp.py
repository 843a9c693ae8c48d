"""Colours of BMP files, which Pillow leaves out: the headers of versions 4 and 5 state them."""

from __future__ import annotations

import struct

import numpy as np

from fastgs.io.pixels import SRGB, Encoding
from fastgs.io.profiles import is_valid

_HEADER = 14  # offset of the header of the bitmap, which begins with its size
_V4, _V5 = 108, 124  # sizes of the header
_KIND, _ENDPOINTS, _GAMMA, _PROFILE = 70, 74, 110, 126  # offsets in the file
_CALIBRATED, _EMBEDDED = b"\0\0\0\0", b"DEBM"  # kinds of colours; others are sRGB, or name another file


def read_profile(data: bytes) -> bytes | Encoding | None:
    """Return the ICC profile of a BMP file (version 5), or its gamma and primaries (version 4); None for sRGB."""
    size = int.from_bytes(data[_HEADER : _HEADER + 4], "little")
    kind = data[_KIND : _KIND + 4]
    if size >= _V5 and kind == _EMBEDDED:
        offset, length = struct.unpack_from("<II", data, _PROFILE)
        return data[_HEADER + offset : _HEADER + offset + length]
    if size >= _V4 and kind == _CALIBRATED:
        return _read_calibration(data)
    return None


def _read_calibration(data: bytes) -> Encoding | None:
    """Return the encoding by X, Y, Z of the primaries and gamma; None if they are missing or those of sRGB."""
    xyz = np.array(struct.unpack_from("<9i", data, _ENDPOINTS)).reshape(3, 3) / 2**30
    gamma = struct.unpack_from("<3I", data, _GAMMA)[1] / 2**16
    points = np.stack([xyz.sum(axis=0), *xyz])
    if not (points.sum(axis=1) > 0).all() or gamma <= 0:
        return None
    chromaticities = tuple((points[:, :2] / points.sum(axis=1, keepdims=True)).ravel().tolist())
    if not is_valid(chromaticities):
        return None
    encoding = Encoding(gamma, SRGB if np.allclose(chromaticities, SRGB, rtol=0, atol=0.003) else chromaticities)
    return None if encoding == Encoding(gamma) and abs(gamma - 2.2) < 0.1 else encoding
