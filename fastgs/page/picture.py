"""A picture of a page: Gaussians, what is known about their file, and the original."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastgs.definition import GaussianArrays
from fastgs.io.samples import Samples
from fastgs.runtime.lazy import importing

# Longer side in pixels of the pictures that are there before Gaussians are drawn, and where scripts are off.
PREVIEW_SIDE = 512
PREVIEW_QUALITY = 80
# Largest canvas whose Gaussians are drawn with antialiasing for a preview; it takes as many samples as pixels.
MAX_SAMPLES = 20_000_000


@dataclass(frozen=True, eq=False)
class PagePicture:
    """One picture of a page.

    Attributes:
        name: Name that is shown, such as that of the file.
        gaussians: K Gaussians in the order of the file.
        file: Bytes of the .fgs file that the page decodes itself; None to carry the Gaussians as arrays.
        size: Bytes of the file on disk; 0 if there is none.
        original: Photo in [0, 1] with C = 1 or 3, or 2 or 4 with alpha, to compare with; None without one.
        layer_counts: Number of Gaussians up to the end of each layer of the file; empty without layers.
        layer_bytes: Number of bytes of the file up to the end of each layer.
        bits: Bits of the file by attribute; empty if not known.
        facts: Further statistics by name.
    """

    name: str
    gaussians: GaussianArrays
    file: bytes | None = None
    size: int = 0
    original: Samples | None = None
    layer_counts: tuple[int, ...] = ()
    layer_bytes: tuple[int, ...] = ()
    bits: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def encode_preview(gaussians: GaussianArrays, side: int = PREVIEW_SIDE) -> tuple[bytes, str]:
    """Return a small picture of Gaussians, and its MIME type."""
    with importing():
        from fastgs.render.cpu_arrays import render  # deferred: brings in numba

    factor = min(1.0, side / max(gaussians.height, gaussians.width))
    height, width = (max(1, round(factor * length)) for length in (gaussians.height, gaussians.width))
    values = render(gaussians, height, width, antialias=gaussians.height * gaussians.width <= MAX_SAMPLES)
    file = io.BytesIO()
    to_image(Samples(values, gaussians.alpha)).save(file, "WEBP", quality=PREVIEW_QUALITY)
    return file.getvalue(), "image/webp"


def encode_original(original: Samples) -> bytes:
    """Return a photo as a PNG file of 8 bits."""
    file = io.BytesIO()
    to_image(original).save(file, "PNG")
    return file.getvalue()


def to_image(samples: Samples) -> Image.Image:
    """Return samples as an image of 8 bits; of other numbers of channels than 1 to 4, what `visualize.show` shows."""
    values = np.nan_to_num(samples.straight())  # a page says itself that values cannot be drawn
    if not samples.alpha and len(values) not in (1, 3):
        values = values[: 3 if len(values) > 3 else 1]
    pixels: NDArray[np.uint8] = np.rint(255 * values).astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
