"""All codecs that can be measured, the schemes of `fastgs.codec` and image formats, behind one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fastgs.codec import SCHEMES, choose_scheme, decode_image
from fastgs.codec import encode as encode_gaussians
from fastgs.codec.scheme import GradedScheme
from fastgs.evaluation.codecs import formats
from fastgs.evaluation.codecs.records import CodecTask
from fastgs.evaluation.codecs.writers import FORMATS
from fastgs.io.version import installed_version

if TYPE_CHECKING:
    from torch import Tensor

    from fastgs.fitting.fit import HistoryEntry


@dataclass(frozen=True)
class EncodedFile:
    """File that a codec wrote.

    Attributes:
        data: Bytes of the file.
        decode: Function that returns the (3, H, W) image in the data of a file of this codec.
        encoder: Library, its version, and the settings with which it wrote the file.
        num_gaussians: Number of Gaussians in the file; None of a codec without Gaussians.
        bits_analytic: Size in bits by the codec's own count; None if it has none.
    """

    data: bytes
    decode: Callable[[bytes], Tensor]
    encoder: str
    num_gaussians: int | None = None
    bits_analytic: int | None = None


def codec_names() -> list[str]:
    """Return the names of all codecs: registered schemes first, then formats."""
    return [*SCHEMES, *FORMATS]


def fits_gaussians(name: str) -> bool:
    """Return True if a codec fits Gaussians, so that a seed and a number of iterations matter to it."""
    return name in SCHEMES


def has_efforts(name: str) -> bool:
    """Return True if the encoder of a codec takes more time for a better image if asked to."""
    return fits_gaussians(name) and isinstance(SCHEMES[name], GradedScheme)


def check_codec(name: str, effort: int | None = None) -> None:
    """Check that a codec can be measured.

    Raises:
        ValueError: There is no such codec, or its encoder is missing, or it has efforts, but no such one; one line that
            begins with "codec: " or "effort: ".
    """
    if name not in codec_names():
        raise ValueError(f"codec: expected some of {', '.join(codec_names())}, got {name!r}")
    if not fits_gaussians(name):
        formats.check_format(name)
    elif effort is not None and has_efforts(name):
        choose_scheme(name, effort)


def describe_encoder(name: str, effort: int | None = None) -> str:
    """Return what writes the files of a codec: the library, its version, and the settings that all files have.

    Args:
        name: Name of the codec.
        effort: Effort of its encoder; None for its own choice.
    """
    if not fits_gaussians(name):
        return formats.describe(name)
    effort = getattr(choose_scheme(name), "effort", None) if effort is None else effort
    return f"fastgs {installed_version()}" + ("" if effort is None else f", effort {effort}")


def encode(
    task: CodecTask, image: Tensor, size: int, callback: Callable[[HistoryEntry], None] | None = None
) -> EncodedFile | None:
    """Write an image into a file of at most `size` bytes.

    Args:
        task: Task with codec, rate, effort, iterations and seed.
        image: (3, H, W) image in [0, 1].
        size: Number of bytes that the rate amounts to.
        callback: Function that is called with every new entry of the histories of fits, if there are any.

    Returns:
        The file; None if the codec has none that is small enough.

    Raises:
        ValueError: The codec cannot encode the image.
    """
    from fastgs.codec import RateError  # deferred: names of codecs are known without torch

    if not fits_gaussians(task.codec):
        written = formats.encode(task.codec, image, size) if size else None
        if written is None:
            return None
        return EncodedFile(written.data, partial(formats.decode, task.codec), written.encoder)
    try:
        encoded = encode_gaussians(
            image,
            scheme=task.codec,
            bpp=task.bpp_target,
            effort=task.effort,
            iterations=task.iterations,
            seed=task.seed or 0,
            callback=callback,
        )
    except RateError:
        return None
    encoder = describe_encoder(task.codec, task.effort)
    return EncodedFile(encoded.data, decode_image, encoder, len(encoded.gaussians), encoded.bits_analytic)
