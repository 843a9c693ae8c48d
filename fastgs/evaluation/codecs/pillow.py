"""JPEG, JPEG 2000, WebP and AVIF at a given size, by Pillow: the formats that a codec is measured against.

Each is set for the most PSNR at a size, as far as its encoder has a setting for that; see `FORMATS`. JPEG 2000 is a
bare codestream, without the boxes of a .jp2 file, and with its colour transform, without which it loses 3 dB. AVIF is
tuned for PSNR, as libavif would otherwise tune for a quality of its own. Chroma is subsampled as by default.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Format:
    """Image format with a scale of quality.

    Attributes:
        name: Name of the format in Pillow.
        feature: Name of the feature that Pillow must have been built with.
        levels: Number of levels of quality; files grow with the level, if not always.
        options: Function that returns the options of a level (1, 2, ...) for a file of some bytes, given as (level,
            bytes of the file, bytes of the raw image).
    """

    name: str
    feature: str
    levels: int
    options: Callable[[int, int, int], dict[str, Any]]


# Levels of JPEG 2000 up to the bytes that were asked for. Its files are smaller than requested, so a quarter more
# levels follow.
_JPEG2000_LEVELS = 1000


def _jpeg2000_options(level: int, size: int, raw: int) -> dict[str, Any]:
    return {
        "quality_mode": "rates",
        "quality_layers": [raw * _JPEG2000_LEVELS / (size * level)],
        "irreversible": True,
        "mct": 1,
        "no_jp2": True,
    }


FORMATS = {
    "jpeg": Format(
        "JPEG", "jpg", 100, lambda level, size, raw: {"quality": level, "optimize": True, "progressive": True}
    ),
    "jpeg2000": Format("JPEG2000", "jpg_2000", _JPEG2000_LEVELS * 5 // 4, _jpeg2000_options),
    # Halves, as libwebp's quality is a real number.
    "webp": Format("WEBP", "webp", 201, lambda level, size, raw: {"quality": (level - 1) / 2, "method": 6}),
    "avif": Format(
        "AVIF",
        "avif",
        101,
        lambda level, size, raw: {"quality": level - 1, "speed": 6, "advanced": {"tune": "psnr"}},
    ),
}


def check_format(name: str) -> None:
    """Check that images can be written in a format.

    Raises:
        ValueError: This Pillow was built without the format; one line that begins with "codec: ".
    """
    if not features.check(FORMATS[name].feature):
        raise ValueError(f"codec: this Pillow cannot write {name}; leave {name} out, or install Pillow's own wheel")


def encode(name: str, image: Tensor, size: int) -> bytes | None:
    """Return the file of the best quality that has at most `size` bytes, by bisection over the levels of quality.

    Args:
        name: Name in `FORMATS`.
        image: (3, H, W) image in [0, 1]; rounded to 8 bits.
        size: Most bytes that the file may have, at least 1.

    Returns:
        The file; None if the smallest is larger.

    Raises:
        ValueError: This Pillow cannot write the format, or an image of this shape in it.
    """
    check_format(name)
    chosen = FORMATS[name]
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()

    def save(level: int) -> bytes:
        return _save(pixels, chosen.name, chosen.options(level, size, pixels.size))

    best = save(1)
    if len(best) > size:
        return None
    low, high = 1, chosen.levels + 1
    while high - low > 1:
        middle = (low + high) // 2
        data = save(middle)
        if len(data) > size:
            high = middle
        else:
            low, best = middle, data
    return best


def decode(data: bytes) -> Tensor:
    """Return the (3, H, W) image of a file, in [0, 1] with 8 bits.

    Raises:
        ValueError: The data is no image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.array(image.convert("RGB"))
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        raise ValueError(f"data: no image that Pillow can read ({error})") from error
    import torch  # deferred: formats are known and checked without it

    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _save(pixels: NDArray[np.uint8], format_name: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    try:
        Image.fromarray(pixels).save(stream, format_name, **options)
    except OSError as error:  # no file is involved: the encoder does not take this image
        height, width, _ = pixels.shape
        raise ValueError(f"{format_name} cannot hold an image of {width} x {height} pixels ({error})") from error
    return stream.getvalue()
