"""Netpbm files that Pillow cuts to 8 bits or does not read: colours of 16 bits (.ppm), and of floats (.pfm)."""

from __future__ import annotations

import re

import numpy as np

from fastgs.io.pixels import Floats, Pixels, check_pixels, scale_light

# Kind, width, height, and the largest number (P6) or the scale (PF); comments may stand between them.
_GAP = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"(P6|PF|Pf)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"([-+.\deE]+)\s")
_HEADER_BYTES = 4096  # within which the header must end


def is_deep(head: bytes) -> bool:
    """Tell by its first bytes whether a file is of floats, or of colours of more than 8 bits."""
    found = _HEADER.match(head[:_HEADER_BYTES])
    return found is not None and (found[1] != b"P6" or (found[4].isdigit() and int(found[4]) > 255))


def decode(data: bytes) -> Pixels:
    """Decode a file of more than 8 bits.

    Raises:
        UnsupportedError: The image has no pixels, or floats that are no colours.
        Image.DecompressionBombError: The image has more pixels than Pillow allows.
        ValueError: The file is truncated, or a number in it is larger than the largest.
    """
    found = _HEADER.match(data[:_HEADER_BYTES])
    assert found is not None
    width, height = int(found[2]), int(found[3])
    check_pixels(width, height)
    if found[1] == b"P6":
        values = _read(data, found.end(), ">u2", width, height, 3)
        largest = int(found[4])
        if values.max() > largest:
            raise ValueError(f"a number is larger than {largest}")
        return Pixels((values / np.float64(largest)).astype(np.float32), depth=16)
    dtype = "<f4" if float(found[4]) < 0 else ">f4"
    rows = _read(data, found.end(), dtype, width, height, 3 if found[1] == b"PF" else 1)
    colors, linear = scale_light(rows[::-1].astype(np.float32), 32)  # rows run from the bottom up
    return Pixels(colors, depth=32, linear=linear)


def _read(data: bytes, start: int, dtype: str, width: int, height: int, channels: int) -> Floats:
    """Return the samples (H, W, C) that begin at an offset."""
    count = width * height * channels
    if len(data) - start < count * np.dtype(dtype).itemsize:
        raise ValueError("image file is truncated")
    samples: Floats = np.frombuffer(data, dtype, count, start).reshape(height, width, channels)
    return samples
