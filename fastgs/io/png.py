"""PNG files that Pillow reads wrongly: it cuts colours of 16 bits to 8 and misses transparent grays below 8 bits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgs.io.pixels import Pixels, check_pixels, scale_to_unit

_SIGNATURE = 8  # bytes in front of the first chunk
_CHUNK = 12  # bytes of a chunk besides its data
_DEPTH, _COLOR_TYPE = 24, 25  # offsets in the file of two bytes of IHDR, its first chunk
_INTERLACE = 28  # offset of another one
_PALETTE = 3  # colour type
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
# First row and column, and steps, of the passes of an interlaced file (PNG specification, section 8.2).
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def is_deep(data: bytes) -> bool:
    """Tell whether a PNG file has another depth than 8 bits and no palette, and so is to be read by `decode`."""
    return data[_DEPTH] != 8 and data[_COLOR_TYPE] != _PALETTE


def decode(data: bytes) -> Pixels:
    """Decode a PNG file. Gray stays gray, and a transparent colour (tRNS) is matched at the depth of the file."""
    import imagecodecs

    plain = _without_comments(data)
    # Gray below 8 bits is scaled to 8, as libpng does.
    values = _decode_passes(plain) if data[_INTERLACE] else imagecodecs.png_decode(plain)
    values = values[..., None] if values.ndim == 2 else values
    samples = scale_to_unit(values, 8 * values.dtype.itemsize)
    color = samples.shape[2] - (samples.shape[2] + 1) % 2
    alpha = None if color == samples.shape[2] else np.ascontiguousarray(samples[..., -1])
    return Pixels(samples[..., :color], alpha, depth=data[_DEPTH])


def _decode_passes(data: bytes) -> NDArray[Any]:
    """Decode an interlaced PNG file, each of its seven passes (Adam7) as a file of its own.

    From a whole one, the library decodes right pixels as well, but lets libpng print a warning.

    Raises:
        ValueError: The file is truncated.
    """
    import imagecodecs

    chunks = list(_read_chunks(data, to_the_end=True))
    (header,) = (content for kind, content in chunks if kind == b"IHDR")
    width, height, depth, color = struct.unpack_from(">IIBB", header)
    check_pixels(width, height)
    rest = b"".join(pack_chunk(kind, content) for kind, content in chunks if kind in (b"PLTE", b"tRNS"))
    bits = depth * _SAMPLES[color]
    passes = [(*each, -(-(height - each[0]) // each[2]), -(-(width - each[1]) // each[3])) for each in _PASSES]
    passes = [each for each in passes if each[4] > 0 and each[5] > 0]
    sizes = [lines * (1 + -(-columns * bits // 8)) for *_, lines, columns in passes]
    packed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    rows = zlib.decompressobj().decompress(packed, sum(sizes))
    if len(rows) < sum(sizes):
        raise ValueError("image file is truncated")
    values: NDArray[Any] | None = None
    for (top, left, down, right, lines, columns), size in zip(passes, sizes, strict=True):
        small = pack_chunk(b"IHDR", struct.pack(">II", columns, lines) + header[8:12] + b"\0") + rest
        small += pack_chunk(b"IDAT", zlib.compress(rows[:size], 0)) + pack_chunk(b"IEND", b"")
        rows = rows[size:]
        part = imagecodecs.png_decode(data[:_SIGNATURE] + small)
        if values is None:
            values = np.empty((height, width, *part.shape[2:]), part.dtype)
        values[top::down, left::right] = part
    assert values is not None
    return values


def pack_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


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


def _read_chunks(data: bytes, to_the_end: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the content of each chunk in front of the pixels, or of all."""
    place = _SIGNATURE
    while (kind := data[place + 4 : place + 8]) and (to_the_end or kind != b"IDAT"):
        length = int.from_bytes(data[place : place + 4], "big")
        yield kind, data[place + 8 : place + 8 + length]
        place += _CHUNK + length
