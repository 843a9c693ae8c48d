"""Encoders of image formats, with the settings that give the most PSNR at a size, and the versions that records name.

JPEG, JPEG 2000, WebP and AVIF are those of Pillow, JPEG XL that of imagecodecs, and HEIF that of pillow-heif, which is
optional. JPEG 2000 is a bare codestream, without the boxes of a .jp2 file, and with its colour transform, without which
it loses 3 dB. AVIF keeps the chroma at full size, which is the better choice from 0.1 bpp on (benchmarks/LOG.md,
"Anchors"), and is tuned for PSNR, as libavif would otherwise tune for a quality of its own. JPEG XL has no such
setting: it aims at what eyes see.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

Pixels = NDArray[np.uint8]

# Levels of JPEG 2000 up to the bytes that were asked for. Its files are smaller than requested, so a quarter more
# levels follow.
_JPEG2000_LEVELS = 1000
# Levels of JPEG XL: distances (1 is hardly visible) from the largest that libjxl takes to a nearly lossless one.
_JPEGXL_LEVELS, _JPEGXL_COARSEST, _JPEGXL_FINEST = 255, 25.0, 0.1
_JPEGXL_EFFORT = 10
# Speed at which AVIF looks for the quality that the slowest speed, 0, is tried at first: both sizes are nearly equal.
_AVIF_DRAFT_SPEED = 6
_AVIF_STEPS = 63  # libavif has 64 steps between its qualities 0 and 100


@dataclass(frozen=True)
class Format:
    """Image format with a scale of quality.

    Attributes:
        title: Name of the format in messages.
        levels: Number of levels of quality; files grow with the level, if not always.
        save: Function that returns the file of an image, given as ((H, W, 3) pixels, level from 1 on, chroma, bytes
            that the file should have, whether it is a draft).
        load: Function that returns the (H, W, 3) pixels of a file.
        obstacle: Function that returns in one line why the format cannot be written, and what to do; empty if it can.
        encoder: Function that returns the library, its version, and the settings that all files have.
        chromas: Settings of chroma to choose from, as records name them; "" if there is no choice.
        has_draft: True if the encoder is so slow that a quicker one looks for the level first.
    """

    title: str
    levels: int
    save: Callable[[Pixels, int, str, int, bool], bytes]
    load: Callable[[bytes], Pixels]
    obstacle: Callable[[], str]
    encoder: Callable[[], str]
    chromas: tuple[str, ...] = ("",)
    has_draft: bool = False


def load_by_pillow(data: bytes) -> Pixels:
    """Return the pixels of a file that Pillow reads."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def save_by_pillow(pixels: Pixels, name: str, **options: Any) -> bytes:
    """Return the file of an image in one of Pillow's formats; raise OSError if it cannot hold the image."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, name, **options)
    return stream.getvalue()


def _of_pillow(name: str, feature: str) -> Callable[[], str]:
    """Return the function that tells whether Pillow was built with a feature."""

    def obstacle() -> str:
        if features.check(feature):
            return ""
        return f"this Pillow cannot write {name}; leave {name} out, or install Pillow's own wheel"

    return obstacle


def _save_jpeg(pixels: Pixels, level: int, chroma: str, size: int, draft: bool) -> bytes:
    return save_by_pillow(pixels, "JPEG", quality=level, optimize=True, progressive=True, subsampling=chroma)


def _describe_jpeg() -> str:
    turbo = features.version("libjpeg_turbo")
    library = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    return f"{library}, optimized, progressive"


def _save_jpeg2000(pixels: Pixels, level: int, chroma: str, size: int, draft: bool) -> bytes:
    ratio = pixels.size * _JPEG2000_LEVELS / (size * level)
    options: dict[str, Any] = {"quality_mode": "rates", "quality_layers": [ratio], "irreversible": True}
    return save_by_pillow(pixels, "JPEG2000", mct=1, no_jp2=True, **options)


def _save_webp(pixels: Pixels, level: int, chroma: str, size: int, draft: bool) -> bytes:
    # Halves, as libwebp's quality is a real number.
    return save_by_pillow(pixels, "WEBP", quality=(level - 1) / 2, method=6)


def _save_avif(pixels: Pixels, level: int, chroma: str, size: int, draft: bool) -> bytes:
    # The quality that libavif rounds to one of its steps.
    quality = (100 * (level - 1) + _AVIF_STEPS // 2) // _AVIF_STEPS
    speed = _AVIF_DRAFT_SPEED if draft else 0
    options = {"codec": "aom", "advanced": {"tune": "psnr"}}
    return save_by_pillow(pixels, "AVIF", quality=quality, speed=speed, subsampling=chroma, **options)


def _describe_avif() -> str:
    module = importlib.import_module("PIL._avif")  # the module in Pillow that tells the encoder in libavif
    found = re.search(r"\baom \[[^]]*enc[^]]*\]:v?([^,\s]+)", module.codec_versions())
    aom = f"aom {found[1]}" if found else "aom"
    return f"libavif {features.version('avif')}, {aom}, speed 0, tune psnr"


def _find_obstacle_to_avif() -> str:
    obstacle = _of_pillow("avif", "avif")()
    if obstacle or importlib.import_module("PIL._avif").encoder_codec_available("aom"):
        return obstacle
    return "the AVIF of this Pillow has no aom; leave avif out, or install Pillow's own wheel"


def _save_jpegxl(pixels: Pixels, level: int, chroma: str, size: int, draft: bool) -> bytes:
    import imagecodecs  # deferred: only this format takes it

    share = (level - 1) / (_JPEGXL_LEVELS - 1)
    distance = _JPEGXL_COARSEST * (_JPEGXL_FINEST / _JPEGXL_COARSEST) ** share
    try:
        # One thread, and no container: boxes would be so many more bytes.
        data = imagecodecs.jpegxl_encode(
            pixels, distance=distance, effort=_JPEGXL_EFFORT, usecontainer=False, numthreads=1
        )
    except imagecodecs.JpegxlError as error:
        raise OSError(str(error)) from error
    return bytes(data)


def _load_jpegxl(data: bytes) -> Pixels:
    import imagecodecs

    return np.ascontiguousarray(imagecodecs.jpegxl_decode(data))


def _find_obstacle_to_jpegxl() -> str:
    import imagecodecs

    if imagecodecs.JPEGXL.available:
        return ""
    return "this imagecodecs cannot write jpegxl; leave jpegxl out, or install imagecodecs' own wheel"


def _describe_jpegxl() -> str:
    import imagecodecs

    return f"{imagecodecs.jpegxl_version()}, effort {_JPEGXL_EFFORT}"


def _save_heif(pixels: Pixels, level: int, chroma: str, size: int, draft: bool) -> bytes:
    import pillow_heif  # deferred: optional

    stream = io.BytesIO()
    options = {"preset": "placebo", "tune": "psnr"}
    image = pillow_heif.from_pillow(Image.fromarray(pixels))
    image.save(stream, quality=level - 1, chroma=int(chroma.replace(":", "")), enc_params=options)
    return stream.getvalue()


def _load_heif(data: bytes) -> Pixels:
    import pillow_heif

    image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True).to_pillow()
    return np.array(image.convert("RGB"))


def _find_obstacle_to_heif() -> str:
    if importlib.util.find_spec("pillow_heif") is None:
        return "heif needs pillow-heif; leave heif out, or: pip install 'fastgs[anchors]'"
    import pillow_heif

    if pillow_heif.libheif_info()["HEIF"]:
        return ""
    return "this pillow-heif has no encoder; leave heif out, or install its own wheel"


def _describe_heif() -> str:
    import pillow_heif

    info = pillow_heif.libheif_info()
    found = re.search(r"x265.*\(([^)]+)\)", info["HEIF"])
    x265 = f"x265 {found[1]}" if found else str(info["HEIF"])
    return f"libheif {info['libheif']}, {x265}, preset placebo, tune psnr"


FORMATS = {
    "jpeg": Format(
        *("JPEG", 100, _save_jpeg, load_by_pillow, _of_pillow("jpeg", "jpg"), _describe_jpeg),
        chromas=("4:2:0", "4:4:4"),
    ),
    "jpeg2000": Format(
        *("JPEG2000", _JPEG2000_LEVELS * 5 // 4, _save_jpeg2000, load_by_pillow, _of_pillow("jpeg2000", "jpg_2000")),
        lambda: f"OpenJPEG {features.version('jpg_2000')}, irreversible, bare codestream",
    ),
    "webp": Format(
        *("WEBP", 201, _save_webp, load_by_pillow, _of_pillow("webp", "webp")),
        lambda: f"libwebp {features.version('webp')}, method 6, 4:2:0",
    ),
    "avif": Format(
        *("AVIF", _AVIF_STEPS + 1, _save_avif, load_by_pillow, _find_obstacle_to_avif, _describe_avif),
        chromas=("4:4:4",),
        has_draft=True,
    ),
    "jpegxl": Format(
        *("JPEG XL", _JPEGXL_LEVELS, _save_jpegxl, _load_jpegxl, _find_obstacle_to_jpegxl, _describe_jpegxl)
    ),
    "heif": Format(
        *("HEIF", 101, _save_heif, _load_heif, _find_obstacle_to_heif, _describe_heif),
        chromas=("4:2:0", "4:4:4"),
    ),
}
