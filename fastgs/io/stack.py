"""Reading of several images, or of one array, as the channels of one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fastgs.io.arrays import Limits, is_array_file, read_array_file, read_tiff_array
from fastgs.io.compositing import resize_and_crop
from fastgs.io.picture import Picture, PictureSource, make_picture, read_picture, read_pixels
from fastgs.io.pixels import MAX_CHANNELS, ImageError, check_size


def read_stack(
    sources: Sequence[PictureSource],
    size: int | None = None,
    keep_profile: bool = False,
    limits: Limits | None = None,
) -> tuple[Picture, list[slice]]:
    """Read images of one size as the channels of one picture, as the textures of a material are kept.

    Alpha is one more channel of its image, and the colours are not multiplied by it, since textures keep other things
    there, such as smoothness: write such an image with `write_picture(..., straight=True)`. Alpha that is 1 everywhere
    is left out.

    Args:
        sources: Images as `read_picture` takes them; or a single .npy file or TIFF file of bands: (C, H, W) numbers of
            any type, whose range `Picture.range` states.
        size: Side in pixels of a centre crop, see `read_picture`; None for the whole images.
        keep_profile: True to keep the numbers of the files instead of converting them to sRGB. The profile is kept if
            all have the same one.
        limits: Lowest and highest number of an array, which become 0 and 1. By default those of the dtype for booleans
            and unsigned integers; (0, 1) for floats that lie there; else the lowest and the highest that occur.

    Returns:
        The picture of all channels, without alpha; and the channels of each source.

    Raises:
        ImageError: A source cannot be read, has another size than the first, or high dynamic range; profiles that are
            to be kept differ; there are more than 32 channels, or no sources; or an array holds NaN, infinity, or
            numbers outside its limits.

    Example:
        picture, parts = read_stack(["albedo.png", "normal.png", "roughness.png"])
        write_picture("albedo_again.png", picture.values[parts[0]])
    """
    check_size(size)
    if not sources:
        raise ImageError("stack: expected at least one image")
    array = _read_array(sources[0], limits) if len(sources) == 1 else None
    if array is not None:
        picture = array
        parts = [slice(0, picture.channels)]
    else:
        if limits is not None:
            raise ImageError("limits: are for one .npy file or one TIFF file of bands; leave them out for images")
        picture, parts = _join([_read_part(source, keep_profile) for source in sources], _name_all(sources))
    if size is not None:
        picture = replace(picture, values=resize_and_crop(picture.values, size))
    return picture, parts


def _name_all(sources: Sequence[PictureSource]) -> list[str]:
    """Return the name of each source in messages."""
    return [str(each) if isinstance(each, str | Path) else f"image {index}" for index, each in enumerate(sources, 1)]


def _read_array(source: PictureSource, limits: Limits | None) -> Picture | None:
    """Read one source as an array; None if it is an image."""
    if not isinstance(source, str | Path):
        return None
    found: tuple[Tensor, int, Limits] | None
    found = read_array_file(source, limits) if is_array_file(source) else read_tiff_array(source, limits)
    if found is None:
        return None
    values, depth, limits = found
    return Picture(values, depth=depth, range=limits)


def _read_part(source: PictureSource, keep_profile: bool) -> Picture:
    """Read one image of a stack; alpha becomes a plain channel."""
    if isinstance(source, Picture | Tensor) or (isinstance(source, str | Path) and is_array_file(source)):
        picture = read_picture(source)
        return replace(picture, values=picture.straight(), alpha=False)
    return make_picture(*read_pixels(source), keep_profile=keep_profile, straight=True)


def _join(pictures: list[Picture], names: list[str]) -> tuple[Picture, list[slice]]:
    """Join the channels of pictures that agree in size, profile and range."""
    first = pictures[0]
    for picture, name in zip(pictures, names, strict=True):
        if picture.values.shape[1:] != first.values.shape[1:]:
            sizes = f"{picture.width} x {picture.height} pixels, {names[0]} has {first.width} x {first.height}"
            raise ImageError(f"{name}: has {sizes}; the images of a stack need one size")
        if picture.is_hdr:
            raise ImageError(f"{name}: has high dynamic range; fit it alone, or save it as an array for a stack")
        if picture.range not in ((0.0, 1.0), (0.0, 2.0**picture.depth - 1)):
            low, high = picture.range
            raise ImageError(
                f"{name}: has a range of its own ({low:g} to {high:g}); read it alone, or scale it to [0, 1]"
            )
        if picture.profile != first.profile:
            raise ImageError(f"{name}: has another colour profile than {names[0]}; leave out keep_profile")
    count = sum(picture.channels for picture in pictures)
    if count > MAX_CHANNELS:
        raise ImageError(f"stack: has {count} channels, the most is {MAX_CHANNELS}; leave out some images")
    parts, start = [], 0
    for picture in pictures:
        parts.append(slice(start, start + picture.channels))
        start += picture.channels
    values = torch.cat([picture.values for picture in pictures])
    depth = max(picture.depth for picture in pictures)
    return Picture(values, depth=depth, profile=first.profile), parts
