"""TIFF files (TIFF 6.0), read by tifffile.

Pillow misreads many of them: planes, inverted gray, depths and transparency.
"""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgs.io.lab import lab_to_srgb
from fastgs.io.pixels import Floats, Pixels, UnsupportedError, check_pixels, scale_light, scale_to_unit

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, RGB, _PALETTE, _CMYK, YCBCR, _LAB, _ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, RGB: 3, _PALETTE: 1, _CMYK: 4, _LAB: 3, _ICC_LAB: 3}
# Compressions (tag 259).
_FAX, _OLD_JPEG = (2, 3, 4), 6
JPEG, _JPEG_2000 = 7, 34712
# Compressions that are read: none, LZW, JPEG, deflate (two numbers), PackBits, LZMA, Zstandard, WebP, JPEG 2000 and
# JPEG XL. Others are rare, and the decoders of some are wrong at some depths.
_COMPRESSIONS = (1, 5, JPEG, 8, 32946, 32773, 34925, 50000, 50001, _JPEG_2000, 50002)
# Compressions that pack bytes of any meaning: all but those of images.
_PACKINGS = (1, 5, 8, 32946, 32773, 34925, 50000)
# Bits per sample that are read, by kind of numbers.
_DEPTHS = {"u": (*range(1, 17), 24, 32, 64), "b": (1,), "f": (16, 32, 64)}
_ASSOCIATED, _UNASSOCIATED = 1, 2  # kinds of alpha (tag 338)
_SIGNED, _COMPLEX = (2,), (5, 6)  # formats of samples (tag 339)
ORIENTATION, _PREDICTOR, _INK_SET = 274, 317, 332  # tags
_MOST_CHANNELS = 16
_ADVICE = "convert it to 16-bit RGB or PNG"

# Without a handler, Python would print the messages about damaged files, which are raised as errors as well.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def is_tiff(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a TIFF."""
    return head[:4] in _MAGIC


