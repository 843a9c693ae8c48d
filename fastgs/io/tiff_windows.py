"""Windows of TIFF files, which are read in parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from fastgs.io import tiff
from fastgs.io.color import check_profile
from fastgs.io.pixels import FLIPS, Pixels, UnsupportedError
from fastgs.io.reading import explaining
from fastgs.io.window import Window, Windows, turn_back
from fastgs.runtime import threads

# Largest strip or tile of a file in bytes, decoded: a file of larger ones is decoded whole.
MOST_SEGMENT_BYTES = 2**28


def open_tiff(path: str | Path) -> TiffWindows | None:
    """Return the windows of a TIFF file that can be read in parts; None for any other file.

    Raises:
        ImageError: The file cannot be read. The message begins with its path.
    """
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
                return TiffWindows(path, file, page)
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


class TiffWindows(Windows):
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
            stored = turn_back(window, self.height, self.width, self._orientation)
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
