"""JPEG 2000 files (ISO/IEC 15444-1), which Pillow cuts to 8 bits, or scales wrongly if they have fewer."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from fastgs.io.pixels import Floats, Pixels, UnsupportedError, scale_to_unit

_SIZ = b"\xff\x4f\xff\x51"  # the markers SOC and SIZ, with which a codestream begins
_CMYK, _SRGB, _GRAY, _SYCC = 12, 16, 17, 18  # enumerated colour spaces; a bare codestream has none
_OPACITY, _PREMULTIPLIED = 1, 2  # types of a channel in the box cdef; 0 is colour
_ADVICE = "convert it to PNG"


def decode(data: bytes) -> Pixels:
    """Decode a JP2 file or a bare codestream.

    Raises:
        UnsupportedError: Samples are signed, of mixed depths or subsampled; the colour space is not gray, sRGB or CMYK;
            channels are in another order; or there are too many or too few of them.
    """
    import imagecodecs

    boxes = list(_read_boxes(data, 0, len(data))) if data[4:8] == b"jP  " else []
    depth, stream = _read_depth(data), data.find(_SIZ)
    enumerated, profile = _read_colors(boxes)
    palette = any(box == b"pclr" for box, _ in boxes)
    # From a whole file, the library would convert colours by the profile itself, less exactly than color.py.
    values = imagecodecs.jpeg2k_decode(data if palette else data[stream:])
    values = values[..., None] if values.ndim == 2 else values
    channels = 4 if enumerated == _CMYK else 3 if values.shape[2] >= 3 else 1
    if any(kind == 0 and place != number + 1 for number, kind, place in _read_definitions(boxes)):
        raise UnsupportedError(f"has its channels in another order; {_ADVICE}")
    kind = _read_opacity(boxes, channels) if values.shape[2] > channels else None
    if values.shape[2] > channels + 1 or values.shape[2] < channels:
        raise UnsupportedError(f"has {values.shape[2]} channels; {_ADVICE} of gray or RGB, with alpha or without")
    if palette:
        depth, profile = 8 * values.dtype.itemsize, None  # both have been applied
    alpha = scale_to_unit(values[..., channels], depth) if kind in (_OPACITY, _PREMULTIPLIED) else None
    colors = scale_to_unit(values[..., :channels], depth)
    if enumerated == _SYCC and channels == 3:
        if kind == _PREMULTIPLIED:
            raise UnsupportedError(f"multiplies sYCC by alpha, which cannot be undone; {_ADVICE}")
        colors = _convert_sycc(colors, depth)
    return Pixels(colors, alpha, kind == _PREMULTIPLIED, profile, depth)


def _convert_sycc(colors: Floats, depth: int) -> Floats:
    """Convert sYCC (IEC 61966-2-1, annex F: the matrix of BT.601, chroma around the middle of the numbers) to sRGB."""
    middle = np.float32(2 ** (depth - 1) / (2**depth - 1))
    luma, blue, red = colors[..., 0], colors[..., 1] - middle, colors[..., 2] - middle
    converted = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=2)
    clipped: Floats = converted.clip(0, 1).astype(np.float32)
    return clipped


def _read_boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and content of each box; those within the header box take its place."""
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1 and start + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        stop = end if length == 0 else min(end, start + length)
        if kind == b"jp2h":
            yield from _read_boxes(data, start + head, stop)
        elif kind != b"jp2c":
            yield kind, data[start + head : stop]
        if stop < start + head:
            return
        start = stop


def _read_depth(data: bytes) -> int:
    """Return the bits per sample, from the SIZ marker."""
    place = data.find(_SIZ)
    count = int.from_bytes(data[place + 40 : place + 42], "big")
    parts = data[place + 42 : place + 42 + 3 * count]
    if place < 0 or not count or len(parts) < 3 * count:
        raise UnsupportedError(f"has no whole header; {_ADVICE} or get a whole copy of it")
    if len(set(parts[::3])) > 1 or any(step != 1 for step in parts[1::3] + parts[2::3]):
        raise UnsupportedError(f"has samples of mixed depths or sizes; {_ADVICE}")
    if parts[0] & 0x80:
        raise UnsupportedError(f"holds signed samples, which do not say what is white; {_ADVICE}")
    return parts[0] + 1


def _read_colors(boxes: list[tuple[bytes, bytes]]) -> tuple[int | None, bytes | None]:
    """Return the enumerated colour space and the ICC profile, either of which may be None."""
    enumerated, profile = None, None
    for content in (content for kind, content in boxes if kind == b"colr" and len(content) >= 7):
        if content[0] == 1 and enumerated is None:
            (enumerated,) = struct.unpack_from(">I", content, 3)
        elif content[0] == 2 and profile is None:
            profile = content[3:]
    if enumerated not in (None, _CMYK, _SRGB, _GRAY, _SYCC):
        raise UnsupportedError(f"has colours of kind {enumerated} instead of sRGB; {_ADVICE}")
    return (_CMYK if profile and profile[16:20] == b"CMYK" else enumerated), profile


def _read_opacity(boxes: list[tuple[bytes, bytes]], channel: int) -> int:
    """Return the type of the channel behind the colours: opacity if the file does not say, as most programs mean."""
    kinds = [kind for number, kind, _ in _read_definitions(boxes) if number == channel]
    return kinds[0] if kinds else _OPACITY


def _read_definitions(boxes: list[tuple[bytes, bytes]]) -> Iterator[tuple[int, ...]]:
    """Yield the number, type and association of each channel that the box cdef defines."""
    for content in (content for kind, content in boxes if kind == b"cdef"):
        for place in range(2, len(content) - 5, 6):
            yield struct.unpack_from(">HHH", content, place)