def decode(data: bytes) -> tuple[Pixels, int] | None:
    """Decode the first image of a TIFF file.

    Returns:
        The pixels as stored, and the EXIF orientation (1 to 8) to apply to them; None for files that Pillow reads
        better: fax, old JPEG and YCbCr.

    Raises:
        UnsupportedError: The file is not gray, RGB, palette, CMYK or Lab, or the meaning of its numbers is unknown.
        Image.DecompressionBombError: The image has more pixels than Pillow allows.
        ValueError: The file ends before its pixels do.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        check_size(page)
        photometric = int(page.photometric)
        if int(page.compression) in (*_FAX, _OLD_JPEG) or photometric == YCBCR:
            if page.bitspersample not in (1, 8):
                raise UnsupportedError(f"has YCbCr colours of {page.bitspersample} bits; {_ADVICE}")
            return None
        check_kind(page, photometric)
        check_whole(page, len(data))
        values = _unpack(page).reshape(page.shaped)
        orientation = page.tags.valueof(ORIENTATION, 1)
        return interpret(page, photometric, values), orientation


def check_size(page: Any) -> None:
    """Refuse images with more pixels than Pillow allows, without pixels, or of three dimensions."""
    check_pixels(page.imagewidth, page.imagelength)
    if page.imagedepth > 1:
        raise UnsupportedError(f"is a volume of {page.imagedepth} slices; save one of them")


def check_kind(page: Any, photometric: int) -> None:
    """Refuse colours, kinds of numbers, depths, compressions and numbers of channels that are not read."""
    if photometric not in _COLORS:
        name = getattr(page.photometric, "name", str(photometric))
        raise UnsupportedError(f"has colours of kind {name} instead of gray, RGB, palette, CMYK or Lab; {_ADVICE}")
    if photometric in (_LAB, _ICC_LAB) and (page.bitspersample not in (8, 16) or page.dtype.kind not in "ui"):
        raise UnsupportedError(f"has Lab colours of {page.bitspersample} bits; {_ADVICE}")
    if int(page.sampleformat) in _SIGNED and photometric not in (_LAB, _ICC_LAB):
        raise UnsupportedError(
            f"holds signed integers, which do not say what is white; {_ADVICE}, or read it as a stack"
        )
    if int(page.sampleformat) in _COMPLEX:
        raise UnsupportedError("holds complex numbers; save their absolute values in [0, 1]")
    if page.dtype is None or page.bitspersample not in _DEPTHS.get(page.dtype.kind, ()):
        raise UnsupportedError(f"has samples of {page.bitspersample} bits, which are not read; {_ADVICE}")
    if page.bitspersample == 24 and page.parent.byteorder != ">":
        raise UnsupportedError(
            f"has samples of 24 bits in a little-endian file, on whose byte order programs do not agree; {_ADVICE}"
        )
    if page.bitspersample == 24 and page.tags.valueof(_PREDICTOR, 1) != 1:
        raise UnsupportedError(f"has a predictor of samples of 24 bits, which is not undone; {_ADVICE}")
    if not is_decoded(page):
        name = getattr(page.compression, "name", str(page.compression))
        raise UnsupportedError(f"is compressed by {name} at {page.bitspersample} bits; use LZW or deflate")
    if photometric == _CMYK and page.tags.valueof(_INK_SET, 1) != 1:
        raise UnsupportedError(f"has inks other than CMYK; {_ADVICE}")
    if not _COLORS[photometric] <= page.samplesperpixel <= _MOST_CHANNELS:
        raise UnsupportedError(f"has {page.samplesperpixel} channels; {_ADVICE}")


def is_decoded(page: Any) -> bool:
    """Tell whether the compression is decoded correctly at the depth of the file."""
    compression = int(page.compression)
    if compression == JPEG:
        return bool(page.bitspersample == 8)
    if page.bitspersample == 24:
        return compression in _PACKINGS
    if compression == _JPEG_2000:
        return bool(page.bitspersample <= (8 if page.parent.byteorder == ">" else 16))
    return compression in _COMPRESSIONS


def check_whole(page: Any, length: int) -> None:
    """Refuse a file that ends before its pixels do, where tifffile would fill in zeros.

    Raises:
        ValueError: The file is truncated.
    """
    counts, offsets = page.databytecounts, page.dataoffsets
    if any(offset + count > length for offset, count in zip(offsets, counts, strict=False)):
        raise ValueError("image file is truncated")
    if int(page.compression) == 1 and all(offsets) and sum(counts) * 8 < page.size * page.bitspersample:
        raise ValueError("image file is truncated")


def _unpack(page: Any) -> NDArray[Any]:
    """Return the samples of a page, in the byte order of this machine."""
    values: NDArray[Any] = page.asarray()
    if page.bitspersample != 24:
        return values
    import imagecodecs

    # Some releases of the library give numbers of 24 bits with their bytes reversed.
    is_reversed = imagecodecs.packints_decode(b"\0\0\1", np.dtype(">u4"), 24)[0] != 1
    return values.byteswap() if is_reversed else values


def interpret(page: Any, photometric: int, values: NDArray[Any]) -> Pixels:
    """Separate colours and transparency in an array (planes, 1, H, W, samples) of a page, or of a part of it."""
    planes, _, height, width, samples = values.shape
    channels = values[:, 0].transpose(1, 2, 0, 3).reshape(height, width, planes * samples)
    depth, count = page.bitspersample, _COLORS[photometric]
    place = _find_alpha(page, channels.shape[2] - count)
    associated = place is not None and _list_extras(page)[place : place + 1] == (_ASSOCIATED,)
    if associated and photometric in (_PALETTE, _LAB, _ICC_LAB):
        raise UnsupportedError(f"multiplies {page.photometric.name} by alpha, which cannot be undone; {_ADVICE}")
    linear = False
    if photometric == _PALETTE:
        colors, source_depth = _look_up(page.colormap, channels[..., 0]), 16
    elif photometric in (_LAB, _ICC_LAB):
        colors, source_depth = _convert_lab(channels[..., :3], photometric == _LAB), depth
    elif photometric in (_BLACK_IS_ZERO, RGB):
        (colors, linear), source_depth = scale_light(channels[..., :count], depth), depth
    else:
        colors, source_depth = scale_to_unit(channels[..., :count], depth), depth
    alpha = None if place is None else scale_to_unit(channels[..., count + place], depth)
    if photometric == _WHITE_IS_ZERO:
        colors = _invert(colors, alpha if associated else None)
    profile = None if photometric in (_LAB, _ICC_LAB) else page.iccprofile
    return Pixels(colors, alpha, associated, profile, source_depth, linear)


def _invert(darkness: Floats, alpha: Floats | None) -> Floats:
    """Return the gray of numbers whose zero is white; with alpha, both are multiplied by it.

    Raises:
        UnsupportedError: A number is above its alpha: something else than it was multiplied.
    """
    if alpha is None:
        return 1 - darkness
    if (darkness[..., 0] > alpha).any():
        raise UnsupportedError(f"multiplies MINISWHITE by alpha, but has numbers above alpha; {_ADVICE}")
    return alpha[..., None] - darkness


def _convert_lab(samples: NDArray[Any], signed: bool) -> Floats:
    """Convert Lab of 8 or 16 bits to sRGB: a and b are signed (TIFF 6.0, section 23), or begin at -128 (ICC).

    L of 100 is the largest number, except for ICC of 16 bits, where it is 65280.
    """
    size = samples.dtype.itemsize
    whole = samples.view(f"u{size}").astype(np.float64)
    steps = 256 ** (size - 1)  # in a unit of a and b
    light = whole[..., :1] * (100 / (256**size - 1 if signed or size == 1 else 65280))
    colors = np.ascontiguousarray(samples[..., 1:]).view(f"i{size}").astype(np.float64) / steps
    return lab_to_srgb(np.concatenate([light, colors if signed else whole[..., 1:] / steps - 128], axis=2))


def _list_extras(page: Any) -> tuple[int, ...]:
    """Return the kinds of the samples behind the colours (tag 338)."""
    return tuple(int(each) for each in page.extrasamples)


def _find_alpha(page: Any, count: int) -> int | None:
    """Return the index of alpha among the `count` samples behind the colours; None if there is none."""
    kinds = _list_extras(page)
    if count and not kinds:
        return 0  # programs that do not say what it is mean alpha
    for place, kind in enumerate(kinds[:count]):
        if kind in (_ASSOCIATED, _UNASSOCIATED):
            return place
    if count > 1 and int(page.photometric) != RGB:
        raise UnsupportedError(
            f"has {page.samplesperpixel} channels without a meaning; read it as a stack, or save one or three of them"
        )
    return None


def _look_up(colormap: NDArray[np.uint16] | None, indices: NDArray[Any]) -> Floats:
    """Return the colours of a palette in [0, 1].

    They have 16 bits; but where none is above 255, a program has written 8 bits by mistake (libtiff decides so, too).
    """
    if colormap is None or indices.max() >= colormap.shape[1]:
        raise UnsupportedError(f"has no colour for some of its pixels; {_ADVICE}")
    colors: Floats = scale_to_unit(colormap, 8 if colormap.max() < 256 else 16).T[indices.astype(np.int64)]
    return colors
