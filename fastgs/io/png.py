"""PNG files of 16 bits, and of gray with fewer than 8: Pillow cuts colours of 16 bits and misses transparent grays."""

from __future__ import annotations

import numpy as np

from fastgs.io.pixels import Pixels, unit

# Lengths of the signature and of a chunk without its data.
_SIGNATURE, _CHUNK = 8, 12
_DEPTH, _COLOR_TYPE, _PALETTE = 24, 25, 3  # places in IHDR, and the colour type of palettes


def is_deep(data: bytes) -> bool:
    """Tell whether a PNG file is one of these."""
    return data[_DEPTH] != 8 and data[_COLOR_TYPE] != _PALETTE


def decode(data: bytes) -> Pixels:
    """Decode a PNG file; gray stays gray, and a transparent colour (tRNS) is matched at the depth of the file."""
    import imagecodecs

    values = imagecodecs.png_decode(data)  # gray below 8 bits is scaled to 8, as libpng does
    values = values[..., None] if values.ndim == 2 else values
    samples = unit(values, 8 * values.dtype.itemsize)
    color = samples.shape[2] - (samples.shape[2] + 1) % 2
    alpha = None if color == samples.shape[2] else np.ascontiguousarray(samples[..., -1])
    return Pixels(samples[..., :color], alpha, depth=data[_DEPTH])


def code_points(data: bytes) -> tuple[int, int] | None:
    """Return primaries and transfer function (ITU-T H.273) that a PNG file names in front of its pixels."""
    place = _SIGNATURE
    while data[place + 4 : place + 8] not in (b"IDAT", b""):
        if data[place + 4 : place + 8] == b"cICP":
            return data[place + 8], data[place + 9]
        place += _CHUNK + int.from_bytes(data[place : place + 4], "big")
    return None
