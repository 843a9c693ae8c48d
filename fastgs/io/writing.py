"""Writing of pictures as image files: alpha undone, 8 or 16 bits, tagged with the colours they have."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from fastgs.io import hdr
from fastgs.io.files import atomic_write
from fastgs.io.pixels import Encoding, Floats, ImageError, UnsupportedError
from fastgs.io.png import pack_chunk
from fastgs.io.profiles import COLORSPACES, make_profile
from fastgs.io.samples import Kind, Samples

if TYPE_CHECKING:
    from torch import Tensor

    from fastgs.io.picture import Picture

# Formats of Pillow that hold alpha, and those that hold an ICC profile.
_WITH_ALPHA = ("PNG", "WEBP", "AVIF", "JPEG2000")
_WITH_PROFILE = ("PNG", "WEBP", "AVIF", "JPEG")
_MODES = {(1, False): "L", (2, True): "LA", (3, False): "RGB", (4, True): "RGBA"}
# PNG: bytes before the second chunk; code points of the primaries of sRGB and of the curve PQ, RGB, full range.
_AFTER_HEADER = 33
_PQ_CODE_POINTS = bytes([1, 16, 0, 1])
_DEPTHS = (8, 16, 32)


def write_picture(
    path: str | Path,
    picture: Picture | Samples | Tensor,
    *,
    alpha: bool = False,
    straight: bool = False,
    bits: int = 8,
    profile: bytes | None = None,
    transfer: str = "srgb",
) -> None:
    """Write an image file; it is whole or absent.

    Values are clamped to [0, 1] and rounded to the bits. Colours are divided by alpha; where alpha is 0 they are black.
    The file is tagged as sRGB or has the profile that was kept, if its format can say so. High dynamic range becomes
    linear light in floating point (TIFF, EXR, Radiance), or the curve PQ in PNG of 16 bits.

    Args:
        path: File to write. Its suffix chooses the format: .png, .tif, .webp, .avif, .jp2, .jpg and others that Pillow
            writes; .hdr, and .exr with the extra `fastgs[hdr]`, for linear light; .npy for numbers in the range of the
            source. Of the usual ones, JPEG, WebP and AVIF are lossy.
        picture: Picture, whose fields take the place of the arguments `alpha`, `profile` and `transfer`; (C, H, W)
            floating-point values; or samples. Other numbers of channels than 1 to 4 need .tif or .npy.
        alpha: True if the last of 2 or 4 channels is opacity.
        straight: True if the colours are not multiplied by alpha.
        bits: 8, 16 (PNG and TIFF), or 32 (TIFF in floating point).
        profile: ICC profile of the values; None for sRGB.
        transfer: "srgb", "pq" or "log", see `fastgs.io.transfer`.

    Raises:
        ImageError: The values have the wrong shape or hold NaN, or the format cannot hold them or is unknown.
        OSError: The folder does not exist or is not writable, or the disk is full.

    Example:
        write_picture("copy.png", read_picture("scan.tif"), bits=16)
    """
    picture = picture if isinstance(picture, Samples) else _make_samples(path, picture, alpha, profile, transfer)
    if np.isnan(picture.values).any():
        raise ImageError(f"{path}: cannot write an image that holds NaN")
    if bits not in _DEPTHS:
        raise ImageError(f"bits: expected 8, 16 or 32, got {bits}")
    _check_profile(path, picture)
    write = _choose_writer(path, picture, bits)
    samples = picture.values.clip(0, 1) if straight else picture.straight()
    try:
        with atomic_write(path) as temporary:
            write(temporary, picture, samples, bits)
    except UnsupportedError as error:
        raise ImageError(f"{path}: {error}") from error


def choose_suffix(picture: Kind, bits: int = 8) -> str:
    """Return the suffix of a format that holds a picture without loss beyond the rounding to bits.

    Args:
        picture: Picture to write.
        bits: 8, 16 or 32.

    Returns:
        ".npy" for numbers with a range of their own; ".tif" for high dynamic range, floating point, inks, and numbers
        of channels that PNG does not hold; else ".png".
    """
    if picture.range != (0.0, 1.0):
        return ".npy"
    plain = _mode(picture) in ("L", "LA", "RGB", "RGBA")
    return ".png" if plain and not picture.is_hdr and bits <= 16 else ".tif"


def _make_samples(
    path: str | Path, values: Picture | Tensor, alpha: bool, profile: bytes | None, transfer: str
) -> Samples:
    """Return the samples of a picture or of values, or say what is wrong with these."""
    from fastgs.io.picture import Picture  # deferred: samples are written without torch

    if isinstance(values, Picture):
        return values.samples()
    try:
        return Picture(values, alpha, profile=profile, transfer=transfer).samples()
    except ValueError as error:
        raise ImageError(f"{path}: cannot write an image of shape {tuple(values.shape)} ({error})") from error


def _check_profile(path: str | Path, picture: Kind) -> None:
    """Refuse a profile of another kind of colours than the picture has."""
    if picture.profile is None:
        return
    kind, count = COLORSPACES.get(picture.profile[16:20], ("unknown", 0))
    colors = picture.channels - picture.alpha
    if count != colors and (kind, colors) != ("rgb", 1):
        raise ImageError(f"{path}: its profile is of {kind} colours, the image has {colors} colour channels")


_Writer = Callable[[Path, Kind, Floats, int], None]


def _choose_writer(path: str | Path, picture: Kind, bits: int) -> _Writer:
    """Return the function that writes a picture in the format of the path, or say why there is none."""
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        return _write_array
    if suffix in (".tif", ".tiff"):
        return _write_tiff
    if suffix in hdr.WRITERS:
        _check_light(path, picture)
        return _write_light
    format = Image.registered_extensions().get(suffix)
    if format not in Image.SAVE:
        raise ImageError(f"{path}: unknown image suffix {suffix!r}; use .png, .jpg, .webp or .tif")
    mode = _mode(picture)
    if mode is None or (mode == "CMYK" and format != "JPEG"):
        raise ImageError(f"{path}: {suffix} cannot hold {_describe(picture)}; use .tif")
    if picture.is_hdr and not (format == "PNG" and bits == 16 and picture.transfer == "pq"):
        raise ImageError(f"{path}: {suffix} cannot hold high dynamic range; use .tif, .hdr or .exr")
    if bits > 8 and not (format == "PNG" and bits == 16):
        raise ImageError(f"{path}: {suffix} is written with 8 bits only; use .tif{' or .png' if bits == 16 else ''}")
    if picture.alpha and format not in _WITH_ALPHA:
        raise ImageError(f"{path}: {suffix} holds no transparency; use .png, or composite on a background")
    if picture.profile is not None and format not in _WITH_PROFILE:
        raise ImageError(f"{path}: {suffix} holds no colour profile; use .png or .tif")
    if format == "WEBP" and picture.profile is not None and picture.profile[16:20] == b"GRAY":
        raise ImageError(f"{path}: {suffix} has no gray, which the profile is for; use .png or .tif")
    return _write_deep_png if bits == 16 else _write_with_pillow


def _mode(picture: Kind) -> str | None:
    """Return the mode of Pillow for a picture; None if there is none."""
    if picture.channels == 4 and not picture.alpha:
        return "CMYK" if picture.profile is not None else None
    return _MODES.get((picture.channels, picture.alpha))


def _describe(picture: Kind) -> str:
    return "inks" if _mode(picture) == "CMYK" else f"{picture.channels} channels without alpha"


def _check_light(path: str | Path, picture: Kind) -> None:
    """Refuse pictures that have no linear light of gray or RGB."""
    if picture.profile is not None or picture.range != (0.0, 1.0) or _mode(picture) is None:
        raise ImageError(f"{path}: holds linear light of gray or RGB only; use .tif or .npy")
    if picture.alpha and Path(path).suffix.lower() == ".hdr":
        raise ImageError(f"{path}: .hdr holds no transparency; use .tif or .exr, or composite on a background")


def quantize(samples: Floats, bits: int) -> NDArray[Any]:
    """Round (C, H, W) samples in [0, 1] to (H, W, C) integers of 8 or 16 bits."""
    rounded = np.rint(samples * np.float32(2**bits - 1)).transpose(1, 2, 0)
    return np.ascontiguousarray(rounded.astype(np.uint8 if bits == 8 else np.uint16))


def _stretch(samples: Floats, limits: tuple[float, float]) -> Floats:
    """Return samples in [0, 1] as numbers between limits."""
    low, high = limits
    stretched: Floats = (samples.astype(np.float64) * (high - low) + low).astype(np.float32)
    return stretched


def _profile_of(picture: Kind) -> bytes:
    """Return the profile that was kept, or one of sRGB."""
    return picture.profile or make_profile(gray=picture.channels - picture.alpha == 1)


def _write_with_pillow(path: Path, picture: Kind, samples: Floats, bits: int) -> None:
    """Write 8 bits in any format of Pillow."""
    pixels = quantize(samples, bits)
    format = Image.registered_extensions()[path.suffix.lower()]
    options: dict[str, Any] = {}
    if format == "PNG" and picture.profile is None:
        options["pnginfo"] = info = PngImagePlugin.PngInfo()
        info.add(b"sRGB", b"\0")  # perceptual intent
    elif picture.profile is not None or format in ("JPEG", "WEBP"):  # AVIF and JPEG 2000 state sRGB themselves
        options["icc_profile"] = make_profile() if format == "WEBP" and not picture.profile else _profile_of(picture)
    image = Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[..., 0], _mode(picture))
    image.save(path, **options)


def _write_deep_png(path: Path, picture: Kind, samples: Floats, bits: int) -> None:
    """Write a PNG file of 16 bits."""
    import imagecodecs

    pixels = quantize(samples, bits)
    data = imagecodecs.png_encode(pixels if pixels.shape[2] > 1 else pixels[..., 0])
    if picture.is_hdr:
        tag = pack_chunk(b"cICP", _PQ_CODE_POINTS)
    elif picture.profile is not None:
        tag = pack_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.profile))
    else:
        tag = pack_chunk(b"sRGB", b"\0")
    path.write_bytes(data[:_AFTER_HEADER] + tag + data[_AFTER_HEADER:])


def tiff_options(picture: Kind) -> dict[str, Any]:
    """Return the options of tifffile for the colours of a picture, and for a file that depends on nothing else."""
    mode = _mode(picture)
    extras = [] if not picture.alpha else ["unassalpha"]
    photometric = {"L": "minisblack", "LA": "minisblack", "CMYK": "separated", None: "minisblack"}.get(mode, "rgb")
    if mode is None:
        extras = ["unspecified"] * (picture.channels - 1)
    profile: bytes | None = _profile_of(picture) if mode is not None else None
    if picture.is_hdr:
        profile = make_profile(Encoding(1.0), picture.channels < 3)
    return {
        "photometric": photometric,
        "planarconfig": "contig" if picture.channels > 1 else None,
        "extrasamples": extras,
        "compression": "adobe_deflate",
        "iccprofile": profile,
        "metadata": None,
        "software": False,
    }


def _write_tiff(path: Path, picture: Kind, samples: Floats, bits: int) -> None:
    """Write a TIFF file: light as floats, everything else in the bits asked for."""
    import tifffile

    if picture.is_hdr:
        pixels = _to_light(picture, samples)
    elif picture.range != (0.0, 1.0):
        pixels = _stretch(samples, picture.range).transpose(1, 2, 0)
    else:
        pixels = samples.transpose(1, 2, 0) if bits == 32 else quantize(samples, bits)
    pixels = np.ascontiguousarray(pixels if pixels.shape[2] > 1 else pixels[..., 0])
    tifffile.imwrite(path, pixels, **tiff_options(picture))


def _write_array(path: Path, picture: Kind, samples: Floats, bits: int) -> None:
    """Write (C, H, W) float32 numbers in the range of the source."""
    with open(path, "wb") as file:
        np.save(file, _stretch(samples, picture.range))


def _to_light(picture: Kind, samples: Floats) -> Floats:
    """Return (H, W, C) linear light of straight colours, and alpha as it is."""
    import torch  # deferred: only high dynamic range takes it

    from fastgs.io.transfer import decode_light

    count = picture.channels - picture.alpha
    colors = decode_light(torch.from_numpy(samples[:count]), picture.transfer).numpy()
    light: Floats = np.concatenate([colors, samples[count:]]).transpose(1, 2, 0)
    return light


def _write_light(path: Path, picture: Kind, samples: Floats, bits: int) -> None:
    """Write linear light in a format that is made for it."""
    hdr.WRITERS[path.suffix.lower()](path, _to_light(picture, samples), picture.alpha)
