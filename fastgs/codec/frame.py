"""Container of every scheme: the kind of file, its canvas, and layers with checksums. FORMAT.md has the bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from fastgs.codec.channels import RGB, Channels
from fastgs.codec.restoration_entry import MODELS, RESTORATION_BYTES, Restoration
from fastgs.codec.symbol_models import MODELS_OF_SYMBOLS
from fastgs.runtime.registry import Registry

MAGIC = b"FGS"
# Of files of RGB with restoration or learned probabilities; other files of RGB are of version 1, and the rest of 2.
VERSION = 3
_ALPHA = 128  # added to the number of channels if the last one is alpha
_RESTORED, _LEARNED = 2, 4  # flags of version 3: an entry of restoration follows, the number of a model of symbols

# Code of each scheme in the header, which fastgs/codec/__init__.py fills. Codes from 128 to 255 are for schemes outside
# this package.
CODES: Registry[int] = Registry("scheme code")
FIRST_PRIVATE_CODE, LAST_CODE = 128, 255

MAX_SIDE = 65535
MAX_LAYERS = 32
_ZEROS = 16  # bytes of zeros that settle all that the end of a stream says


class FormatError(ValueError):
    """Error for bytes that are no proper .fgs file; the message is one line that follows the name of the file."""


@dataclass(frozen=True)
class Frame:
    """Parts of a file.

    Attributes:
        scheme: Name in `fastgs.codec.SCHEMES`.
        height: Height of the canvas in pixels, from 1 to `MAX_SIDE`.
        width: Width of the canvas in pixels, from 1 to `MAX_SIDE`.
        layers: Data of the scheme, the most important first; at most `MAX_LAYERS`.
        whole: False if the file was cut and layers are missing.
        channels: Channels of the image, by default RGB.
        cut: First bytes of the data of the layer that was cut, if there is one.
        restoration: Entry of what is added to the image, for RGB only; None if nothing is.
        symbols: Number of the learned model of symbols, for the scheme "fastgs" and RGB only; None without.

    Raises:
        ValueError: A value is out of range.
    """

    scheme: str
    height: int
    width: int
    layers: list[bytes]
    whole: bool = True
    channels: Channels = RGB
    cut: bytes = b""
    restoration: Restoration | None = None
    symbols: int | None = None

    def __post_init__(self) -> None:
        CODES.check("scheme", self.scheme)
        for name in ("height", "width"):
            if not 1 <= getattr(self, name) <= MAX_SIDE:
                raise ValueError(f"{name}: must be from 1 to {MAX_SIDE}, got {getattr(self, name)}")
        if len(self.layers) > MAX_LAYERS:
            raise ValueError(f"layers: at most {MAX_LAYERS}, got {len(self.layers)}")
        for name in ("restoration", "symbols"):
            if getattr(self, name) is not None and not self.channels.are_rgb:
                raise ValueError(f"{name}: is for files of RGB, not of {self.channels}")
        if self.symbols is not None and self.symbols not in MODELS_OF_SYMBOLS:
            raise ValueError(f"symbols: expected one of {_join(MODELS_OF_SYMBOLS)}, got {self.symbols}")


def write_frame(frame: Frame) -> bytes:
    """Return the bytes of a file."""
    channels, code = frame.channels, CODES[frame.scheme]
    kind = [1, code] if channels.are_rgb else [2, code, channels.count + _ALPHA * channels.alpha]
    entries: list[int] = []
    if frame.restoration is not None:
        entries += [frame.restoration.model, *frame.restoration.gains]
    if frame.symbols is not None:
        entries.append(frame.symbols)
    if entries:
        flags = _RESTORED * (frame.restoration is not None) + _LEARNED * (frame.symbols is not None)
        kind = [VERSION, code, flags, *entries]
    header = MAGIC + bytes(kind)
    header += b"".join(map(varint, (frame.width, frame.height, len(frame.layers))))
    parts = [header, _checksum(header)]
    for layer in frame.layers:
        parts += [varint(len(layer)), layer, _checksum(layer)]
    return b"".join(parts)


def read_frame(data: bytes, partial: bool = False) -> Frame:
    """Read the parts of a file that `write_frame` wrote.

    Args:
        data: Bytes of the file.
        partial: True to take a file that is cut anywhere behind its header.

    Raises:
        FormatError: The bytes are no such file, are damaged or cut, or of a version or scheme that is not known.
    """
    if data[:3] != MAGIC:
        raise FormatError("is not a .fgs file")
    file = Reader(data, 3)
    version = file.take(1)[0]
    if version > VERSION:
        raise FormatError(f"is of version {version}, and this fastgs reads up to version {VERSION}; update fastgs")
    code = file.take(1)[0]
    kind = file.take(1)[0] if version == 2 else RGB.count
    flags = file.take(1)[0] if version == 3 else 0
    entry = file.take(RESTORATION_BYTES) if flags & _RESTORED else b""
    symbols = file.take(1)[0] if flags & _LEARNED else None
    width, height, count = (file.varint() for _ in range(3))
    if file.take(2) != _checksum(data[: file.place - 2]):
        raise FormatError("is damaged (the checksum of its header differs)")
    if code >= FIRST_PRIVATE_CODE and code not in CODES.values():
        raise FormatError(f"is of a scheme (code {code}) that is not registered; install the package that wrote it")
    if version < 1 or code not in CODES.values() or not (min(width, height) >= 1 and max(width, height) <= MAX_SIDE):
        raise FormatError("is damaged (its header makes no sense)")
    channels = _read_channels(kind, version)
    if (version == VERSION) != (0 < flags <= _RESTORED + _LEARNED and not flags & 1):
        raise FormatError("is damaged (its header makes no sense)")
    restoration = _read_restoration(entry)
    if symbols is not None:
        if not symbols or code != CODES["fastgs"]:
            raise FormatError("is damaged (its header makes no sense)")
        if symbols not in MODELS_OF_SYMBOLS:
            known = _join(MODELS_OF_SYMBOLS)
            raise FormatError(f"is coded by model {symbols} of symbols, and this fastgs has {known}; update fastgs")
    if count > MAX_LAYERS:
        raise FormatError(f"is damaged ({count} layers)")
    layers: list[bytes] = []
    cut = b""
    try:
        for number in range(count):
            size = file.varint()
            cut = data[file.place : file.place + size]
            layer = file.take(size)
            # Only the checksum may be missing now; then the zeros follow that a reader sees behind the end.
            cut += bytes(_ZEROS)
            if file.take(2) != _checksum(layer):
                raise FormatError(f"is damaged (the checksum of layer {number + 1} of {count} differs)")
            layers.append(layer)
            cut = b""
    except _CutError:
        if not partial:
            raise
    if file.place < len(data) and len(layers) == count:
        raise FormatError(f"is damaged ({len(data) - file.place} bytes follow its end)")
    scheme = next(name for name, known in CODES.items() if known == code)
    return Frame(scheme, height, width, layers, len(layers) == count, channels, cut, restoration, symbols)


def _read_channels(kind: int, version: int) -> Channels:
    """Return the channels of a file of a version that its header tells in a byte."""
    try:
        channels = Channels(kind % _ALPHA, kind >= _ALPHA)
    except ValueError as error:
        raise FormatError(f"is damaged ({error})") from error
    if channels.are_rgb == (version == 2):
        raise FormatError("is damaged (a file of RGB is of version 1)")
    return channels


def _read_restoration(entry: bytes) -> Restoration | None:
    """Return the entry of restoration that a header has."""
    if not entry:
        return None
    model, *gains = entry
    if not model:
        raise FormatError("is damaged (its header makes no sense)")
    if model not in MODELS:
        raise FormatError(f"is restored by network {model}, and this fastgs has {_join(MODELS)}; update fastgs")
    return Restoration(model, (gains[0], gains[1], gains[2]))


def _join(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


class _CutError(FormatError):
    """Error for a file that ends too early."""


@dataclass
class Reader:
    """Reader of bytes, one after the other.

    Attributes:
        data: All bytes.
        place: Index of the next byte.
    """

    data: bytes
    place: int

    def take(self, count: int) -> bytes:
        """Return the next few bytes; raise FormatError if there are not as many."""
        if count > len(self.data) - self.place:
            raise _CutError(f"is cut short (after {len(self.data)} bytes)")
        self.place += count
        return self.data[self.place - count : self.place]

    def varint(self) -> int:
        """Return a number that the function `varint` wrote; raise FormatError if there is none."""
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
    """Write a number with seven bits per byte, the lowest first; the top bit of all bytes but the last is set."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _checksum(data: bytes) -> bytes:
    return (zlib.crc32(data) & 0xFFFF).to_bytes(2, "little")
