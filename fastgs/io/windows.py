"""Pictures on disk, opened to read windows: TIFF files are read in parts, all others are decoded whole once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from typing_extensions import override

from fastgs.io import tiff
from fastgs.io.color import check_profile
from fastgs.io.files import atomic_write
from fastgs.io.pixels import ImageError, Pixels, scale_to_unit, warn
from fastgs.io.reading import decode_plain, explaining, is_plain, read_file
from fastgs.io.tiff_windows import open_tiff
from fastgs.io.window import Window, Windows
from fastgs.runtime.memory import available_memory

MOST_WHOLE_BYTES = 2**28  # memory that it takes without a word to decode a file whole
# Memory in bytes for each pixel while an opaque PNG, JPEG or WebP file of sRGB, or any other one, is decoded whole: 4.2
# (WebP 16), and up to 31 (JPEG 2000, PNG of 16 bits) were measured for RGB.
PER_PLAIN_PIXEL, PER_PIXEL = 5, 40


@contextmanager
def open_windows(path: str | Path, copies: Path | None = None) -> Iterator[Windows]:
    """Open a picture to read windows of it.

    TIFF files in tiles or strips, and uncompressed ones, take memory for the windows only, and so do large opaque PNG,
    JPEG and WebP files of sRGB where pyvips is installed (the extra `fastgs[giant]`), which copies them to such TIFF.
    Other files are decoded whole; a warning (`ImageWarning`) says how much memory that takes.

    Args:
        path: File of any kind that `fastgs.io.picture.read_picture` reads as an image.
        copies: Folder for the copy, which is left there; without it there are none. It is made if needed.

    Yields:
        The picture; it is closed at the end.

    Raises:
        ImageError: The file is missing, a folder, unreadable, damaged, cut short, not an image, or of a kind that is
            not supported; or it must be decoded whole, and the memory does not suffice. The message begins with the
            path.
        OSError: The copy cannot be written.

    Example:
        with open_windows("map.tif") as picture:
            pixels = picture.read(Window(0, 0, 512, 512))
    """
    windows: Windows | None = open_tiff(path)
    if windows is None and copies is not None and (copy := _copy(Path(path), copies)) is not None:
        windows = open_tiff(copy)
    windows = windows or _WholeWindows(path)
    try:
        yield windows
    finally:
        windows.close()


def _copy(path: Path, folder: Path) -> Path | None:
    """Return a copy of a large file as TIFF in tiles, made if it is not there yet; None if that is not possible.

    Its name follows the size and the time of the file, so that it is never one of another content.
    """
    size = read_size(path)
    if size is None or size[0] * size[1] * PER_PLAIN_PIXEL <= MOST_WHOLE_BYTES or not _is_plain_photo(path):
        return None
    try:
        import pyvips
    except Exception:  # it is missing, or its library cannot be loaded
        return None
    status = path.stat()
    copy = folder / f"picture-{status.st_size}-{status.st_mtime_ns}.tif"
    if not copy.exists():
        folder.mkdir(exist_ok=True)
        with atomic_write(copy) as temporary, explaining(path):
            image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error")
            image.tiffsave(str(temporary), tile=True, tile_width=256, tile_height=256, compression="lzw", bigtiff=True)
    return copy


def read_size(path: str | Path) -> tuple[int, int, bool] | None:
    """Return height and width by the header, and whether the file is a TIFF; None if it cannot be read.

    The sides may be swapped by the EXIF orientation.
    """
    import tifffile

    try:
        with open(path, "rb") as file:
            is_tiff = tiff.is_tiff(file.read(4))
        if is_tiff:
            with tifffile.TiffFile(path) as opened:
                page = opened.pages[0]
                assert isinstance(page, tifffile.TiffPage)
                return page.imagelength, page.imagewidth, True
        with _any_number_of_pixels(), Image.open(path) as image:
            return image.height, image.width, False
    except Exception:  # what is wrong is said when the picture is read
        return None


@contextmanager
def _any_number_of_pixels() -> Iterator[None]:
    """Lift Pillow's limit, for a file whose size was compared with the memory, or whose header alone is read."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _is_plain_photo(path: str | Path) -> bool:
    """Tell by its header whether `decode_plain` reads a file of whatever size."""
    with suppress(Exception), _any_number_of_pixels(), Image.open(path) as image:
        return is_plain(image)
    return False  # what is wrong is said when the picture is read


class _WholeWindows(Windows):
    """Picture that is decoded whole."""

    def __init__(self, path: str | Path) -> None:
        size = read_size(path)
        if size is not None:
            self._announce(path, size[0] * size[1])
        with _any_number_of_pixels():
            self._plain = decode_plain(path)
            self._pixels = None if self._plain is not None else check_profile(read_file(path), str(path))
        if self._plain is not None:
            self.width, self.height = self._plain.size
        else:
            assert self._pixels is not None
            self.height, self.width = self._pixels.colors.shape[:2]

    @staticmethod
    def _announce(path: str | Path, pixels: int) -> None:
        """Say how much memory the whole picture takes, or that there is not so much."""
        plain = _is_plain_photo(path)
        need, room = pixels * (PER_PLAIN_PIXEL if plain else PER_PIXEL), available_memory()
        text = f"is decoded whole, which takes about {need / 1e9:.1f} GB"
        way = "convert it to TIFF in tiles, which is not" + (", or: pip install 'fastgs[giant]'" if plain else "")
        if room is not None and need > room:
            raise ImageError(f"{path}: {text}, of {room / 1e9:.1f} GB; {way}")
        if need > MOST_WHOLE_BYTES:
            warn(str(path), f"{text}; to take less, {way}")

    @override
    def read(self, window: Window) -> Pixels:
        bottom, right = window.top + window.height, window.left + window.width
        if self._plain is not None:
            part = np.asarray(self._plain.crop((window.left, window.top, right, bottom)))
            return Pixels(scale_to_unit(np.atleast_3d(part), 8))
        assert self._pixels is not None
        rows, columns = slice(window.top, bottom), slice(window.left, right)
        alpha = self._pixels.alpha
        return replace(
            self._pixels,
            colors=self._pixels.colors[rows, columns],
            alpha=None if alpha is None else alpha[rows, columns],
        )

    @override
    def close(self) -> None:
        self._plain = self._pixels = None
