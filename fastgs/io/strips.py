"""Writing of pictures that are larger than the memory: TIFF in tiles, from strips of rows, perhaps with a pyramid."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastgs.io.files import atomic_write
from fastgs.io.pixels import Floats, ImageError
from fastgs.io.samples import Samples
from fastgs.io.writing import quantize, tiff_options
from fastgs.runtime import threads

TILE = 256  # side in pixels of the tiles of the file, and rows of a strip
# Size in bytes from which a file has offsets of 64 bits (BigTIFF): those of 32 end at 4 GB, and deflate may not help.
BIG = 3_900_000_000
BUFFER = 2**25  # bytes of tiles that are compressed at a time


def write_strips(
    path: str | Path,
    strips: Iterable[Floats],
    kind: Samples,
    height: int,
    width: int,
    *,
    bits: int = 8,
    pyramid: bool = False,
) -> None:
    """Write a TIFF file in tiles of 256 x 256 pixels, compressed by deflate; it is whole or absent.

    Values are clamped, rounded and tagged as `fastgs.io.writing.write_picture` does. Memory follows the width.

    Args:
        path: File to write, .tif or .tiff.
        strips: (C, rows, W) values from top to bottom; all but the last have `TILE` rows.
        kind: Samples of any size, which say what the values mean: alpha and profile. No high dynamic range.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        bits: 8, 16, or 32 for floating point.
        pyramid: True to add the picture at a half, a quarter and so on of its size, down to one tile, as SubIFDs, which
            viewers of large pictures read. Files beside the output, of about as many bytes as half of the uncompressed
            picture (of 8 bits; as a third at more), hold them meanwhile.

    Raises:
        ImageError: The values hold NaN.
        OSError: The folder does not exist or is not writable, or the disk is full.
    """
    import tifffile

    path = Path(path)
    levels = _count_levels(height, width) if pyramid else 0
    dtype = np.dtype({8: np.uint8, 16: np.uint16}.get(bits, np.float32))
    size = height * width * kind.channels * dtype.itemsize * (4 / 3 if pyramid else 1)
    layout = {"tile": (TILE, TILE), "maxworkers": threads.num_threads(), "buffersize": BUFFER, **tiff_options(kind)}
    if bits != 32:
        layout["predictor"] = True
    writer = _Writer(kind, bits)
    with atomic_write(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=size > BIG) as file:
        level = _Level(kind.channels, height, width, bits, path.parent)
        for number in range(levels + 1):
            below = level.halved() if number < levels else None
            given = _checked(strips, path) if number == 0 else level.read()
            shape = (level.height, level.width, kind.channels)[: 3 if kind.channels > 1 else 2]
            place: dict[str, Any] = {"subifds": levels} if number == 0 and levels else {}
            if number:
                place = {"subfiletype": 1}
            file.write(writer.tiles(given, below), shape=shape, dtype=dtype, **place, **layout)
            level.close()
            if below is not None:
                level = below


def _count_levels(height: int, width: int) -> int:
    """Return how often a picture is halved until it fits in one tile."""
    levels = 0
    while max(height, width) > TILE:
        height, width, levels = -(-height // 2), -(-width // 2), levels + 1
    return levels


def _checked(strips: Iterable[Floats], path: Path) -> Iterator[Floats]:
    for strip in strips:
        if np.isnan(strip).any():
            raise ImageError(f"{path}: cannot write an image that holds NaN")
        yield strip


class _Level:
    """Picture at one size, whose rows lie in a file without a name: premultiplied colours, as 16 bits or floats.

    Args:
        channels: Number of channels.
        height: Height in pixels.
        width: Width in pixels.
        bits: Bits of the output.
        folder: Folder of the file.
    """

    def __init__(self, channels: int, height: int, width: int, bits: int, folder: Path) -> None:
        self.height, self.width = height, width
        self._channels, self._bits, self._folder = channels, bits, folder
        self._file: IO[bytes] | None = None

    def halved(self) -> _Level:
        """Return the level of half the size, rounded up, without rows."""
        level = _Level(self._channels, -(-self.height // 2), -(-self.width // 2), self._bits, self._folder)
        level._file = tempfile.TemporaryFile(dir=self._folder, prefix=".fastgs-")  # noqa: SIM115
        return level

    def append(self, rows: Floats) -> None:
        """Add the means of squares of 2 x 2 pixels of (C, rows, W) of the level above."""
        assert self._file is not None
        padded = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2), (0, rows.shape[2] % 2)), mode="edge")
        halved = padded.reshape(len(rows), padded.shape[1] // 2, 2, -1, 2).mean((2, 4), dtype=np.float32)
        values = np.ascontiguousarray(halved.transpose(1, 2, 0))
        self._file.write((values if self._bits == 32 else np.rint(values * 65535).astype(np.uint16)).tobytes())

    def read(self) -> Iterator[Floats]:
        """Yield the strips, (C, rows, W), each only once."""
        assert self._file is not None
        dtype = np.dtype(np.float32 if self._bits == 32 else np.uint16)
        self._file.seek(0)
        for top in range(0, self.height, TILE):
            rows = min(TILE, self.height - top)
            data = self._file.read(rows * self.width * self._channels * dtype.itemsize)
            values = np.frombuffer(data, dtype).reshape(rows, self.width, self._channels).transpose(2, 0, 1)
            yield values if self._bits == 32 else values.astype(np.float32) / np.float32(65535)

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True)
class _Writer:
    """Samples of a file made of values.

    Attributes:
        kind: Meaning of the values.
        bits: Bits of the output.
    """

    kind: Samples
    bits: int

    def tiles(self, strips: Iterable[Floats], below: _Level | None) -> Iterator[NDArray[Any]]:
        """Yield the tiles of strips in the order of a file, and add the strips to the level below."""
        for strip in strips:
            values = strip.clip(0, 1)
            if below is not None:
                below.append(values)
            samples = replace(self.kind, values=values).straight()
            pixels = samples.transpose(1, 2, 0) if self.bits == 32 else quantize(samples, self.bits)
            pixels = pixels if pixels.shape[2] > 1 else pixels[..., 0]
            for left in range(0, pixels.shape[1], TILE):
                yield pixels[:, left : left + TILE]
