"""ICC profiles: the ones that are written, and the faults of those that are read."""

from __future__ import annotations

import functools
import struct

import numpy as np
from numpy.typing import NDArray

from fastgs.io.pixels import D65, Chromaticities, Encoding

# Colour spaces of profiles (bytes 16 to 20) that are read: name for the CMS, and number of channels.
COLORSPACES = {b"GRAY": ("gray", 1), b"RGB ": ("rgb", 3), b"CMYK": ("cmyk", 4)}
_HEADER, _TAG = 128, 12  # bytes of the header, and of an entry in the list of tags behind it
D50 = (0.9642, 1.0, 0.8249)  # X, Y, Z of white in the connection space of profiles
# The Bradford transform from X, Y, Z to the responses of cones, with which ICC profiles adapt white points.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def profile_fault(profile: bytes) -> str | None:
    """Return what is wrong with the frame of an ICC profile; None if header and tags lie within the file.

    Bytes behind the size that the header states are padding and no fault. What the tags hold is left to the CMS.
    """
    if len(profile) < _HEADER + 4 or profile[36:40] != b"acsp":
        return "it is not an ICC profile"
    stated = int.from_bytes(profile[:4], "big")
    if stated > len(profile):
        return f"it states {stated} bytes but has {len(profile)}"
    count = int.from_bytes(profile[_HEADER : _HEADER + 4], "big")
    if stated < _HEADER + 4 + _TAG * count:
        return f"it states {stated} bytes, too few for its {count} tags"
    for number in range(count):
        place = _HEADER + 4 + _TAG * number
        offset, size = struct.unpack_from(">II", profile, place + 4)
        if offset + size > stated:
            return f"it states {stated} bytes, but its tags need {offset + size}"
    return None


@functools.lru_cache(maxsize=16)
def make_profile(encoding: Encoding = Encoding(), gray: bool = False) -> bytes:  # noqa: B008 - it is frozen
    """Make an ICC profile (version 4.3); equal encodings give equal bytes.

    Args:
        encoding: Curve and chromaticities; by default those of sRGB.
        gray: True for a profile of gray, which has the curve and the white point only.
    """
    name = "sRGB" if encoding == Encoding() else "fastgs"
    if encoding.exponent is None:  # ((x + 0.055) / 1.055)^2.4, and x / 12.92 below 0.04045
        curve = struct.pack(
            ">4sIHH5i", b"para", 0, 3, 0, *map(_fixed, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
        )
    else:
        curve = struct.pack(">4sIHHi", b"para", 0, 0, 0, _fixed(encoding.exponent))
    adaptation = adaptation_matrix(xy_to_xyz(*encoding.chromaticities[:2]), np.array(D50))
    tags = {
        b"desc": _text(name),
        b"cprt": _text("CC0"),
        b"wtpt": _xyz(np.array(D50)),
        b"chad": b"sf32" + bytes(4) + struct.pack(">9i", *map(_fixed, adaptation.ravel())),
    }
    if gray:
        tags[b"kTRC"] = curve
    else:
        columns = adaptation @ rgb_to_xyz(encoding.chromaticities)
        for index, letter in enumerate(b"rgb"):
            tags[bytes([letter]) + b"XYZ"] = _xyz(columns[:, index])
            tags[bytes([letter]) + b"TRC"] = curve
    return _assemble(tags, b"GRAY" if gray else b"RGB ")


def _assemble(tags: dict[bytes, bytes], colorspace: bytes) -> bytes:
    """Join header and tags; equal contents are stored once."""
    body, places = b"", dict[bytes, int]()
    start = _HEADER + 4 + _TAG * len(tags)
    for content in tags.values():
        if content not in places:
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
    entries = b"".join(name + struct.pack(">II", places[content], len(content)) for name, content in tags.items())
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x04300000, b"mntr", colorspace, b"XYZ ")
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", *map(_fixed, D50))
    return head.ljust(_HEADER, b"\0") + struct.pack(">I", len(tags)) + entries + body


def _fixed(number: float) -> int:
    """Return a number as a signed integer of 32 bits with 16 of them behind the point."""
    return round(float(number) * 65536)


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *map(_fixed, values))


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def rgb_to_xyz(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """Return the matrix from linear R, G, B to X, Y, Z, where white has Y = 1."""
    columns = np.stack([xy_to_xyz(*chromaticities[index : index + 2]) for index in (2, 4, 6)], axis=1)
    matrix: NDArray[np.float64] = columns * np.linalg.solve(columns, xy_to_xyz(*chromaticities[:2]))
    return matrix


def xy_to_xyz(x: float, y: float) -> NDArray[np.float64]:
    """Return X, Y, Z of a chromaticity, with Y = 1."""
    return np.array([x / y, 1, (1 - x - y) / y])


def adaptation_matrix(white: NDArray[np.float64], wanted: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the matrix in X, Y, Z that adapts a white point to another one, by default D65."""
    target = xy_to_xyz(*D65) if wanted is None else wanted
    gains = (_BRADFORD @ target) / (_BRADFORD @ white)
    matrix: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    return matrix


def is_valid(chromaticities: Chromaticities) -> bool:
    """Tell whether chromaticities span a colour space and can be adapted to D65."""
    if len(chromaticities) != 8 or min(chromaticities[1::2]) <= 0:
        return False
    columns = np.stack([xy_to_xyz(*chromaticities[index : index + 2]) for index in (2, 4, 6)])
    white = xy_to_xyz(*chromaticities[:2])
    return bool(np.linalg.matrix_rank(columns) == 3 and np.isfinite(adaptation_matrix(white)).all())
