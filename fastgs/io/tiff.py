"""TIFF files (TIFF 6.0), by tifffile: Pillow mixes up planes, senses, depths and transparency of many of them."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastgs.io.pixels import Floats, Pixels, UnsupportedError, unit

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
_FAX, _OLD_JPEG = (2, 3, 4), 6
_JPEG, _JPEG_2000 = 7, 34712
# None, LZW, JPEG, deflate (two numbers), PackBits, LZMA, Zstandard, WebP, JPEG 2000, JPEG XL. Others are rare, and not
# all of them come out right at every depth.
_COMPRESSIONS = (1, 5, _JPEG, 8, 32946, 32773, 34925, 50000, 50001, _JPEG_2000, 50002)
# 24 bits, for one, are in an order that programs do not agree on.
_DEPTHS = {"u": (*range(1, 17), 32, 64), "b": (1,), "f": (16, 32, 64)}
_ASSOCIATED, _UNASSOCIATED = 1, 2
_SIGNED, _COMPLEX = (2,), (5, 6)
_ORIENTATION, _INK_SET = 274, 332
_MOST_CHANNELS = 16
_WAY_OUT = "convert it to 16-bit RGB or PNG"

# What it has to say of damaged files is raised as well; without a handler, Python would print it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def is_tiff(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a TIFF."""
    return head[:4] in _MAGIC


def decode(data: bytes) -> tuple[Pixels, int] | None:
    """Decode the first image of a TIFF file.

    Returns:
        The pixels, not yet turned, and the orientation (1 to 8); None for compressions and colours that belong to
        Pillow: fax, old JPEG and YCbCr.

    Raises:
        UnsupportedError: The file means something that cannot be told, or is not gray, RGB, palette or CMYK.
        Image.DecompressionBombError: It has more pixels than Pillow allows.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        _check_size(page)
        photometric = int(page.photometric)
        if int(page.compression) in (*_FAX, _OLD_JPEG) or photometric == _YCBCR:
            if page.bitspersample not in (1, 8):
                raise UnsupportedError(f"has YCbCr colours of {page.bitspersample} bits; {_WAY_OUT}")
            return None
        _check_kind(page, photometric)
        _check_whole(page, len(data))
        values = page.asarray().reshape(page.shaped)
        orientation = page.tags.valueof(_ORIENTATION, 1)
        return _interpret(page, photometric, values), orientation


def _check_size(page: Any) -> None:
    """Refuse images that are too large for Pillow, too, or that are not flat."""
    pixels = page.imagewidth * page.imagelength
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    if page.imagedepth > 1:
        raise UnsupportedError(f"is a volume of {page.imagedepth} slices; save one of them")
    if not pixels:
        raise UnsupportedError(f"has no pixels ({page.imagewidth} x {page.imagelength}); give a larger image")


def _check_kind(page: Any, photometric: int) -> None:
    """Refuse what is not a picture in unsigned integers or floats."""
    if photometric not in _COLORS:
        name = getattr(page.photometric, "name", str(photometric))
        raise UnsupportedError(f"has colours of kind {name} instead of gray, RGB, palette or CMYK; {_WAY_OUT}")
    if int(page.sampleformat) in _SIGNED:
        raise UnsupportedError(f"holds signed integers, which do not say what is white; {_WAY_OUT}")
    if int(page.sampleformat) in _COMPLEX:
        raise UnsupportedError("holds complex numbers; save their absolute values in [0, 1]")
    if page.dtype is None or page.bitspersample not in _DEPTHS.get(page.dtype.kind, ()):
        raise UnsupportedError(f"has samples of {page.bitspersample} bits, which are not read; {_WAY_OUT}")
    if not _is_decoded(page):
        name = getattr(page.compression, "name", str(page.compression))
        raise UnsupportedError(f"is compressed by {name} at {page.bitspersample} bits; use LZW or deflate")
    if photometric == _CMYK and page.tags.valueof(_INK_SET, 1) != 1:
        raise UnsupportedError(f"has inks other than CMYK; {_WAY_OUT}")
    if not _COLORS[photometric] <= page.samplesperpixel <= _MOST_CHANNELS:
        raise UnsupportedError(f"has {page.samplesperpixel} channels; {_WAY_OUT}")


def _is_decoded(page: Any) -> bool:
    """Tell whether a compression comes out right at the depth of the file."""
    compression = int(page.compression)
    if compression == _JPEG:
        return bool(page.bitspersample == 8)
    if compression == _JPEG_2000:
        return bool(page.bitspersample <= (8 if page.parent.byteorder == ">" else 16))
    return compression in _COMPRESSIONS


def _check_whole(page: Any, length: int) -> None:
    """Refuse a file that ends before its pixels do; tifffile would put zeros there."""
    counts, offsets = page.databytecounts, page.dataoffsets
    if any(offset + count > length for offset, count in zip(offsets, counts, strict=False)):
        raise ValueError("image file is truncated")
    if int(page.compression) == 1 and all(offsets) and sum(counts) * 8 < page.size * page.bitspersample:
        raise ValueError("image file is truncated")


def _interpret(page: Any, photometric: int, values: NDArray[Any]) -> Pixels:
    """Tell colours from transparency in (planes, 1, H, W, samples)."""
    planes, _, height, width, samples = values.shape
    channels = values[:, 0].transpose(1, 2, 0, 3).reshape(height, width, planes * samples)
    depth, count = page.bitspersample, _COLORS[photometric]
    place = _alpha_place(page, channels.shape[2] - count)
    associated = place is not None and _extras(page)[place : place + 1] == (_ASSOCIATED,)
    if associated and photometric in (_WHITE_IS_ZERO, _PALETTE):
        raise UnsupportedError(f"multiplies {page.photometric.name} by alpha, which cannot be undone; {_WAY_OUT}")
    if photometric == _PALETTE:
        colors, source_depth = _look_up(page.colormap, channels[..., 0]), 16
    else:
        colors, source_depth = unit(channels[..., :count], depth), depth
    if photometric == _WHITE_IS_ZERO:
        colors = 1 - colors
    alpha = None if place is None else unit(channels[..., count + place], depth)
    return Pixels(colors, alpha, associated, page.iccprofile, source_depth)


def _extras(page: Any) -> tuple[int, ...]:
    """What the samples behind the colours are."""
    return tuple(int(each) for each in page.extrasamples)


def _alpha_place(page: Any, count: int) -> int | None:
    """Which of the `count` samples behind the colours is alpha; None if there is none."""
    kinds = _extras(page)
    if count and not kinds:
        return 0  # as most programs take it that forget to say
    for place, kind in enumerate(kinds[:count]):
        if kind in (_ASSOCIATED, _UNASSOCIATED):
            return place
    if count > 1 and int(page.photometric) != _RGB:
        raise UnsupportedError(f"has {page.samplesperpixel} channels without a meaning; save one or three of them")
    return None


def _look_up(colormap: NDArray[np.uint16] | None, indices: NDArray[Any]) -> Floats:
    """Return the colours of a palette: of 16 bits, or of 8 where a program did not know that (as libtiff has it)."""
    if colormap is None or indices.max() >= colormap.shape[1]:
        raise UnsupportedError(f"has no colour for some of its pixels; {_WAY_OUT}")
    colors: Floats = unit(colormap, 8 if colormap.max() < 256 else 16).T[indices.astype(np.int64)]
    return colors
