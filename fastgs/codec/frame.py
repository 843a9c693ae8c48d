"""The container of every scheme: what the file is, its canvas, and layers with checksums. FORMAT.md has the bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

MAGIC = b"FGS"
VERSION = 1
SCHEMES = ("fastgs", "gaussianimage", "gaussianimage-plus")  # by their code

MAX_SIDE = 65535
MAX_LAYERS = 32


class FormatError(ValueError):
    """Bytes that are no proper .fgs file; the message is one line."""


@dataclass(frozen=True)
class Frame:
    """A file in parts.

    Attributes:
        scheme: a name in `SCHEMES`.
        height, width: of the canvas in pixels, from 1 to `MAX_SIDE`.
        layers: what the scheme has to say, the most important first; at most `MAX_LAYERS`.
        whole: whether these are all; those of a file that was cut are not.
    """

    scheme: str
    height: int
    width: int
    layers: list[bytes]
    whole: bool = True

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme: expected one of {', '.join(SCHEMES)}, got {self.scheme!r}")
        for name in ("height", "width"):
            if not 1 <= getattr(self, name) <= MAX_SIDE:
                raise ValueError(f"{name}: must be from 1 to {MAX_SIDE}, got {getattr(self, name)}")
        if len(self.layers) > MAX_LAYERS:
            raise ValueError(f"layers: at most {MAX_LAYERS}, got {len(self.layers)}")


def write_frame(frame: Frame) -> bytes:
    """The file."""
    header = MAGIC + bytes([VERSION, SCHEMES.index(frame.scheme)])
    header += b"".join(map(varint, (frame.width, frame.height, len(frame.layers))))
    parts = [header, _checksum(header)]
    for layer in frame.layers:
        parts += [varint(len(layer)), layer, _checksum(layer)]
    return b"".join(parts)


def read_frame(data: bytes, partial: bool = False) -> Frame:
    """What `write_frame` wrote.

    Args:
        data: the file.
        partial: whether the file may be cut anywhere behind its header; what it has of a layer that is not whole is
            left out.

    Raises:
        FormatError: the bytes are no such file, are damaged or cut, or of a version or scheme that is not known.
    """
    if data[:3] != MAGIC:
        raise FormatError("is not a .fgs file")
    file = Reader(data, 3)
    version = file.take(1)[0]
    if version > VERSION:
        raise FormatError(f"is of version {version}, and this fastgs reads up to version {VERSION}; update fastgs")
    scheme = file.take(1)[0]
    width, height, count = (file.varint() for _ in range(3))
    if file.take(2) != _checksum(data[: file.place - 2]):
        raise FormatError("is damaged (the checksum of its header differs)")
    if version < 1 or scheme >= len(SCHEMES) or not (min(width, height) >= 1 and max(width, height) <= MAX_SIDE):
        raise FormatError("is damaged (its header makes no sense)")
    if count > MAX_LAYERS:
        raise FormatError(f"is damaged ({count} layers)")
    layers: list[bytes] = []
    try:
        for number in range(count):
            layer = file.take(file.varint())
            if file.take(2) != _checksum(layer):
                raise FormatError(f"is damaged (the checksum of layer {number + 1} of {count} differs)")
            layers.append(layer)
    except _CutError:
        if not partial:
            raise
    if file.place < len(data) and len(layers) == count:
        raise FormatError(f"is damaged ({len(data) - file.place} bytes follow its end)")
    return Frame(SCHEMES[scheme], height, width, layers, len(layers) == count)


class _CutError(FormatError):
    """The file ends too early."""


@dataclass
class Reader:
    """Reads bytes one after the other.

    Attributes:
        data: all of them.
        place: of the next.
    """

    data: bytes
    place: int

    def take(self, count: int) -> bytes:
        """The next few; raises FormatError if there are not as many."""
        if count > len(self.data) - self.place:
            raise _CutError(f"is cut short (after {len(self.data)} bytes)")
        self.place += count
        return self.data[self.place - count : self.place]

    def varint(self) -> int:
        """A number that `varint` wrote; raises FormatError."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if shift and not byte:
                raise FormatError("is damaged (a number has needless zeros)")
            if byte < 128:
                return value
        raise FormatError("is damaged (a number has no end)")


def varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first; the top bit of all bytes but the last is set."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _checksum(data: bytes) -> bytes:
    return (zlib.crc32(data) & 0xFFFF).to_bytes(2, "little")
