"""Reading of image files, PIL images, arrays and tensors as (3, H, W) float tensors in [0, 1], and writing of files."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fastgs.io.compositing import resize_and_crop
from fastgs.io.finding import PICTURE_SUFFIXES as PICTURE_SUFFIXES
from fastgs.io.finding import SUFFIXES as SUFFIXES
from fastgs.io.finding import find_images as find_images
from fastgs.io.picture import ImageSource as ImageSource
from fastgs.io.picture import make_picture, read_pixels, read_tensor
from fastgs.io.pixels import Encoding, Pixels, check_background, check_size
from fastgs.io.pixels import ImageError as ImageError
from fastgs.io.writing import write_picture


def load_image(
    source: ImageSource, size: int | None = None, background: tuple[float, float, float] = (255, 255, 255)
) -> Tensor:
    """Read an image as sRGB.

    The EXIF orientation is applied, the first frame of an animation is taken, colours are converted from the ICC
    profile or the gamma of the file, and gray becomes three equal channels. Images of 16 bits keep their precision.

    Args:
        source: Path of a file that Pillow or tifffile reads; a PIL image; an (H, W) or (H, W, C) array of uint8 or
            uint16 with C = 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha); or a (3, H, W) floating-point tensor
            in [0, 1].
        size: Side in pixels of a centre crop, or None for the whole image. The shorter side is first resized to it
            (Lanczos, in floating point, aspect kept), as the papers do; if it has that length, it is only cropped.
        background: R, G, B in [0, 255] behind transparent pixels.

    Returns:
        (3, H, W) float32 in [0, 1] on the CPU. A tensor that needs no change is not copied.

    Raises:
        ImageError: The file is missing, a folder, unreadable, empty, damaged, not an image, too large, or of a kind
            that would be decoded wrongly; the image has no pixels; or an argument has the wrong type, shape or range.

    Example:
        image = load_image("photo.jpg")
        crop = load_image("photo.jpg", size=512)
    """
    check_size(size)
    check_background(background)
    if isinstance(source, Tensor):
        if source.ndim != 3 or len(source) != 3:
            raise ImageError(
                f"source: expected a floating-point tensor of shape (3, H, W), got {source.dtype} {tuple(source.shape)}"
            )
        values = read_tensor(source)
    else:
        pixels, name = read_pixels(source)
        _refuse_hdr(pixels, name)
        values = make_picture(pixels, name, background).values
    values = values if size is None else resize_and_crop(values, size)
    return values.expand(3, -1, -1).contiguous()


def save_image(path: str | Path, image: Tensor) -> None:
    """Write an image file; it is whole or absent.

    Args:
        path: File to write. Its suffix chooses the format; of the usual ones, JPEG and WebP are lossy.
        image: (3, H, W) floating-point RGB, which is clamped to [0, 1] and rounded to 8 bits.

    Raises:
        ImageError: The image has the wrong shape or holds NaN, or Pillow cannot write the format.
        OSError: The folder does not exist or is not writable, or the disk is full.
    """
    if image.ndim != 3 or len(image) != 3 or image.numel() == 0:
        raise ImageError(f"{path}: cannot write an image of shape {tuple(image.shape)}; give (3, H, W)")
    write_picture(path, image)


def _refuse_hdr(pixels: Pixels, name: str) -> None:
    """Refuse high dynamic range, which no opaque consumer expects."""
    if isinstance(pixels.profile, Encoding) and pixels.profile.curve:
        kind = pixels.profile.curve.upper()
        raise ImageError(f"{name}: has colours of kind {kind} (HDR) instead of sRGB; convert it to sRGB")
    if pixels.linear:
        low, high = pixels.colors.min(), pixels.colors.max()
        raise ImageError(f"{name}: its values must lie in [0, 1] but span [{low:g}, {high:g}]; rescale them")
