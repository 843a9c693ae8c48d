"""Reading of any image file or PIL image as `Pixels`, with messages for those that cannot be read."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from fastgs.io import avif, bmp, hdr, jpeg, jpeg2000, png, pnm, tiff
from fastgs.io.color import changes, cicp_profile, file_profile
from fastgs.io.lab import lab_to_srgb
from fastgs.io.pixels import SRGB, Encoding, ImageError, Pixels, UnsupportedError, scale_light, scale_to_unit, warn
from fastgs.io.profiles import rgb_to_xyz

_EXIF_ORIENTATION = 0x0112
_GRAY = {"1", "L", "LA", "La"}  # modes of Pillow that are gray
# Modes of 8 bits to convert to, for gray and for colours, each without and with transparency.
_GRAY_MODES, _COLOR_MODES = ("L", "LA"), ("RGB", "RGBA")
# Formats whose bytes tell more than Pillow does: depths, transparency, code points of colours.
_REREAD = ("PNG", "TIFF", "JPEG2000", "AVIF", "BMP")

_HEAD = 2**24  # bytes that hold all that stands before the pixels

_XYZE = re.compile(rb"^FORMAT *= *32-bit_rle_xyze *$", re.MULTILINE)  # in the header of a Radiance picture

_open_lock = threading.Lock()


def read_file(path: str | Path) -> Pixels:
    """Read an image file, and turn it as its EXIF orientation says.

    Raises:
        ImageError: The file is missing, a folder, unreadable, damaged, not an image, too large, or of a kind that is
            not supported. The message begins with the path.
    """
    try:
        pixels = _read_without_pillow(path)
        if pixels is not None:
            return pixels
        # Warning filters belong to the whole process, hence the lock; opening reads no more than the header.
        with _open_lock, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
    except Exception as error:
        pixels = _read_deep_jpeg(path, error)
        if pixels is not None:
            return pixels
        raise ImageError(f"{path}: {explain(path, error)}") from error
    with image:
        return read_image(image, str(path))


def _read_deep_jpeg(path: str | Path, error: Exception) -> Pixels | None:
    """Read a JPEG file of 12 bits after Pillow has failed with this error; None if it is no such file."""
    if not isinstance(error, UnidentifiedImageError):
        return None
    data = Path(path).read_bytes()
    try:
        return jpeg.decode(data) if jpeg.is_deep(data) else None
    except Exception as failure:
        raise ImageError(f"{path}: {explain(path, failure)}") from failure


def _read_radiance(data: bytes) -> Pixels:
    """Read a Radiance picture of RGBE or XYZE; either is float, with high dynamic range.

    X, Y and Z become light by the matrix of sRGB (Rec. 709), whose white is D65, without white balance. A Y of 1 is
    diffuse white, and light outside the gamut is clipped at 0.
    """
    head, gap, body = data.partition(b"\n\n")
    if _XYZE.search(head) is None:
        return hdr.read_radiance(data)
    pixels = hdr.read_radiance(_XYZE.sub(b"FORMAT=32-bit_rle_rgbe", head) + gap + body)
    light = (pixels.colors @ np.linalg.inv(rgb_to_xyz(SRGB)).T).clip(0).astype(np.float32)
    return replace(pixels, colors=light, profile=None)


def _read_without_pillow(path: str | Path) -> Pixels | None:
    """Read a file of a format that Pillow does not know or misreads; None for any other file."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if hdr.is_exr(head):
        return hdr.read_exr(path)
    if hdr.is_radiance(head):
        return _read_radiance(Path(path).read_bytes())
    if tiff.is_tiff(head):
        return _decode_tiff(Path(path).read_bytes())
    if pnm.is_deep(head):
        return pnm.decode(Path(path).read_bytes())
    return None


def read_image(image: Image.Image, name: str) -> Pixels:
    """Read a PIL image, and turn it as its EXIF orientation says.

    An image that was opened but not decoded is read from its file, which tells more than Pillow does.

    Args:
        image: Image of any mode.
        name: Name of the image in messages.

    Raises:
        ImageError: The image has no pixels, is damaged, or is of a kind that is not supported. The message begins with
            the name.
    """
    if 0 in image.size:
        raise ImageError(f"{name}: has no pixels ({image.width} x {image.height}); give a larger image")
    try:
        data = _undecoded_bytes(image)
        if data is not None and tiff.is_tiff(data):
            pixels = _decode_tiff(data)
            if pixels is not None:
                return pixels
        if data is not None and image.format == "JPEG2000":
            return jpeg2000.decode(data)
        if data is not None and image.format == "PNG" and png.is_deep(data):
            pixels = png.decode(data)
        elif data is not None and image.format == "AVIF" and avif.read_depth(data) > 8:
            pixels = avif.decode(data)
        else:
            pixels = _decode_with_pillow(image)
        if data is not None and image.format == "PNG" and png.has_damaged_profile(data, image.info):
            warn(name, "its colour profile is damaged (it cannot be unpacked); the numbers are taken as they are")
        profile = None if image.mode == "LAB" else _find_profile(image, data)
        return replace(pixels, profile=profile).oriented(_read_orientation(image))
    except ImageError:
        raise
    except Exception as error:  # damaged bytes make decoders raise nearly anything, from SyntaxError to IndexError
        raise ImageError(f"{name}: {explain(name, error)}") from error


def read_bytes(path: str | Path) -> NDArray[np.uint8] | None:
    """Read a common photo as uint8 if that loses nothing: sRGB or gray of 8 bits, opaque, upright.

    Cutting a crop out of bytes, and converting only that to floating point, makes reading a large photo twice as fast.

    Returns:
        (H, W) or (H, W, 3) pixels, or None for any other file, readable or not; `read_file` takes those.
    """
    image = decode_plain(path)
    return None if image is None else np.asarray(image)


