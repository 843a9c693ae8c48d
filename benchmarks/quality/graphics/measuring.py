"""Sizes and quality of one picture as files of every codec at given rates, and as lossless files.

Opaque pictures are written as `fastgs evaluate --codec` does. Of those with transparency, WebP is the best of several
qualities of alpha, AVIF has one quality for colours and alpha, and JPEG XL leaves alpha lossless.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.quality import alpha
from fastgs import codec
from fastgs.evaluation.codecs import coders, formats
from fastgs.evaluation.codecs.coders import EncodedFile
from fastgs.evaluation.codecs.records import CodecTask
from fastgs.evaluation.codecs.writers import FORMATS
from fastgs.metrics.quality import psnr, ssim

CODECS = ("fastgs", "avif", "jpegxl", "webp", "jpeg")
WITHOUT_ALPHA = ("jpeg",)
LOSSLESS: dict[str, dict[str, Any]] = {
    "png": {"optimize": True},
    "webp": {"lossless": True, "quality": 100, "method": 6},
}


def measure_lossless(picture: str, image: Image.Image) -> Iterator[dict[str, Any]]:
    """Yield the record of each lossless file of a picture; fully transparent pixels are black in it."""
    for name, options in LOSSLESS.items():
        stream = io.BytesIO()
        image.save(stream, name, **options)
        size = stream.tell()
        yield {"picture": picture, "codec": name, "lossless": True, "bytes": size, "bpp": _round_bpp(size, image)}


def measure(
    picture: str, image: Image.Image, rates: Sequence[float], names: Sequence[str], iterations: int | None, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the record of each lossy file of a picture, PSNR and SSIM after 8 bits.

    Args:
        picture: Name for the records.
        image: RGB or RGBA image of 8 bits. With alpha, PSNR and SSIM are of the premultiplied colours and alpha, and
            codecs that have no alpha are left out.
        rates: Most bits per pixel of each file.
        names: Codecs, some of `CODECS`.
        iterations: Number of steps of each fit; None for that of the default effort.
        seed: Random seed of fits.
    """
    transparent = image.mode == "RGBA"
    target = alpha.to_pixels(image) if transparent else _to_tensor(image)
    for bpp, name in product(rates, names):
        if transparent and name in WITHOUT_ALPHA:
            continue
        fits = coders.fits_gaussians(name)
        task = CodecTask(
            codec=name,
            image=picture,
            sha256="",
            size=None,
            bpp_target=bpp,
            iterations=iterations if fits else None,
            seed=seed if fits else None,
        )
        size = int(bpp * image.width * image.height / 8)
        file = _encode_transparent(task, image, size) if transparent else coders.encode(task, target, size)
        record: dict[str, Any] = {
            **{"picture": picture, "codec": name, "lossless": False, "bpp_target": bpp, "transparent": transparent},
            "encoder": coders.describe_encoder(name) if file is None else file.encoder,
        }
        if file is None:
            yield record | dict.fromkeys(("bytes", "bpp", "num_gaussians", "psnr", "ssim"))
            continue
        decoded = file.decode(file.data).clamp(0, 1)
        if not transparent:
            decoded = decoded.mul(255).round() / 255
        yield record | {
            "bytes": len(file.data),
            "bpp": _round_bpp(len(file.data), image),
            "num_gaussians": file.num_gaussians,
            "psnr": round(psnr(decoded, target), 3),
            "ssim": round(ssim(decoded, target), 4),
        }


def _encode_transparent(task: CodecTask, image: Image.Image, size: int) -> EncodedFile | None:
    """Return the best file of at most `size` bytes of an RGBA image; it decodes to premultiplied colours and alpha."""
    name = task.codec
    if coders.fits_gaussians(name):
        try:
            encoded = codec.encode(
                alpha.to_pixels(image),
                alpha=True,
                scheme=name,
                bpp=task.bpp_target,
                iterations=task.iterations,
                seed=task.seed or 0,
            )
        except codec.RateError:
            return None
        return EncodedFile(encoded.data, _open_gaussians, coders.describe_encoder(name), len(encoded.gaussians))
    if name == "webp":  # has a quality of alpha of its own
        data, settings = alpha.encode_webp(image, size), ""
        load = alpha.open_pixels
    else:
        settings = FORMATS[name].chromas[0]
        data = formats.encode_pixels(FORMATS[name], np.array(image), settings, size)
        load = partial(_open_format, name)
    if data is None:
        return None
    return EncodedFile(data, load, coders.describe_encoder(name) + (f", {settings}" if settings else ""))


def _open_gaussians(data: bytes) -> Tensor:
    """Return the premultiplied pixels of a .fgs file after 8 bits of straight colours."""
    return alpha.to_pixels(alpha.to_image(codec.decode_image(data)))


def _open_format(name: str, data: bytes) -> Tensor:
    """Return the premultiplied pixels of a file in a format that keeps alpha."""
    if name == "jpegxl":  # Pillow does not read it
        return alpha.to_pixels(Image.fromarray(FORMATS[name].load(data)))
    return alpha.open_pixels(data)


def _to_tensor(image: Image.Image) -> Tensor:
    """Return the (3, H, W) colours of an RGB image."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255).contiguous()


def _round_bpp(size: int, image: Image.Image) -> float:
    return round(8 * size / (image.width * image.height), 4)
