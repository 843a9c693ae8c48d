"""PNG files that Pillow reads wrongly: it cuts colours of 16 bits to 8 and misses transparent grays below 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgs.io.pixels import Pixels, scale_to_unit

_SIGNATURE = 8  # bytes in front of the first chunk
_CHUNK = 12  # bytes of a chunk besides its data
_DEPTH, _COLOR_TYPE = 24, 25  # offsets in the file of two bytes of IHDR, its first chunk
_PALETTE = 3  # colour type


def is_deep(data: bytes) -> bool:
    """Tell whether a PNG file has another depth than 8 bits and no palette, and so is to be read by `decode`."""
    return data[_DEPTH] != 8 and data[_COLOR_TYPE] != _PALETTE


def decode(data: bytes) -> Pixels:
    """Decode a PNG file. Gray stays gray, and a transparent colour (tRNS) is matched at the depth of the file."""
    import imagecodecs

    values = imagecodecs.png_decode(_without_comments(data))  # gray below 8 bits is scaled to 8, as libpng does
    values = values[..., None] if values.ndim == 2 else values
    samples = scale_to_unit(values, 8 * values.dtype.itemsize)
    color = samples.shape[2] - (samples.shape[2] + 1) % 2
    alpha = None if color == samples.shape[2] else np.ascontiguousarray(samples[..., -1])
    return Pixels(samples[..., :color], alpha, depth=data[_DEPTH])


def _without_comments(data: bytes) -> bytes:
    """Return a PNG file without the chunks in front of the pixels that decoding does not need.

    libpng would print what it thinks of them.
    """
    start = place = _SIGNATURE
    needed = data[:start]
    for kind, content in _read_chunks(data):
        place += _CHUNK + len(content)
        needed += data[start:place] if kind in (b"IHDR", b"PLTE", b"tRNS") else b""
        start = place
    return needed + data[start:]


def code_points(data: bytes) -> tuple[int, int] | None:
    """Return the code points (ITU-T H.273) of primaries and transfer function in a PNG file; None without them."""
    for kind, content in _read_chunks(data):
        if kind == b"cICP" and len(content) >= 2:
            return content[0], content[1]
    return None


def has_damaged_profile(data: bytes, info: dict[Any, Any]) -> bool:
    """Tell whether a PNG file has an ICC profile that Pillow, which has filled `info`, could not unpack."""
    return not info.get("icc_profile") and any(kind == b"iCCP" for kind, _ in _read_chunks(data))


def _read_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the content of each chunk in front of the pixels."""
    place = _SIGNATURE
    while (kind := data[place + 4 : place + 8]) not in (b"IDAT", b""):
        length = int.from_bytes(data[place : place + 4], "big")
        yield kind, data[place + 8 : place + 8 + length]
        place += _CHUNK + length
