"""JPEG files of 12 bits (extended sequential DCT), which Pillow does not read."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from fastgs.io.pixels import Pixels, UnsupportedError, check_pixels, scale_to_unit

_MAGIC = b"\xff\xd8"  # first bytes of a JPEG file
_SCAN, _PROFILE, _EXIF = 0xDA, 0xE2, 0xE1  # markers
_FRAMES = (0xC0, 0xC1, 0xC2)
_ICC, _EXIF_HEAD = b"ICC_PROFILE\0", b"Exif\0\0"
_ORIENTATION = 0x0112


def is_deep(data: bytes) -> bool:
    """Tell whether a file is a JPEG file of 12 bits."""
    return data.startswith(_MAGIC) and any(kind in _FRAMES and content[:1] == b"\x0c" for kind, content in _read(data))


def decode(data: bytes) -> Pixels:
    """Decode a JPEG file of 12 bits, and turn it as its EXIF orientation says.

    Raises:
        UnsupportedError: The colours are neither gray nor RGB.
        Image.DecompressionBombError: The image has more pixels than Pillow allows.
    """
    import imagecodecs

    segments = list(_read(data))
    frame = next(content for kind, content in segments if kind in _FRAMES)
    check_pixels(int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big"))
    if frame[5] not in (1, 3):
        raise UnsupportedError(f"has {frame[5]} channels of 12 bits; convert it to RGB")
    values = imagecodecs.jpeg8_decode(data)
    values = values[..., None] if values.ndim == 2 else values
    parts = [content[len(_ICC) :] for kind, content in segments if kind == _PROFILE and content.startswith(_ICC)]
    profile = b"".join(part[2:] for part in sorted(parts)) or None  # a part begins with its number and their count
    return Pixels(scale_to_unit(values, 12), profile=profile, depth=12).oriented(_read_orientation(segments))


def _read(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the content of each segment in front of the first scan."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != _SCAN:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        yield data[place + 1], data[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)


def _read_orientation(segments: list[tuple[int, bytes]]) -> int:
    """Return the EXIF orientation, 1 if it is missing or damaged."""
    exif = Image.Exif()
    try:
        exif.load(next(content for kind, content in segments if kind == _EXIF and content.startswith(_EXIF_HEAD)))
        return int(exif.get(_ORIENTATION, 1))
    except Exception:  # damaged bytes raise nearly anything
        return 1
