"""Gaussians as files: `encode` an image, `decode` a file. FORMAT.md describes the bytes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from fastgs.codec import fastgs as ours
from fastgs.codec import gaussianimage, gaussianimage_plus
from fastgs.codec.frame import MAX_SIDE, FormatError, Frame, read_frame
from fastgs.codec.rate import RateError, encode_to_psnr, encode_to_size
from fastgs.codec.scheme import Encoded, Scheme
from fastgs.fitting.fit import HistoryEntry
from fastgs.gaussians import Gaussians

__all__ = [
    "MAX_BPP",
    "SCHEMES",
    "Encoded",
    "FormatError",
    "Frame",
    "RateError",
    "Scheme",
    "decode",
    "encode",
    "read_frame",
]

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme for scheme in (ours.SCHEME, gaussianimage.SCHEME, gaussianimage_plus.SCHEME)
}


# Of an image of bytes; no file of Gaussians is worth more.
MAX_BPP = 24.0


def encode(
    image: Tensor,
    *,
    scheme: str = "fastgs",
    bpp: float | None = None,
    target_psnr: float | None = None,
    num_gaussians: int | None = None,
    iterations: int | None = None,
    seed: int = 0,
    callback: Callable[[HistoryEntry], None] | None = None,
) -> Encoded:
    """Fit an image and write it as a .fgs file; exactly one of bpp, target_psnr and num_gaussians says how large.

    Args:
        image: (3, H, W) in [0, 1].
        scheme: a name in `SCHEMES`.
        bpp: bits per pixel of the whole file: at most as many, and at least 97 % of them.
        target_psnr: in dB, of the image that the file gives.
        num_gaussians: K, at most so many.
        iterations: number of steps of each fit, by default that of the scheme; more than one may be needed.
        seed: of everything random.
        callback: called with every new entry of the history of a fit.

    Raises:
        RateError: the image has no such file.
        ValueError: the scheme is unknown, not exactly one size is given, or it is not positive.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: expected one of {', '.join(SCHEMES)}, got {scheme!r}")
    sizes = {"bpp": bpp, "target_psnr": target_psnr, "num_gaussians": num_gaussians}
    given = {name: value for name, value in sizes.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"give one of {', '.join(sizes)}, got {' and '.join(given) or 'none'}")
    (name, value), coder = *given.items(), SCHEMES[scheme]
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: must be positive and finite, got {value}")
    if max(image.shape[1:]) > MAX_SIDE:
        raise ValueError(f"image: a side of a file's canvas is at most {MAX_SIDE} pixels, got {tuple(image.shape[1:])}")
    if bpp is not None:
        size = int(min(bpp, MAX_BPP) * image[0].numel() / 8)
        return encode_to_size(coder, image, size, iterations=iterations, seed=seed, callback=callback)
    if target_psnr is not None:
        return encode_to_psnr(coder, image, target_psnr, iterations=iterations, seed=seed, callback=callback)
    assert num_gaussians is not None
    return coder.encode(image, num_gaussians, iterations=iterations, seed=seed, callback=callback)


def decode(data: bytes, partial: bool = False) -> Gaussians:
    """The Gaussians of a .fgs file, on the CPU; `fastgs.render` draws them, at any size.

    Args:
        data: the file.
        partial: take a file that is cut, too: the layers that are whole give a coarse image.

    Raises:
        FormatError: the bytes are no .fgs file, or a damaged one, or of a version that is not known; one line.
    """
    frame = read_frame(data, partial)
    return SCHEMES[frame.scheme].decode(frame)
