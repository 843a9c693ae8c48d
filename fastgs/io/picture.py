"""Reading of any image as a `Picture`, which keeps what the file has: gray, alpha, depth, profile and light."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastgs.io.arrays import is_array_file, read_array_file, read_tiff_array
from fastgs.io.color import check_profile, to_srgb, unmultiply
from fastgs.io.compositing import join_channels, lay_over, resize_and_crop, to_tensor
from fastgs.io.pixels import (
    ALPHA_CHANNELS,
    MAX_CHANNELS,
    Background,
    Encoding,
    Floats,
    ImageError,
    Pixels,
    check_background,
    check_size,
    scale_to_unit,
    warn,
)
from fastgs.io.profiles import make_profile
from fastgs.io.reading import read_file, read_image
from fastgs.io.samples import Samples
from fastgs.io.transfer import PEAKS, check_transfer, choose_transfer, decode_light, encode_light

# Difference of R, G and B up to which a gray file that was converted by a profile is still gray: a step of 8 bits.
_NEUTRAL = 1 / 255


@dataclass(frozen=True, eq=False)
class Picture:
    """Image as it is fitted: C channels in [0, 1], and what is needed to write it back as the file was.

    Attributes:
        values: (C, H, W) floating point in [0, 1]: gray (C = 1), RGB (3), either of them with alpha (2, 4), inks (4) or
            any channels. With alpha, the colours are multiplied by it.
        alpha: True if the last channel is opacity.
        depth: Bits per sample that the source had.
        profile: ICC profile of the numbers; None for sRGB, or for what `transfer` says.
        transfer: "srgb", or the encoding of high dynamic range: "pq" or "log", see `fastgs.io.transfer`.
        range: Lowest and highest number of the source, which 0 and 1 stand for; (0, 1) for images.

    Raises:
        ValueError: The values have the wrong shape or dtype, or another field does not fit them.

    Example:
        picture = read_picture("logo.png")
        write_picture("copy.png", picture)
    """

    values: Tensor
    alpha: bool = False
    depth: int = 8
    profile: bytes | None = None
    transfer: str = "srgb"
    range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape)
        if len(shape) != 3 or not 1 <= shape[0] <= MAX_CHANNELS or 0 in shape:
            raise ValueError(f"values: expected shape (1 to {MAX_CHANNELS}, H, W), got {shape}")
        if not self.values.is_floating_point():
            raise ValueError(f"values: expected floating point, got {self.values.dtype}")
        if self.alpha and shape[0] not in ALPHA_CHANNELS:
            raise ValueError(f"alpha: is the last of 2 or 4 channels, got {shape[0]}")
        check_transfer(self.transfer)
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range: expected two ascending numbers, got {self.range}")

    @property
    def channels(self) -> int:
        """Return C, the number of channels, alpha included."""
        return len(self.values)

    @property
    def height(self) -> int:
        """Return the height in pixels."""
        return self.values.shape[1]

    @property
    def width(self) -> int:
        """Return the width in pixels."""
        return self.values.shape[2]

    @property
    def is_hdr(self) -> bool:
        """Return whether the values encode high dynamic range."""
        return self.transfer != "srgb"

    @property
    def peak(self) -> float:
        """Return the linear light that a value of 1 stands for; diffuse white is 1."""
        return PEAKS[self.transfer]

    def with_values(self, values: Tensor) -> Picture:
        """Return a picture of the same kind with other values, such as its reconstruction.

        Raises:
            ValueError: The number of channels is another one.
        """
        if len(values) != self.channels:
            raise ValueError(f"values: expected {self.channels} channels, got {len(values)}")
        return replace(self, values=values)

    def samples(self) -> Samples:
        """Return the values as an array in float32, for a file."""
        values = self.values.detach().to("cpu", torch.float32).numpy()
        return Samples(values, self.alpha, self.profile, self.transfer, self.range)

    def straight(self) -> Tensor:
        """Return the values with colours that are not multiplied by alpha, at most 1; black where alpha is 0."""
        if not self.alpha:
            return self.values
        opacity = self.values[-1:].clamp(0, 1)
        colors = self.values[:-1] / opacity.clamp(min=1e-6)
        return torch.cat([torch.where(opacity > 0, colors, 0).clamp(0, 1), opacity])

    def to_linear(self, values: Tensor | None = None) -> Tensor:
        """Return the colours in linear light, in which 1 is diffuse white, multiplied by alpha if there is alpha.

        Args:
            values: (C, H, W) values of a picture of the same kind; by default those of this one.

        Raises:
            ValueError: The numbers are not colours of sRGB: they have a profile or a range of their own.
        """
        if self.profile is not None or self.range != (0.0, 1.0):
            raise ValueError("picture: has a profile or a range of its own, and so no known linear light")
        values = self.straight() if values is None else self.with_values(values).straight()
        if not self.alpha:
            return decode_light(values, self.transfer)
        return torch.cat([decode_light(values[:-1], self.transfer) * values[-1:], values[-1:]])

    def composite(self, background: Background) -> Picture:
        """Return the picture without alpha, over a colour of sRGB.

        Args:
            background: R, G, B in [0, 255]. Gray over a background that is not gray becomes RGB.

        Raises:
            ImageError: The background is not three numbers in [0, 255].
        """
        check_background(background)
        if not self.alpha:
            return self
        colors, opacity = self.values[:-1], self.values[-1:]
        return replace(self, values=lay_over(colors, opacity, background, self.transfer), alpha=False)


# What images are read from.
ImageSource = str | Path | Image.Image | NDArray[Any] | Tensor
PictureSource = ImageSource | Picture


def read_picture(
    source: PictureSource, size: int | None = None, background: Background | None = None, keep_profile: bool = False
) -> Picture:
    """Read an image with all that it has: gray or RGB, transparency, depth, high dynamic range.

    The EXIF orientation is applied, and the first frame of an animation is taken. Colours are converted to sRGB from
    the ICC profile or the encoding that the file states. A damaged profile is a warning, and the numbers stay as they
    are. Floats beyond 1 (TIFF), Radiance and EXR files, and images with the curves PQ or HLG have high dynamic range,
    see `Picture.transfer`. Colours outside the gamut of sRGB are clipped.

    Args:
        source: Path of a file; a PIL image; an (H, W) or (H, W, C) array of uint8 or uint16 with C = 1 (gray), 2 (gray,
            alpha), 3 (RGB) or 4 (RGB, alpha); a (C, H, W) floating-point tensor in [0, 1] with C from 1 to 32, which is
            taken as it is; or a `Picture`, likewise. An .npy file, and a TIFF file of bands or of signed integers, hold
            (C, H, W) numbers, see `fastgs.io.stack.read_stack`.
        size: Side in pixels of a centre crop, or None for the whole image. The shorter side is first resized to it
            (Lanczos, in floating point, aspect kept), as the papers do; if it has that length, it is only cropped.
        background: R, G, B in [0, 255] that transparent pixels are composited on; None to keep the transparency.
        keep_profile: True to keep the numbers of the file and its ICC profile, instead of converting to sRGB.

    Returns:
        Picture of C = 1 for gray, 3 for RGB, and one more with transparency; alpha that is 1 everywhere is left out.
        Only numbers kept with a CMYK profile have another meaning: C = 4 inks, where full ink is 1.

    Raises:
        ImageError: The file is missing, a folder, unreadable, empty, damaged, not an image, too large, or of a kind
            that would be decoded wrongly; the image has no pixels; or an argument has the wrong type, shape or range.

    Example:
        picture = read_picture("icon.png")
        picture.values.shape  # (4, 256, 256), premultiplied
    """
    check_size(size)
    if background is not None:
        check_background(background)
    picture = _read(source, background, keep_profile)
    return picture if size is None else replace(picture, values=resize_and_crop(picture.values, size, picture.alpha))


def read_pixels(source: ImageSource) -> tuple[Pixels, str]:
    """Read a file, a PIL image or an array as pixels with a checked profile; and its name in messages.

    Raises:
        ImageError: The source cannot be read, or is none of these.
    """
    if isinstance(source, np.ndarray):
        return _read_array(source), "source"
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or "source"
        return check_profile(read_image(source, name), name), name
    if isinstance(source, str | Path):
        return check_profile(read_file(source), str(source)), str(source)
    raise ImageError(f"source: expected a path, PIL image, numpy array or tensor, got {type(source).__name__}")


def read_tensor(source: Tensor) -> Tensor:
    """Check a (C, H, W) tensor in [0, 1], and move it to the CPU as float32.

    Raises:
        ImageError: The shape, the dtype or a value is wrong.
    """
    shape = tuple(source.shape)
    if len(shape) != 3 or 0 in shape or shape[0] > MAX_CHANNELS or not source.is_floating_point():
        turn = "; move its last axis to the front" if len(shape) == 3 and 0 < shape[2] < min(shape[:2]) else ""
        raise ImageError(
            f"source: expected a floating-point tensor of shape (1 to {MAX_CHANNELS}, H, W), "
            f"got {source.dtype} {shape}{turn}"
        )
    image = source.detach().to("cpu", torch.float32)
    if not torch.isfinite(image).all():
        raise ImageError("source: the tensor holds NaN or infinity; give finite values in [0, 1]")
    low, high = image.aminmax()
    if low < 0 or high > 1:
        raise ImageError(f"source: expected values in [0, 1], got [{low:g}, {high:g}]; divide by 255 or clamp first")
    return image


def _read(source: PictureSource, background: Background | None, keep_profile: bool) -> Picture:
    """Read an image of any source in its own size."""
    if isinstance(source, Picture):
        read_tensor(source.values)
        return source if background is None else source.composite(background)
    if isinstance(source, Tensor):
        return Picture(read_tensor(source), depth=32)
    if isinstance(source, str | Path) and is_array_file(source):
        values, depth, limits = read_array_file(source)
        return Picture(values, depth=depth, range=limits)
    try:
        return make_picture(*read_pixels(source), background, keep_profile)
    except ImageError:
        array = read_tiff_array(source) if isinstance(source, str | Path) else None
        if array is None:
            raise
        return Picture(array[0], depth=array[1], range=array[2])


def make_picture(
    pixels: Pixels,
    name: str,
    background: Background | None = None,
    keep_profile: bool = False,
    straight: bool = False,
) -> Picture:
    """Convert pixels whose profile was checked to a picture.

    Args:
        pixels: Image as it was read.
        name: Name of the image in messages.
        background: Colour to composite on, see `read_picture`; None to keep the transparency.
        keep_profile: True to keep the numbers and the profile of the file.
        straight: True to make alpha a plain channel, and not to multiply colours by it.

    Raises:
        ImageError: The image cannot be kept so.
    """
    profile = None
    if keep_profile and pixels.profile is not None and not pixels.is_hdr:
        pixels, profile = _set_profile_aside(pixels, name)
    if pixels.is_hdr:
        return _make_hdr(pixels, name, background)
    colors, alpha = (pixels.colors, pixels.alpha) if profile else to_srgb(pixels)
    colors = _keep_gray(colors, pixels)
    if straight and alpha is not None:
        colors = unmultiply(colors, alpha) if pixels.associated else colors
        whole = colors if alpha.min() >= 1 else np.concatenate([colors, alpha[..., None]], axis=2)
        return Picture(to_tensor(whole.transpose(2, 0, 1)).contiguous(), False, pixels.depth, profile)
    return Picture(*join_channels(colors, alpha, pixels.associated, background), pixels.depth, profile)


def _set_profile_aside(pixels: Pixels, name: str) -> tuple[Pixels, bytes]:
    """Return the pixels without their profile, and the profile; one is made of an encoding."""
    profile = pixels.profile
    if pixels.colors.shape[2] == 4 and pixels.alpha is not None:
        raise ImageError(f"{name}: has inks and alpha, which cannot be kept together; leave out keep_profile")
    if isinstance(profile, Encoding):
        profile = make_profile(profile, pixels.colors.shape[2] == 1)
    assert profile is not None
    return replace(pixels, profile=None), profile


def _keep_gray(colors: Floats, pixels: Pixels) -> Floats:
    """Return one channel of a gray image that a profile has turned into three equal ones."""
    if pixels.colors.shape[2] == 1 and colors.shape[2] == 3:
        green = colors[..., 1:2]
        if (np.ptp(colors, axis=2) <= _NEUTRAL * np.maximum(green[..., 0], 1)).all():
            return green
    return colors


def _make_hdr(pixels: Pixels, name: str, background: Background | None) -> Picture:
    """Encode light of high dynamic range."""
    light, alpha = to_srgb(pixels)
    if alpha is not None and pixels.associated:
        light = unmultiply(light, alpha, unbounded=True)
    light = _keep_gray(light, pixels)
    low, high = light.min(), light.max()
    if low < 0:
        warn(name, f"holds negative light (down to {low:g}), which becomes 0; to keep it, read the file as a stack")
    is_encoded = isinstance(pixels.profile, Encoding) and bool(pixels.profile.curve)  # light that ends where "pq" does
    transfer = "pq" if is_encoded else choose_transfer(float(high))
    if transfer == "log" and high > PEAKS[transfer]:
        warn(name, f"holds light of up to {high:g}, which becomes {PEAKS[transfer]:g}, the most that is encoded")
    colors = encode_light(to_tensor(light), transfer).numpy()
    return Picture(*join_channels(colors, alpha, False, background, transfer), pixels.depth, transfer=transfer)


def _read_array(source: NDArray[Any]) -> Pixels:
    """Check and convert an (H, W) or (H, W, C) array of uint8 or uint16."""
    values = source[..., None] if source.ndim == 2 else source
    if values.ndim != 3 or not 1 <= values.shape[2] <= 4 or values.size == 0:
        raise ImageError(f"source: expected an array of shape (H, W) or (H, W, 1 to 4), got {source.shape}")
    if source.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"source: expected an array of uint8 or uint16, got {source.dtype}; give floats as a tensor")
    depth = 8 * source.dtype.itemsize
    samples = scale_to_unit(values, depth)
    if values.shape[2] % 2 == 0:
        return Pixels(samples[..., :-1], samples[..., -1], depth=depth)
    return Pixels(samples, depth=depth)
