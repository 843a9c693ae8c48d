"""Photos in and out: any common image file, PIL image, array or tensor to a (3, H, W) float tensor, and back."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fastgs.files import atomic_write

ImageSource = str | Path | Image.Image | NDArray[Any] | Tensor

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})

_open_lock = threading.Lock()


class ImageError(ValueError):
    """An image that cannot be used; one line that begins with the file (or argument) and says what to do."""


def load_image(
    source: ImageSource, size: int | None = None, background: tuple[float, float, float] = (255, 255, 255)
) -> Tensor:
    """Read an image as RGB.

    Rotation by EXIF is applied, the first frame of an animation is taken, colour profiles are ignored, and gray
    becomes three equal channels. Gray keeps all of its 16 bits; Pillow reads 16-bit colour at 8 bits.

    Args:
        source: a file that Pillow reads; a PIL image; an (H, W) or (H, W, C) array of uint8 or uint16 with C = 1
            (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha); or a (3, H, W) floating-point tensor in [0, 1].
        size: if given, the shorter side is resized to this many pixels (Lanczos, in floating point, aspect kept) and
            the centre size x size is cut out, as the papers do. A shorter side of just this size is only cropped.
        background: R, G, B in [0, 255] that transparent pixels are composited on.

    Returns:
        (3, H, W) float32 in [0, 1] on the CPU. A tensor that needs no change is not copied.

    Raises:
        ImageError: the file is missing, a folder, unreadable, empty, damaged, no image or too large; the image has no
            pixels; or an argument has the wrong type, shape or range.
    """
    if size is not None and size < 1:
        raise ImageError(f"size: must be at least 1 pixel, got {size}")
    if len(background) != 3 or not all(0 <= channel <= 255 for channel in background):
        raise ImageError(f"background: expected three numbers in [0, 255], got {background}")
    if isinstance(source, Tensor):
        image = _check_tensor(source)
    elif isinstance(source, np.ndarray):
        image = _composite(_scale_array(source), background)
    elif isinstance(source, Image.Image):
        image = _composite(_decode(source, getattr(source, "filename", "") or "source"), background)
    elif isinstance(source, str | Path):
        image = _composite(_read(source), background)
    else:
        raise ImageError(f"source: expected a path, PIL image, numpy array or tensor, got {type(source).__name__}")
    return image if size is None else _resize_and_crop(image, size)


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """List image files, in the order given.

    A folder gives the files in it that have a suffix of `SUFFIXES` in any case, sorted by name; hidden files and
    subfolders are left out. Any other path is kept as it is, even one that does not exist: `load_image` then says what
    is wrong with it, and the other images still get their turn.

    Raises:
        ImageError: a folder holds no image or cannot be listed.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        found += _list_folder(path) if path.is_dir() else [path]
    return found


