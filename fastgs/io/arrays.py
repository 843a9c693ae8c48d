"""Arrays of numbers as channels: .npy files and TIFF files of many bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastgs.io.pixels import MAX_CHANNELS, ImageError, scale_to_unit
from fastgs.io.tiff import check_size, check_whole, is_decoded, is_tiff

Limits = tuple[float, float]

_BLACK_IS_ZERO, _RGB = 1, 2  # kinds of colours in TIFF (tag 262)
_SIGNED = 2  # format of samples (tag 339)


def is_array_file(path: str | Path) -> bool:
    """Tell by its suffix whether a file is a numpy array."""
    return Path(path).suffix.lower() == ".npy"


def read_array_file(path: str | Path, limits: Limits | None = None) -> tuple[Tensor, int, Limits]:
    """Read an .npy file of shape (C, H, W), or (H, W) for one channel, as float32 in [0, 1].

    Args:
        path: File to read.
        limits: Lowest and highest number, which become 0 and 1. By default those of the dtype for booleans and
            unsigned integers; (0, 1) for floats that lie there; else the lowest and the highest number that occur.

    Returns:
        (C, H, W) values, the bits per number, and the limits.

    Raises:
        ImageError: The file cannot be read, has another shape, is too large, holds other things than real numbers, NaN
            or infinity, or a number outside the limits.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays")
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; check the name") from error
    except Exception as error:  # damaged headers raise nearly anything, from SyntaxError to TokenError
        reason = " ".join(str(error).split())[:200]
        raise ImageError(f"{path}: is not a whole .npy file of numbers ({reason}); save it with numpy.save") from error
    return scale_array(array, str(path), limits)


def scale_array(array: NDArray[np.generic], name: str, limits: Limits | None = None) -> tuple[Tensor, int, Limits]:
    """Scale an array (C, H, W) or (H, W) to [0, 1] in float32, as `read_array_file` does.

    Raises:
        ImageError: The array has another shape, is too large, or holds numbers that cannot be scaled.
    """
    _check_shape(array, name)
    channels = array[None] if array.ndim == 2 else array
    depth = 8 * array.dtype.itemsize
    kind = array.dtype.kind
    if kind not in "buif":
        raise ImageError(f"{name}: holds {array.dtype} values; save real numbers")
    low, high = float(channels.min()), float(channels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{name}: holds NaN or infinity; replace them by numbers")
    if limits is None:
        limits = _choose_limits(array.dtype, low, high)
    if not limits[0] < limits[1] or not np.isfinite(limits).all():
        raise ImageError(f"{name}: expected a range of two ascending numbers, got {limits[0]:g} to {limits[1]:g}")
    if low < limits[0] or high > limits[1]:
        raise ImageError(
            f"{name}: holds {low:g} to {high:g}, which is outside its range {limits[0]:g} to {limits[1]:g}"
        )
    if kind in "bu" and limits == _choose_limits(array.dtype, low, high):
        values = scale_to_unit(channels, 1 if kind == "b" else depth)
    else:
        values = ((channels.astype(np.float64) - limits[0]) / (limits[1] - limits[0])).astype(np.float32)
    return torch.from_numpy(np.require(values, requirements=["C", "W"])), depth, limits


def _choose_limits(dtype: np.dtype[np.generic], low: float, high: float) -> Limits:
    """Return the range of the numbers that a dtype or the data themselves have."""
    if dtype.kind == "u":
        return 0.0, float(2 ** (8 * dtype.itemsize) - 1)
    if dtype.kind == "b" or (dtype.kind == "f" and low >= 0 and high <= 1):
        return 0.0, 1.0
    return low, high if high > low else low + 1


def _check_shape(array: NDArray[np.generic], name: str) -> None:
    """Refuse shapes other than (C, H, W) with C from 1 to 32, and more pixels than Pillow allows."""
    shape = (1, *array.shape) if array.ndim == 2 else array.shape
    if len(shape) != 3 or 0 in shape or shape[0] > MAX_CHANNELS:
        turn = (
            "; move its last axis to the front" if array.ndim == 3 and 0 < array.shape[2] < min(array.shape[:2]) else ""
        )
        raise ImageError(f"{name}: expected an array of shape (1 to {MAX_CHANNELS}, H, W), got {array.shape}{turn}")
    if Image.MAX_IMAGE_PIXELS is not None and shape[1] * shape[2] > Image.MAX_IMAGE_PIXELS:
        raise ImageError(
            f"{name}: has more than {Image.MAX_IMAGE_PIXELS:,} pixels; shrink it or raise PIL.Image.MAX_IMAGE_PIXELS"
        )


def read_tiff_array(path: str | Path, limits: Limits | None = None) -> tuple[Tensor, int, Limits] | None:
    """Read a TIFF file of bands as float32 in [0, 1]: of samples without a meaning, or of one page per band.

    Returns:
        (C, H, W) values, the bits per number, and the limits, as `read_array_file` does; None for any other file, and
        for images of one to four channels unless limits are given.

    Raises:
        ImageError: The bands cannot be scaled, or there are more than 32 of them.
    """
    import tifffile

    try:
        with open(path, "rb") as file:
            if not is_tiff(file.read(4)):
                return None
        with tifffile.TiffFile(path) as file:
            array = _read_bands(file, Path(path).stat().st_size, limits is not None)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except Exception:  # `read_picture` will say what is wrong
        return None
    return None if array is None else scale_array(array, str(path), limits)


def _read_bands(file: Any, length: int, any_image: bool) -> NDArray[np.generic] | None:
    """Return the bands (C, H, W) of an open TIFF file of so many bytes; None if it is an image, read as colours.

    Raises:
        ImageError: There are too many bands.
        ValueError: A band is not whole, or would be decoded wrongly.
    """
    page, pages = file.pages[0], file.series[0].pages
    colors = {_BLACK_IS_ZERO: 1, _RGB: 3}.get(int(page.photometric), 1)
    has_alpha = bool(page.extrasamples) and page.extrasamples[0] > 0
    is_image = len(pages) == 1 and (page.samplesperpixel <= colors or has_alpha) and page.sampleformat != _SIGNED
    if is_image and not any_image:
        return None
    count = len(pages) * page.samplesperpixel
    if count > MAX_CHANNELS:
        raise ImageError(f"has {count} bands, the most is {MAX_CHANNELS}; leave out some")
    bands = []
    for each in pages:
        check_size(each)
        check_whole(each, length)
        if not is_decoded(each):
            raise ValueError("is compressed in another way than those that are read")
        layer = each.asarray().reshape(each.shaped)  # (planes, 1, H, W, samples)
        bands.append(layer[:, 0].transpose(0, 3, 1, 2).reshape(-1, *layer.shape[2:4]))
    return np.concatenate(bands)