def decode_plain(path: str | Path) -> Image.Image | None:
    """Return what `read_bytes` reads as an image of Pillow, from which parts can be cut without a copy of the whole."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")) or not is_plain(image):
                return None
            image.load()
            decoded: Image.Image = image
            return decoded
    except Exception:  # `read_file` will say what is wrong
        return None


def is_plain(image: Image.Image) -> bool:
    """Tell by its header whether an image that Pillow has opened is one that `read_bytes` reads."""
    plain = image.format in ("JPEG", "PNG", "WEBP") and image.mode in ("L", "RGB")
    if not plain or image.has_transparency_data or image.width * image.height == 0:
        return False
    head = _undecoded_bytes(image, _HEAD)
    if head is not None and png.is_deep(head):
        return False
    return _read_orientation(image) == 1 and not changes(_find_profile(image, head))


def _undecoded_bytes(image: Image.Image, most: int = -1) -> bytes | None:
    """Return the bytes of a file that Pillow has opened but not decoded, all or so many; None if not in `_REREAD`."""
    if not isinstance(image, ImageFile.ImageFile) or image.format not in _REREAD:
        return None
    stream: Any = getattr(image, "fp", None)
    if stream is None or not image.tile or image.tell() != 0:
        return None
    place = stream.tell()
    stream.seek(0)
    data: bytes = stream.read(most)
    stream.seek(place)
    return data


def _decode_tiff(data: bytes) -> Pixels | None:
    """Return the pixels of a TIFF file, turned; None if Pillow is to read it."""
    decoded = tiff.decode(data)
    return None if decoded is None else decoded[0].oriented(decoded[1])


def _find_profile(image: Image.Image, data: bytes | None) -> bytes | Encoding | None:
    """Return the ICC profile or the encoding of a file's colours; None for sRGB."""
    points = None
    if data is not None and image.format == "PNG":
        points = png.code_points(data)
    elif data is not None and image.format == "AVIF" and not image.info.get("icc_profile"):
        points = avif.code_points(data)
    elif data is not None and image.format == "BMP":
        return bmp.read_profile(data)
    return file_profile(image) if points is None else cicp_profile(*points)


def _read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 if it is missing or damaged: a photo is then read without being turned."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:
        return 1


def _decode_with_pillow(image: Image.Image) -> Pixels:
    """Decode an image with Pillow, in the depth of its mode."""
    image.load()
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return _convert_deep_gray(image)
    if image.mode == "CMYK":
        return Pixels(scale_to_unit(np.asarray(image), 8))
    if image.mode == "LAB":
        whole = np.asarray(image)  # a and b as signed bytes
        lab = np.concatenate([whole[..., :1] * (100 / 255), np.ascontiguousarray(whole[..., 1:]).view(np.int8)], axis=2)
        return Pixels(lab_to_srgb(lab))
    modes = _GRAY_MODES if image.mode in _GRAY else _COLOR_MODES
    values = scale_to_unit(np.atleast_3d(np.asarray(image.convert(modes[image.has_transparency_data]))), 8)
    if image.has_transparency_data:
        return Pixels(values[..., :-1], values[..., -1])
    return Pixels(values)


def _convert_deep_gray(image: Image.Image) -> Pixels:
    """Convert gray of more than 8 bits (modes I;16, I and F)."""
    values = np.asarray(image)
    if image.mode == "I" and not (values.min() >= 0 and values.max() <= 65535):
        raise UnsupportedError(
            f"its values must lie in [0, 65535] but span [{values.min():g}, {values.max():g}]; rescale them"
        )
    gray, linear = scale_light(values if image.mode == "F" else values.astype(np.uint16), 16)
    transparent = image.info.get("transparency")  # one gray value that is transparent
    alpha = None if transparent is None else (values != transparent).astype(np.float32)
    return Pixels(gray[..., None], alpha, depth=32 if image.mode == "F" else 16, linear=linear)


def explain(path: str | Path, error: Exception) -> str:
    """Translate an exception to a message that says what is wrong with a file and what to do."""
    match error:
        case UnsupportedError():
            return str(error)
        case FileNotFoundError():
            return "no such file; check the name"
        case IsADirectoryError() | PermissionError() if Path(path).is_dir():  # the latter on Windows
            return "is a folder; name an image file in it"
        case PermissionError():
            return "may not be read; check its permissions"
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels; shrink it or raise PIL.Image.MAX_IMAGE_PIXELS"
        case UnidentifiedImageError() if Path(path).stat().st_size == 0:
            return "is empty (0 bytes); get a whole copy of it"
        case UnidentifiedImageError():
            return "is not an image that Pillow can read, or is damaged; convert it to 8-bit PNG or JPEG"
        case MemoryError():
            return "does not fit in memory; shrink it"
        case ImportError():
            return f"cannot be read without {error.name} ({error}); install it, or convert the file to 8-bit PNG"
        case OSError(strerror=str() as reason):
            return f"cannot be read ({reason}); check the path"
        case _:
            reason = " ".join(str(error).split()) or type(error).__name__
            return (
                f"cannot be decoded ({reason}); get a whole copy if it is damaged or cut short, else convert it to PNG"
            )


@contextmanager
def explaining(path: str | Path) -> Iterator[None]:
    """Turn errors of decoders into `ImageError` with the path."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        raise ImageError(f"{path}: {explain(path, error)}") from error