def save_image(path: str | Path, image: Tensor) -> None:
    """Write a (3, H, W) floating-point image, clamped to [0, 1] and rounded to 8 bits, whole or not at all.

    The suffix chooses the format; of the usual ones, JPEG and WebP are lossy.

    Raises:
        ImageError: the image has another shape or holds NaN, or Pillow cannot write the format.
        OSError: the folder does not exist or is not writable, or the disk is full.
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
    """The image files of a folder, sorted by name."""
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


def _check_tensor(source: Tensor) -> Tensor:
    """A (3, H, W) tensor in [0, 1] as float32 on the CPU."""
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


def _scale_array(source: NDArray[Any]) -> NDArray[np.float32]:
    """An (H, W) or (H, W, C) array of uint8 or uint16 as (H, W, C) in [0, 1]."""
    pixels = source[..., None] if source.ndim == 2 else source
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or pixels.size == 0:
        raise ImageError(f"source: expected an array of shape (H, W) or (H, W, 1 to 4), got {source.shape}")
    if source.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"source: expected an array of uint8 or uint16, got {source.dtype}; give floats as a tensor")
    scaled: NDArray[np.float32] = pixels.astype(np.float32) / np.float32(np.iinfo(source.dtype).max)
    return scaled


def _read(path: str | Path) -> NDArray[np.float32]:
    """The pixels of a file as (H, W, C) in [0, 1]."""
    try:
        # Warning filters belong to the whole process, hence the lock; opening reads no more than the header.
        with _open_lock, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
    except Exception as error:
        raise ImageError(f"{path}: {_explain(path, error)}") from error
    with image:
        return _decode(image, str(path))


def _decode(image: Image.Image, name: str) -> NDArray[np.float32]:
    """The pixels of a PIL image as (H, W, C) in [0, 1], with C = 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA)."""
    if 0 in image.size:
        raise ImageError(f"{name}: has no pixels ({image.width} x {image.height}); give a larger image")
    try:
        image = _rotate(image)
        if image.mode in ("F", "I") or image.mode.startswith("I;16"):
            return _scale_gray(image, name)
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        pixels: NDArray[np.float32] = np.asarray(image, dtype=np.float32) / np.float32(255)
        return pixels
    except ImageError:
        raise
    except Exception as error:  # Damaged bytes make decoders raise nearly anything, from SyntaxError to IndexError.
        raise ImageError(f"{name}: {_explain(name, error)}") from error


def _rotate(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says; damaged EXIF does not cost a whole photo, it is only not turned."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _scale_gray(image: Image.Image, name: str) -> NDArray[np.float32]:
    """The pixels of gray modes that hold more than 8 bits (I;16, I, F), in [0, 1]: (H, W, 1), or 2 with alpha."""
    values = np.asarray(image)
    limit = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= limit):  # written so that NaN fails too
        raise ImageError(
            f"{name}: gray values must lie in [0, {limit}] but span [{values.min():g}, {values.max():g}]; rescale them"
        )
    gray = values.astype(np.float32) / np.float32(limit)
    transparent = image.info.get("transparency")  # PNG can name one gray value that is see-through
    channels = [gray] if transparent is None else [gray, (values != transparent).astype(np.float32)]
    return np.stack(channels, axis=2)


def _explain(path: str | Path, error: Exception) -> str:
    """What is wrong with a file, and what to do, from what Pillow raised."""
    match error:
        case FileNotFoundError():
            return "no such file; check the name"
        case IsADirectoryError():
            return "is a folder; name an image file in it"
        case PermissionError():
            return "may not be read; check its permissions"
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels; shrink it or raise PIL.Image.MAX_IMAGE_PIXELS"
        case UnidentifiedImageError() if Path(path).stat().st_size == 0:
            return "is empty (0 bytes); get a whole copy of it"
        case UnidentifiedImageError():
            return "is not an image that Pillow can read, or is damaged; convert it to PNG or JPEG"
        case MemoryError():
            return "does not fit in memory; shrink it"
        case OSError(strerror=str() as reason):
            return f"cannot be read ({reason}); check the path"
        case _:
            reason = " ".join(str(error).split()) or type(error).__name__
            return f"cannot be decoded ({reason}); it is damaged or cut short, get a whole copy of it"


def _composite(pixels: NDArray[np.float32], background: tuple[float, float, float]) -> Tensor:
    """(H, W, 1 to 4) in [0, 1] to (3, H, W): gray repeated, and transparent pixels laid over the background."""
    channels = torch.from_numpy(pixels).permute(2, 0, 1)
    color = channels[:3] if len(channels) >= 3 else channels[:1].expand(3, -1, -1)
    if len(channels) in (2, 4):
        alpha = channels[-1]
        color = color * alpha + torch.tensor(background).view(3, 1, 1) / 255 * (1 - alpha)
    return color.contiguous()


def _resize_and_crop(image: Tensor, size: int) -> Tensor:
    """The centre (3, size, size) of an image whose shorter side is resized to `size`.

    Sizes and offsets are rounded as by torchvision's Resize and CenterCrop.
    """
    _, height, width = image.shape
    shorter = min(height, width)
    new_height, new_width = size * height // shorter, size * width // shorter
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    if shorter == size:
        return image[:, top : top + size, left : left + size].contiguous()
    # Resizing only the window keeps a long thin image from growing to gigabytes before most of it is cut away.
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
