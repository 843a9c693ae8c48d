"""Windows of a picture on disk as they are fitted: all of one kind, whatever a window happens to hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgs.definition import CHANNELS
from fastgs.io.picture import Picture, make_picture
from fastgs.io.pixels import Background, ImageError
from fastgs.io.reading import explaining
from fastgs.io.samples import Samples
from fastgs.io.window import Window, Windows
from fastgs.io.windows import open_windows

_CHUNK = 2**22  # bytes of a file that are read at a time


@dataclass(frozen=True)
class Kind:
    """Kind of all windows of a picture.

    Attributes:
        colors: Number of colour channels, 1 or 3.
        alpha: True if a pixel is transparent.
        depth: Bits per sample of the file.
    """

    colors: int = 1
    alpha: bool = False
    depth: int = 8

    @property
    def channels(self) -> int:
        """Return the number of channels, alpha included."""
        return self.colors + self.alpha

    def joined(self, picture: Picture) -> Kind:
        """Return the kind of a picture that holds another window, too."""
        colors = picture.channels - picture.alpha
        return Kind(max(self.colors, colors), self.alpha or picture.alpha, max(self.depth, picture.depth))

    def conform(self, picture: Picture) -> Tensor:
        """Return the values of a window with the channels that all windows have, (C, H, W)."""
        colors = picture.values[: picture.channels - picture.alpha]
        colors = colors.expand(self.colors, -1, -1)
        if not self.alpha:
            return colors.contiguous()
        opacity = picture.values[-1:] if picture.alpha else torch.ones_like(colors[:1])
        return torch.cat([colors, opacity])

    def samples(self, values: Any) -> Samples:
        """Return samples of this kind, as a file is written of."""
        return Samples(values, self.alpha)


@dataclass
class Source:
    """Picture on disk, open to read windows of it.

    Attributes:
        path: The file.
        windows: The open file.
        background: Colour that transparent pixels are composited on; None keeps transparency.
        status: Size in bytes and time of the last change of the file, when it was opened.
    """

    path: Path
    windows: Windows
    background: Background | None
    status: tuple[int, int]

    @property
    def height(self) -> int:
        """Return the height in pixels."""
        return self.windows.height

    @property
    def width(self) -> int:
        """Return the width in pixels."""
        return self.windows.width

    def picture(self, window: Window) -> Picture:
        """Read a window.

        Raises:
            ImageError: The file is damaged, has changed since it was opened, or is of a kind that is not fitted in
                tiles. The message begins with the path.
        """
        with explaining(self.path):
            if read_status(self.path) != self.status:
                raise ImageError(f"{self.path}: has changed while it was read; start again")
            picture = make_picture(self.windows.read(window), str(self.path), self.background)
        advice = "leave out --tile, or shrink it"
        if picture.is_hdr:
            raise ImageError(f"{self.path}: has high dynamic range, which is not fitted in tiles; {advice}")
        if picture.channels - picture.alpha not in (1, CHANNELS):
            raise ImageError(f"{self.path}: has {picture.channels} channels, not gray or RGB; {advice}")
        return picture


@contextmanager
def open_source(path: str | Path, background: Background | None = None, copies: Path | None = None) -> Iterator[Source]:
    """Open a picture to read windows of it.

    Args:
        path: The file.
        background: Colour that transparent pixels are composited on; None keeps transparency.
        copies: Folder for a copy, see `fastgs.io.windows.open_windows`.

    Raises:
        ImageError: The file cannot be read, see `fastgs.io.windows.open_windows`.
        OSError: The copy cannot be written.
    """
    path = Path(path)
    with explaining(path):
        status = read_status(path)
    with open_windows(path, copies) as windows:
        yield Source(path, windows, background, status)


def read_status(path: Path) -> tuple[int, int]:
    """Return the size of a file in bytes and the time of its last change in nanoseconds."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def digest(path: Path) -> str:
    """Return a digest of the content of a file."""
    found = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while data := file.read(_CHUNK):
            found.update(data)
    return found.hexdigest()
