"""Windows of pictures on disk: TIFF files are read in parts, all others are decoded whole once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import override

from fastgs.io import tiff
from fastgs.io.color import check_profile
from fastgs.io.files import atomic_write
from fastgs.io.pixels import FLIPS, ImageError, Pixels, UnsupportedError, scale_to_unit, warn
from fastgs.io.reading import decode_plain, explain, is_plain, read_file
from fastgs.runtime import threads
from fastgs.runtime.memory import available_memory

# Largest strip or tile of a file in bytes, decoded: a file of larger ones is decoded whole.
MOST_SEGMENT_BYTES = 2**28
MOST_WHOLE_BYTES = 2**28  # memory that it takes without a word to decode a file whole
# Memory in bytes for each pixel while an opaque PNG, JPEG or WebP file of sRGB, or any other one, is decoded whole: 4.2
# (WebP 16), and up to 31 (JPEG 2000, PNG of 16 bits) were measured for RGB.
PER_PLAIN_PIXEL, PER_PIXEL = 5, 40


class Window(NamedTuple):
    """Part of a picture, in pixels.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows, at least 1.
        width: Number of columns, at least 1.
    """

    top: int
    left: int
    height: int
    width: int


class Windows(Protocol):
    """Picture on disk that is read in windows.

    Attributes:
        height: Height in pixels, after the turn by the EXIF orientation, as all windows are.
        width: Width in pixels.
    """

    height: int
    width: int

    def read(self, window: Window) -> Pixels:
        """Read a window within the picture; its colour profile was checked.

        Raises:
            ImageError: The file cannot be read, is damaged or cut short. The message begins with its path.
        """

    def close(self) -> None:
        """Close the file."""


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
    windows = _open_tiff(path)
    if windows is None and copies is not None and (copy := _copy(Path(path), copies)) is not None:
        windows = _open_tiff(copy)
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


@contextmanager
def explaining(path: str | Path) -> Iterator[None]:
    """Turn errors of decoders into `ImageError` with the path."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        raise ImageError(f"{path}: {explain(path, error)}") from error


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


def _open_tiff(path: str | Path) -> Windows | None:
    """Return the windows of a TIFF file that can be read in parts; None for any other file."""
    import tifffile

    with explaining(path):
        with open(path, "rb") as stream:
            if not tiff.is_tiff(stream.read(4)):
                return None
        file = tifffile.TiffFile(path)
        try:
            page = file.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            if _has_parts(page):
                return _TiffWindows(path, file, page)
        except BaseException:
            file.close()
            raise
        file.close()
        return None


def _has_parts(page: Any) -> bool:
    """Tell whether the page of a TIFF file is read in parts, and not by Pillow."""
    if page.imagedepth > 1:
        raise UnsupportedError(f"is a volume of {page.imagedepth} slices; save one of them")
    if min(page.imagewidth, page.imagelength) < 1:
        raise UnsupportedError(f"has no pixels ({page.imagewidth} x {page.imagelength}); give a larger image")
    photometric, jpeg = int(page.photometric), int(page.compression) == tiff.JPEG
    if photometric == tiff.YCBCR:
        return jpeg and page.bitspersample == 8 and page.planarconfig == 1 and page.samplesperpixel == 3
    if page.bitspersample == 24 or page.dtype is None:
        return False
    length, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    count = page.samplesperpixel if page.planarconfig == 1 else 1
    size = min(length, page.imagelength) * width * count * page.dtype.itemsize
    return bool(_is_plain(page) or size <= MOST_SEGMENT_BYTES)


def _is_plain(page: Any) -> bool:
    """Tell whether all samples of a page lie in the file one after the other, as whole bytes."""
    return bool(page.is_memmappable and not page.is_tiled)


