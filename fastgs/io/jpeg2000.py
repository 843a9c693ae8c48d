"""JPEG 2000 files (ISO/IEC 15444-1), which Pillow cuts to 8 bits, or scales wrongly if they have fewer."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgs.io.pixels import Floats, Pixels, UnsupportedError, scale_to_unit

_SIZ = b"\xff\x4f\xff\x51"  # the markers SOC and SIZ, with which a codestream begins
_COUNT, _PARTS = 40, 42  # places in a codestream of the number of channels, and of three bytes about each
_COD, _COC, _SOT = 0xFF52, 0xFF53, 0xFF90  # markers: coding of all channels, and of one; the end of the main header
_CMYK, _SRGB, _GRAY, _SYCC = 12, 16, 17, 18  # enumerated colour spaces; a bare codestream has none
_OPACITY, _PREMULTIPLIED = 1, 2  # types of a channel in the box cdef; 0 is colour
_ADVICE = "convert it to PNG"


def decode(data: bytes) -> Pixels:
    """Decode a JP2 file or a bare codestream.

    The smallest number of signed samples is black, as OpenJPEG and Pillow have it.

    Raises:
        UnsupportedError: Samples are subsampled, or of mixed depths and compressed by the irreversible transform; the
            colour space is not gray, sRGB or CMYK; channels are in another order; or there are too many or too few.
    """
    import imagecodecs

    boxes = list(_read_boxes(data, 0, len(data))) if data[4:8] == b"jP  " else []
    stream = data[max(data.find(_SIZ), 0) :]
    depths, is_uniform = _read_depths(stream)
    enumerated, profile = _read_colors(boxes)
    palette = any(box == b"pclr" for box, _ in boxes)
    if palette and not is_uniform:
        raise UnsupportedError(f"has a palette of signed samples or of mixed depths; {_ADVICE}")
    # From a whole file, the library would convert colours by the profile itself, less exactly than color.py.
    values = imagecodecs.jpeg2k_decode(data) if palette else _decode_stream(stream, depths)
    values = values[..., None] if values.ndim == 2 else values
    channels = 4 if enumerated == _CMYK else 3 if values.shape[2] >= 3 else 1
    if any(kind == 0 and place != number + 1 for number, kind, place in _read_definitions(boxes)):
        raise UnsupportedError(f"has its channels in another order; {_ADVICE}")
    kind = _read_opacity(boxes, channels) if values.shape[2] > channels else None
    if values.shape[2] > channels + 1 or values.shape[2] < channels:
        raise UnsupportedError(f"has {values.shape[2]} channels; {_ADVICE} of gray or RGB, with alpha or without")
    if palette:
        depths, profile = [8 * values.dtype.itemsize] * values.shape[2], None  # both have been applied
    alpha = scale_to_unit(values[..., channels], depths[channels]) if kind in (_OPACITY, _PREMULTIPLIED) else None
    colors = np.stack([scale_to_unit(values[..., index], depths[index]) for index in range(channels)], axis=2)
    if enumerated == _SYCC and channels == 3:
        if kind == _PREMULTIPLIED:
            raise UnsupportedError(f"multiplies sYCC by alpha, which cannot be undone; {_ADVICE}")
        colors = _convert_sycc(colors, depths)
    return Pixels(colors, alpha, kind == _PREMULTIPLIED, profile, max(depths))


def _decode_stream(stream: bytes, depths: list[int]) -> NDArray[Any]:
    """Decode a codestream as unsigned samples, (H, W) or (H, W, C).

    The library takes samples of one kind only. Hence the header is made to say that all are unsigned and as deep as
    the deepest, which changes nothing but the half of their range that decoders add to unsigned samples.
    """
    import imagecodecs

    deepest = max(depths)
    header = bytearray(stream[: _PARTS + 3 * len(depths)])
    header[_PARTS::3] = bytes([deepest - 1] * len(depths))
    values: NDArray[Any] = imagecodecs.jpeg2k_decode(bytes(header) + stream[len(header) :])
    for index, depth in enumerate(depths):
        if depth < deepest:
            lowest = 2 ** (deepest - 1) - 2 ** (depth - 1)
            values[..., index] = values[..., index].clip(lowest, lowest + 2**depth - 1) - lowest
    return values


def _convert_sycc(colors: Floats, depths: list[int]) -> Floats:
    """Convert sYCC (IEC 61966-2-1, annex F: the matrix of BT.601, chroma around the middle of the numbers) to sRGB."""
    middles = [np.float32(2 ** (depth - 1) / (2**depth - 1)) for depth in depths]
    luma, blue, red = colors[..., 0], colors[..., 1] - middles[1], colors[..., 2] - middles[2]
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


def _read_depths(stream: bytes) -> tuple[list[int], bool]:
    """Return the bits per sample of each channel, from the SIZ marker; and whether all are alike and unsigned."""
    count = int.from_bytes(stream[_COUNT : _COUNT + 2], "big")
    parts = stream[_PARTS : _PARTS + 3 * count]
    if not stream.startswith(_SIZ) or not count or len(parts) < 3 * count:
        raise UnsupportedError(f"has no whole header; {_ADVICE} or get a whole copy of it")
    if any(step != 1 for step in parts[1::3] + parts[2::3]):
        raise UnsupportedError(f"has channels of mixed sizes; {_ADVICE}")
    depths = [(part & 0x7F) + 1 for part in parts[::3]]
    if len(set(depths)) > 1 and _is_irreversible(stream):
        raise UnsupportedError(f"has samples of mixed depths that are compressed with loss; {_ADVICE}")
    return depths, len(set(parts[::3])) == 1 and not parts[0] & 0x80


def _is_irreversible(stream: bytes) -> bool:
    """Tell whether the main header names the irreversible transform for all channels (COD) or for one (COC)."""
    place = 2
    while place + 4 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, place)
        if marker == _SOT or length < 2:
            return False
        segment = stream[place + 4 : place + 2 + length]
        transform = {_COD: 9, _COC: 6}.get(marker)  # its place; another one in COC for over 256 channels
        if transform is not None and segment[transform : transform + 1] == b"\0":
            return True
        place += 2 + length
    return False


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
