"""Decoded pixels of an image file, before conversion to sRGB and compositing of transparency."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Background = tuple[float, float, float]  # R, G, B in [0, 255]
Chromaticities = tuple[float, ...]  # x, y of white, red, green and blue

# Largest number of channels of a picture and of Gaussians; numbers that may end in alpha: gray or RGB before it.
MAX_CHANNELS, ALPHA_CHANNELS = 32, (2, 4)

# Directions in which the rows and columns of an image go, by its EXIF orientation; from 5 on, both are swapped before.
FLIPS = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}

D65 = (0.3127, 0.3290)
SRGB = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


class ImageError(ValueError):
    """Image that cannot be used. The message is one line: the file or argument, the fault, and what to do."""


class ImageWarning(UserWarning):
    """Fault of an image that is used all the same. The message is one line: the file, the fault, what was done."""


class UnsupportedError(ValueError):
    """File whose pixels would be decoded wrongly. The message is the fault and what to do, without the file's name."""


@dataclass(frozen=True)
class Encoding:
    """Colour encoding of a file without an ICC profile.

    Attributes:
        exponent: Exponent that turns values in [0, 1] into linear light; None for the curve of sRGB.
        chromaticities: x, y of white, red, green and blue.
        curve: Curve of high dynamic range, "pq" or "hlg" (ITU-R BT.2100), instead of an exponent; else empty.
    """

    exponent: float | None = None
    chromaticities: Chromaticities = SRGB
    curve: str = ""


@dataclass(frozen=True)
class Pixels:
    """Colours and transparency of an image.

    Attributes:
        colors: (H, W, C) colours in [0, 1], with C = 1 (gray, white is 1), 3 (RGB) or 4 (CMYK, full ink is 1).
        alpha: (H, W) opacity in [0, 1], where 1 is opaque; None without transparency.
        associated: True if the colours are already multiplied by alpha.
        profile: ICC profile or `Encoding` of the colours; None for sRGB.
        depth: Bits per sample in the file.
        linear: True for high dynamic range: colours are linear light from 0 up, where 1 is diffuse white.
    """

    colors: Floats
    alpha: Floats | None = None
    associated: bool = False
    profile: bytes | Encoding | None = None
    depth: int = 8
    linear: bool = False

    @property
    def is_hdr(self) -> bool:
        """Return whether the image has high dynamic range: linear light, or an encoding of it."""
        return self.linear or (isinstance(self.profile, Encoding) and bool(self.profile.curve))

    def oriented(self, orientation: int) -> Pixels:
        """Return the image turned and mirrored by an EXIF orientation of 1 to 8; any other number changes nothing."""
        if orientation not in range(2, 9):
            return self
        alpha = None if self.alpha is None else _turn(self.alpha, orientation)
        return replace(self, colors=_turn(self.colors, orientation), alpha=alpha)


def scale_to_unit(values: NDArray[Any], depth: int) -> Floats:
    """Scale unsigned integers of `depth` bits to [0, 1] in float32, and check that floats lie there already.

    Raises:
        UnsupportedError: Floats are not in [0, 1], or integers are signed.
    """
    if values.dtype.kind in "bu":
        # float32 holds up to 24 bits; the quotient of two exact numbers is rounded once.
        exact = values.astype(np.float32 if depth <= 16 else np.float64)
        scaled: Floats = (exact / exact.dtype.type(2**depth - 1)).astype(np.float32, copy=False)
        return scaled
    if values.dtype.kind != "f":
        raise UnsupportedError(f"holds {values.dtype} values, which do not say what is white; save it as 16-bit PNG")
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise UnsupportedError(f"its values must lie in [0, 1] but span [{low:g}, {high:g}]; rescale them")
    return values.astype(np.float32, copy=False)


def scale_light(values: NDArray[Any], depth: int) -> tuple[Floats, bool]:
    """Scale integers to [0, 1] as `scale_to_unit`; take floats beyond 1 as linear light, if the others are no light.

    Returns:
        The numbers in float32; and True if they are linear light, the largest of which is above 1.

    Raises:
        UnsupportedError: A float is NaN or negative infinity, or there are negative ones and none above 1.
    """
    if values.dtype.kind != "f":
        return scale_to_unit(values, depth), False
    check_light(values)
    if values.max() <= 1:
        return scale_to_unit(values, depth), False
    return values.astype(np.float32, copy=False), True


def check_light(values: NDArray[Any]) -> None:
    """Refuse floats that are no light.

    Raises:
        UnsupportedError: One is NaN or negative infinity.
    """
    low = values.min()
    if np.isnan(low) or low == -np.inf:
        kind = "NaN" if np.isnan(low) else "negative infinity"
        raise UnsupportedError(f"its values must lie in [0, 1], or be light above that, but hold {kind}; replace it")


def check_size(size: int | None) -> None:
    """Check the side of a crop.

    Raises:
        ImageError: It is below 1.
    """
    if size is not None and size < 1:
        raise ImageError(f"size: must be at least 1 pixel, got {size}")


def check_background(background: Background) -> None:
    """Check a colour.

    Raises:
        ImageError: It is not three numbers in [0, 255].
    """
    if len(background) != 3 or not all(0 <= channel <= 255 for channel in background):
        raise ImageError(f"background: expected three numbers in [0, 255], got {background}")


def check_pixels(width: int, height: int) -> None:
    """Refuse images with more pixels than Pillow allows, or without pixels.

    Raises:
        UnsupportedError: The image has no pixels.
        Image.DecompressionBombError: It has too many.
    """
    if width < 1 or height < 1:
        raise UnsupportedError(f"has no pixels ({width} x {height}); give a larger image")
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError


def warn(name: str, message: str) -> None:
    """Warn of a fault of an image that is used all the same."""
    warnings.warn(f"{name}: {message}", ImageWarning, stacklevel=2)


def _turn(plane: Floats, orientation: int) -> Floats:
    """Turn and mirror an array (H, W, ...) by an orientation of 2 to 8 (Exif 2.32, tag 0x0112)."""
    if orientation >= 5:
        plane = plane.swapaxes(0, 1)
    down, right = FLIPS[orientation]
    return plane[::down, ::right]
