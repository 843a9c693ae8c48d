"""AVIF files of 10 and 12 bits, which Pillow cuts to 8."""

from __future__ import annotations

import re
import struct

from fastgs.io.pixels import Pixels, scale_to_unit

# Headers of AVIF: the configuration of AV1 (its third byte has the depth), and the code points of colours
# (ISO/IEC 23008-12).
_CONFIGURATION = re.compile(rb"av1C.{2}(.)", re.DOTALL)
_CODE_POINTS = re.compile(rb"colrnclx(.{4})", re.DOTALL)
_HIGH_DEPTH, _TWELVE_BITS = 0x40, 0x20


def read_depth(data: bytes) -> int:
    """Return the bits per sample: 8, 10 or 12."""
    found = _CONFIGURATION.search(data)
    flags = 0 if found is None else found[1][0]
    return (12 if flags & _TWELVE_BITS else 10) if flags & _HIGH_DEPTH else 8


def code_points(data: bytes) -> tuple[int, int] | None:
    """Return the code points (ITU-T H.273) of primaries and transfer function; None without them."""
    found = _CODE_POINTS.search(data)
    if found is None:
        return None
    primaries, transfer = struct.unpack(">HH", found[1])
    return primaries, transfer


def decode(data: bytes) -> Pixels:
    """Decode the first image of an AVIF file in its own depth, neither turned nor mirrored."""
    import imagecodecs

    depth = read_depth(data)
    values = imagecodecs.avif_decode(data, index=0)
    values = values[..., None] if values.ndim == 2 else values
    samples = scale_to_unit(values, depth)
    color = samples.shape[2] - (samples.shape[2] + 1) % 2
    return Pixels(samples[..., :color], samples[..., color] if color < samples.shape[2] else None, depth=depth)