class _TiffWindows(Windows):
    """Windows of an open TIFF file: of each, only the strips or tiles that it meets are read."""

    def __init__(self, path: str | Path, file: Any, page: Any) -> None:
        self._path, self._file, self._page = path, file, page
        self._lock = Lock()  # of the place in the file
        # JPEG of YCbCr is decoded to RGB.
        self._photometric = tiff.RGB if int(page.photometric) == tiff.YCBCR else int(page.photometric)
        if int(page.photometric) != tiff.YCBCR:
            tiff.check_kind(page, self._photometric)
        tiff.check_whole(page, Path(path).stat().st_size)
        orientation = page.tags.valueof(tiff.ORIENTATION, 1)
        self._orientation = orientation if orientation in FLIPS else 1
        self.height, self.width = page.imagelength, page.imagewidth
        if self._orientation >= 5:
            self.height, self.width = self.width, self.height
        self._is_profile_damaged = False
        first = self.read(Window(0, 0, 1, 1))
        self._is_profile_damaged = check_profile(first, str(path)).profile is not first.profile

    @override
    def read(self, window: Window) -> Pixels:
        with explaining(self._path):
            stored = _turn_back(window, self.height, self.width, self._orientation)
            values = self._read_plain(stored) if _is_plain(self._page) else self._read_segments(stored)
            pixels = tiff.interpret(self._page, self._photometric, values)
            pixels = replace(pixels, profile=None) if self._is_profile_damaged else pixels
            return pixels.oriented(self._orientation)

    @override
    def close(self) -> None:
        self._file.close()

    def _make(self, window: Window, dtype: np.dtype[Any]) -> NDArray[Any]:
        planes, _, _, _, samples = self._page.shaped
        return np.full((planes, 1, window.height, window.width, samples), self._page.nodata, dtype)

    def _read_plain(self, window: Window) -> NDArray[Any]:
        """Read rows of a file without compression."""
        page = self._page
        dtype = np.dtype(page.parent.byteorder + page.dtype.char)
        values = self._make(window, dtype)
        planes, _, height, width, samples = page.shaped
        size = samples * dtype.itemsize
        stream = page.parent.filehandle
        for plane in range(planes):
            for row in range(window.height):
                place = ((plane * height + window.top + row) * width + window.left) * size
                stream.seek(page.dataoffsets[0] + place)
                data = stream.read(window.width * size)
                if len(data) < window.width * size:
                    raise ValueError("image file is truncated")
                values[plane, 0, row] = np.frombuffer(data, dtype).reshape(window.width, samples)
        return values.astype(page.dtype, copy=False)

    def _read_segments(self, window: Window) -> NDArray[Any]:
        """Decode the strips or tiles that a window meets, each in one of several threads."""
        page = self._page
        values = self._make(window, page.dtype)
        options = {}
        if int(page.compression) == tiff.JPEG:
            options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        stream = page.parent.filehandle
        bottom, right = window.top + window.height, window.left + window.width

        def place(index: int) -> None:
            offset, count = page.dataoffsets[index], page.databytecounts[index]
            if not offset or not count:
                return  # a segment that was left out
            with self._lock:
                stream.seek(offset)
                data = stream.read(count)
            if len(data) < count:
                raise ValueError("image file is truncated")
            segment, (plane, _, top, left, _), _ = page.decode(data, index, **options)
            rows = max(top, window.top), min(top + segment.shape[1], bottom)
            columns = max(left, window.left), min(left + segment.shape[2], right)
            part = segment[0, rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left]
            values[
                plane,
                0,
                rows[0] - window.top : rows[1] - window.top,
                columns[0] - window.left : columns[1] - window.left,
            ] = part

        with ThreadPoolExecutor(threads.num_threads()) as pool:
            for _ in pool.map(place, self._list_segments(window)):
                pass
        return values

    def _list_segments(self, window: Window) -> list[int]:
        """Return the indices of the strips or tiles that a window meets."""
        page = self._page
        planes = page.shaped[0]
        length, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        down, across = -(-page.imagelength // length), -(-page.imagewidth // width)
        rows = range(window.top // length, (window.top + window.height - 1) // length + 1)
        columns = range(window.left // width, (window.left + window.width - 1) // width + 1)
        return [(plane * down + row) * across + column for plane in range(planes) for row in rows for column in columns]


def _turn_back(window: Window, height: int, width: int, orientation: int) -> Window:
    """Return where the pixels of a window lie in the file.

    Args:
        window: Window of the turned picture.
        height: Height of the turned picture.
        width: Width of the turned picture.
        orientation: EXIF orientation; 1 turns nothing.
    """
    if orientation == 1:
        return window
    down, right = FLIPS[orientation]
    top = window.top if down == 1 else height - window.top - window.height
    left = window.left if right == 1 else width - window.left - window.width
    turned = Window(top, left, window.height, window.width)
    return Window(left, top, window.width, window.height) if orientation >= 5 else turned
