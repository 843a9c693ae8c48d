"""Image formats at a given size: what a codec is measured against, each by its slowest encoder, set for PSNR.

writers.py has the encoders with their settings. Of each image and size, the file is the largest that is not larger than
asked for; where an encoder may keep the chroma at full size or halve it, it is the better file of both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgs.evaluation.codecs.writers import FORMATS, Format

if TYPE_CHECKING:
    from torch import Tensor


class Written(NamedTuple):
    """File of a format.

    Attributes:
        data: Bytes of the file.
        encoder: Library, its version, and the settings with which it wrote the file.
    """

    data: bytes
    encoder: str


def check_format(name: str) -> None:
    """Check that images can be written in a format.

    Raises:
        ValueError: Its encoder is missing; one line that begins with "codec: " and says what to do.
    """
    obstacle = FORMATS[name].obstacle()
    if obstacle:
        raise ValueError(f"codec: {obstacle}")


def describe(name: str) -> str:
    """Return the library that writes a format, its version, and the settings that all its files have."""
    return FORMATS[name].encoder()


def encode(name: str, image: Tensor, size: int) -> Written | None:
    """Return the file of the best quality that has at most `size` bytes.

    Args:
        name: Name in `FORMATS`.
        image: (3, H, W) image in [0, 1]; rounded to 8 bits.
        size: Most bytes that the file may have, at least 1.

    Returns:
        The file; None if the smallest is larger.

    Raises:
        ValueError: The encoder is missing, or cannot write an image of this shape.
    """
    check_format(name)
    chosen = FORMATS[name]
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    found = [(chroma, data) for chroma in chosen.chromas if (data := encode_pixels(chosen, pixels, chroma, size))]
    if not found:
        return None
    chroma, data = found[0]
    if len(found) > 1:
        chroma, data = min(found, key=lambda each: _squared_error(chosen.load(each[1]), pixels))
    settings = f", {chroma}" if chroma else ""
    return Written(data, chosen.encoder() + settings)


def decode(name: str, data: bytes) -> Tensor:
    """Return the (3, H, W) image of a file, in [0, 1] with 8 bits.

    Raises:
        ValueError: The data is no image.
    """
    try:
        pixels = FORMATS[name].load(data)
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        raise ValueError(f"data: no image in the format {name} ({error})") from error
    import torch  # deferred: formats are known and checked without it

    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def encode_pixels(chosen: Format, pixels: NDArray[np.uint8], chroma: str, size: int) -> bytes | None:
    """Return the largest file of at most `size` bytes with one setting of chroma.

    Args:
        chosen: Format.
        pixels: (H, W, 3) pixels; (H, W, 4) with straight alpha, if the format has that.
        chroma: One of the format's settings of chroma.
        size: Most bytes that the file may have, at least 1.

    Returns:
        The file; None if the smallest is larger.

    Raises:
        ValueError: The encoder cannot write an image of this shape.
    """

    def save(level: int, draft: bool = False) -> bytes:
        try:
            return chosen.save(pixels, level, chroma, size, draft)
        except OSError as error:  # no file is involved: the encoder does not take this image
            height, width, _ = pixels.shape
            raise ValueError(f"{chosen.title} cannot hold an image of {width} x {height} pixels ({error})") from error

    guess = (chosen.levels + 1) // 2, chosen.levels
    if chosen.has_draft:
        level, _ = find_largest(lambda level: save(level, draft=True), chosen.levels, size, *guess)
        guess = max(level, 1), 1
    return find_largest(save, chosen.levels, size, *guess)[1]


def find_largest(
    save: Callable[[int], bytes], levels: int, size: int, level: int, step: int
) -> tuple[int, bytes | None]:
    """Return the level of quality with the largest file of at most `size` bytes, and the file.

    Files grow with the level. Levels are tried from one on, in steps that double, and in halves once they are smaller;
    so a good guess takes two or three files, and none takes as many as a bisection.

    Args:
        save: Function that returns the file of a level.
        levels: Number of levels, which are 1, 2, ...
        size: Most bytes that the file may have.
        level: Level to try first.
        step: First step from there.

    Returns:
        The level and the file; 0 and None if the smallest file is larger.
    """
    best, low, high = None, 0, levels + 1
    while high - low > 1:
        data = save(level)
        if len(data) > size:
            high = level
            level = max((low + high) // 2, level - step)
        else:
            low, best = level, data
            level = min((low + high) // 2, level + step)
        step *= 2
    return low, best


def _squared_error(pixels: NDArray[np.uint8], goal: NDArray[np.uint8]) -> int:
    difference = pixels.astype(np.int64) - goal
    return int((difference * difference).sum())
