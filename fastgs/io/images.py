"""Reading of image files, PIL images, arrays and tensors as (3, H, W) float tensors in [0, 1], and writing of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastgs.io.color import to_srgb
from fastgs.io.files import atomic_write
from fastgs.io.pixels import ImageError as ImageError
from fastgs.io.pixels import Pixels, scale_to_unit
from fastgs.io.reading import read_file, read_image

ImageSource = str | Path | Image.Image | NDArray[Any] | Tensor

# Suffixes of the files that `find_images` takes from a folder.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".jp2", ".j2k"})


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
    if size is not None and size < 1:
        raise ImageError(f"size: must be at least 1 pixel, got {size}")
    if len(background) != 3 or not all(0 <= channel <= 255 for channel in background):
        raise ImageError(f"background: expected three numbers in [0, 255], got {background}")
    if isinstance(source, Tensor):
        image = _read_tensor(source)
    elif isinstance(source, np.ndarray):
        image = _composite(_read_array(source), background)
    elif isinstance(source, Image.Image):
        image = _composite(read_image(source, getattr(source, "filename", "") or "source"), background)
    elif isinstance(source, str | Path):
        image = _composite(read_file(source), background)
    else:
        raise ImageError(f"source: expected a path, PIL image, numpy array or tensor, got {type(source).__name__}")
    return image if size is None else _resize_and_crop(image, size)


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """List image files, in the order given.

    A folder gives the files in it that have a suffix of `SUFFIXES` in any case, sorted by name; hidden files and
    subfolders are left out. Any other path is kept as it is, even one that does not exist: `load_image` reports what
    is wrong with it, and the other images are still read.

    Args:
        paths: Path of a file or folder, or several of them.

    Raises:
        ImageError: A folder holds no image or cannot be listed.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        found += _list_folder(path) if path.is_dir() else [path]
    return found


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
    if image.isnan().any():
        raise ImageError(f"{path}: cannot write an image that holds NaN")
    pixels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    if Image.registered_extensions().get(Path(path).suffix.lower()) not in Image.SAVE:
        raise ImageError(f"{path}: unknown image suffix {Path(path).suffix!r}; use .png, .jpg, .webp or .tif")
    with atomic_write(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _list_folder(folder: Path) -> list[Path]:
    """List the image files of a folder, sorted by name."""
    try:
        files = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()
        )
    except OSError as error:
        raise ImageError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    if not files:
        raise ImageError(f"{folder}: holds no image; expected files that end in {', '.join(sorted(SUFFIXES))}")
    return files


def _read_tensor(source: Tensor) -> Tensor:
    """Check a (3, H, W) tensor in [0, 1], and move it to the CPU as float32."""
    if source.ndim != 3 or len(source) != 3 or source.numel() == 0 or not source.is_floating_point():
        raise ImageError(
            f"source: expected a floating-point tensor of shape (3, H, W), got {source.dtype} {tuple(source.shape)}"
        )
    image = source.detach().to("cpu", torch.float32)
    if not torch.isfinite(image).all():
        raise ImageError("source: the tensor holds NaN or infinity; give finite values in [0, 1]")
    low, high = image.aminmax()
    if low < 0 or high > 1:
        raise ImageError(f"source: expected values in [0, 1], got [{low:g}, {high:g}]; divide by 255 or clamp first")
    return image


def _read_array(source: NDArray[Any]) -> Pixels:
    """Check and convert an (H, W) or (H, W, C) array of uint8 or uint16."""
    values = source[..., None] if source.ndim == 2 else source
    if values.ndim != 3 or not 1 <= values.shape[2] <= 4 or values.size == 0:
        raise ImageError(f"source: expected an array of shape (H, W) or (H, W, 1 to 4), got {source.shape}")
    if source.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"source: expected an array of uint8 or uint16, got {source.dtype}; give floats as a tensor")
    samples = scale_to_unit(values, 8 * source.dtype.itemsize)
    if values.shape[2] % 2 == 0:
        return Pixels(samples[..., :-1], samples[..., -1])
    return Pixels(samples)


def _composite(pixels: Pixels, background: tuple[float, float, float]) -> Tensor:
    """Convert pixels to a (3, H, W) tensor: in sRGB, gray repeated, composited on the background."""
    colors, alpha = to_srgb(pixels)
    image = torch.from_numpy(np.require(colors.transpose(2, 0, 1), requirements=["C", "W"])).expand(3, -1, -1)
    if alpha is not None:
        opacity = torch.from_numpy(np.require(alpha, requirements=["C", "W"]))
        image = image if pixels.associated else image * opacity
        image = (image + torch.tensor(background).view(3, 1, 1) / 255 * (1 - opacity)).clamp_(0, 1)
    return image.contiguous()


def _resize_and_crop(image: Tensor, size: int) -> Tensor:
    """Resize the shorter side of an image to `size`, and cut out the centre (3, size, size).

    Sizes and offsets are rounded as in torchvision's Resize and CenterCrop.
    """
    _, height, width = image.shape
    shorter = min(height, width)
    new_height, new_width = size * height // shorter, size * width // shorter
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    if shorter == size:
        return image[:, top : top + size, left : left + size].contiguous()
    # Only the window is resized: a long thin image could otherwise grow to gigabytes before it is cropped.
    box = (
        left * width / new_width,
        top * height / new_height,
        (left + size) * width / new_width,
        (top + size) * height / new_height,
    )
    resized = [
        Image.fromarray(channel).resize((size, size), Image.Resampling.LANCZOS, box=box) for channel in image.numpy()
    ]
    return torch.from_numpy(np.stack([np.asarray(channel) for channel in resized])).clamp(0, 1)
