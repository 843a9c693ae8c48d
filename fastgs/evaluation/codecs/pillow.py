"""JPEG, JPEG 2000, WebP and AVIF at a given size, by Pillow: what a codec is measured against.

Each is set for the most PSNR at a size, as far as its encoder has a setting for that: see `_SAVE`. JPEG 2000 is a bare
codestream, without the boxes of a .jp2 file; with its transform of colours, without which it loses 3 dB. AVIF is tuned
for PSNR, as libavif would else tune for a quality of its own. Chroma is subsampled as by default.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor

# Name of the format in Pillow, number of levels, and the options of level 1, 2, ... for a file of so many bytes of an
# image of so many raw bytes. Files grow with the level, if not always.
_Options = Callable[[int, int, int], dict[str, Any]]
_RATES = 1000  # levels of JPEG 2000 for the bytes that were asked for; some more, as its files are smaller than told
_SAVE: dict[str, tuple[str, int, _Options]] = {
    "jpeg": ("JPEG", 100, lambda level, size, raw: {"quality": level, "optimize": True, "progressive": True}),
    "jpeg2000": (
        "JPEG2000",
        _RATES * 5 // 4,
        lambda level, size, raw: {
            "quality_mode": "rates",
            "quality_layers": [raw * _RATES / (size * level)],
            "irreversible": True,
            "mct": 1,
            "no_jp2": True,
        },
    ),
    # Halves, as libwebp's quality is a real number.
    "webp": ("WEBP", 201, lambda level, size, raw: {"quality": (level - 1) / 2, "method": 6}),
    "avif": ("AVIF", 101, lambda level, size, raw: {"quality": level - 1, "speed": 6, "advanced": {"tune": "psnr"}}),
}
_FEATURES = {"jpeg": "jpg", "jpeg2000": "jpg_2000", "webp": "webp", "avif": "avif"}

ANCHORS = tuple(_SAVE)


def check_anchor(name: str) -> None:
    """Make sure that an image can be written.

    Raises:
        ValueError: this Pillow was built without the format; one line that begins with "codec: ".
    """
    if not features.check(_FEATURES[name]):
        raise ValueError(f"codec: this Pillow cannot write {name}; leave {name} out, or install Pillow's own wheel")


def encode(name: str, image: Tensor, size: int) -> bytes | None:
    """The file of the best quality that has at most so many bytes, by bisection over its levels of quality.

    Args:
        name: one of `ANCHORS`.
        image: (3, H, W) in [0, 1]; rounded to 8 bits.
        size: in bytes, at least 1.

    Returns:
        The file; None if the smallest is larger.

    Raises:
        ValueError: this Pillow cannot write the format, or an image of this shape in it.
    """
    check_anchor(name)
    format_name, levels, options = _SAVE[name]
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()

    def save(level: int) -> bytes:
        return _save(pixels, format_name, options(level, size, pixels.size))

    best = save(1)
    if len(best) > size:
        return None
    low, high = 1, levels + 1
    while high - low > 1:
        middle = (low + high) // 2
        data = save(middle)
        if len(data) > size:
            high = middle
        else:
            low, best = middle, data
    return best


def decode(data: bytes) -> Tensor:
    """A file as a (3, H, W) image in [0, 1], of 8 bits.

    Raises:
        ValueError: it is no image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.array(image.convert("RGB"))
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        raise ValueError(f"data: no image that Pillow can read ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _save(pixels: NDArray[np.uint8], format_name: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    try:
        Image.fromarray(pixels).save(stream, format_name, **options)
    except OSError as error:  # no file is involved: the encoder does not take this image
        height, width, _ = pixels.shape
        raise ValueError(f"{format_name} cannot hold an image of {width} x {height} pixels ({error})") from error
    return stream.getvalue()
