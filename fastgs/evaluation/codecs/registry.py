"""All codecs that can be measured, ours and its rivals', behind one pair of functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fastgs.evaluation.codecs import pillow as anchors
from fastgs.evaluation.codecs.pillow import ANCHORS
from fastgs.evaluation.codecs.records import CodecTask
from fastgs.fitting.fit import HistoryEntry
from fastgs.render import render

SCHEMES = ("fastgs", "gaussianimage", "gaussianimage-plus")
CODECS = (*SCHEMES, *ANCHORS)


@dataclass(frozen=True)
class File:
    """What a codec wrote.

    Attributes:
        data: all of it.
        decode: gives the (3, H, W) image that a data of this codec holds.
        num_gaussians, bits_analytic: see `CodecRecord`.
    """

    data: bytes
    decode: Callable[[bytes], Tensor]
    num_gaussians: int | None = None
    bits_analytic: int | None = None


def check_codec(name: str) -> None:
    """Make sure that a codec can be measured.

    Raises:
        ValueError: there is no such codec, or this Pillow lacks it; one line that begins with "codec: ".
    """
    if name not in CODECS:
        raise ValueError(f"codec: expected some of {', '.join(CODECS)}, got {name!r}")
    if name in ANCHORS:
        anchors.check_anchor(name)


def encode(
    task: CodecTask, image: Tensor, size: int, callback: Callable[[HistoryEntry], None] | None = None
) -> File | None:
    """Write an image into a file of at most `size` bytes.

    Args:
        task: tells codec, rate, iterations and seed.
        image: (3, H, W) in [0, 1].
        size: what the rate comes to, in bytes.
        callback: called with every new entry of the histories of fits, if there are any.

    Returns:
        The file; None if the codec has none that is small enough.

    Raises:
        ValueError: the codec cannot encode the image.
    """
    if task.codec in ANCHORS:
        data = anchors.encode(task.codec, image, size) if size else None
        return None if data is None else File(data, anchors.decode)
    # Deferred: the anchors do without.
    from fastgs.codec import RateError
    from fastgs.codec import encode as encode_gaussians

    seed = task.seed or 0
    try:
        encoded = encode_gaussians(
            image, scheme=task.codec, bpp=task.bpp_target, iterations=task.iterations, seed=seed, callback=callback
        )
    except RateError:
        return None
    return File(encoded.data, _decode_gaussians, len(encoded.gaussians), encoded.bits_analytic)


def _decode_gaussians(data: bytes) -> Tensor:
    from fastgs.codec import decode

    return render(decode(data))
