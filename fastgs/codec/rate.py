"""How many Gaussians for a file of a given size, or for an image of a given quality."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor

from fastgs.codec.scheme import Encoded, Scheme
from fastgs.fitting.fit import HistoryEntry
from fastgs.metrics.quality import psnr
from fastgs.render import render

# A file may be this much smaller than asked for, never larger.
TOLERANCE = 0.03
# PSNR may be this much better than asked for, in dB, never worse.
PSNR_TOLERANCE = 0.25
TRIALS = 8

# Where the search for a quality begins, in Gaussians per pixel, and what it expects of twice as many.
DENSITY = 0.004
DB_OF_DOUBLING = 3.0


class RateError(ValueError):
    """The image has no file of the size or quality that was asked for."""


def encode_to_size(
    scheme: Scheme,
    image: Tensor,
    size: int,
    *,
    iterations: int | None = None,
    seed: int = 0,
    callback: Callable[[HistoryEntry], None] | None = None,
) -> Encoded:
    """The largest file of at most so many bytes, and at least of 97 % of them.

    Args:
        scheme: what encodes.
        image: (3, H, W) in [0, 1].
        size: of the file in bytes.
        iterations, seed, callback: see `Scheme.encode`; a file may take several of its runs.

    Raises:
        RateError: so few bytes hold no Gaussian.
    """
    encode = partial(scheme.encode, image, iterations=iterations, seed=seed, target_bytes=size, callback=callback)
    count = min(max(1, round(8 * size / scheme.bits)), image[0].numel())
    tried: dict[int, Encoded] = {}
    for _ in range(TRIALS):
        tried[count] = encoded = encode(count)
        if (1 - TOLERANCE) * size <= len(encoded.data) <= size:
            return encoded
        count = _next_count(count, {each: len(one.data) for each, one in tried.items()}, size)
        if count in tried:
            break
    fitting = [encoded for encoded in tried.values() if len(encoded.data) <= size]
    if not fitting:
        least = min(len(encoded.data) for encoded in tried.values())
        raise RateError(f"{size} bytes are too few for this image: the smallest file that was found has {least}")
    return max(fitting, key=lambda encoded: len(encoded.data))


def _next_count(count: int, sizes: dict[int, int], size: int) -> int:
    """A number of Gaussians whose file should be a little smaller than `size`, between those that are known."""
    goal = (1 - TOLERANCE / 2) * size
    guess = max(1, round(count * goal / sizes[count]))
    below = max((each for each, bytes_ in sizes.items() if bytes_ <= size), default=0)
    above = min((each for each, bytes_ in sizes.items() if bytes_ > size), default=None)
    if above is None:
        return max(guess, below + 1)
    return max(1, min(max(guess, below + 1), above - 1))


def encode_to_psnr(
    scheme: Scheme,
    image: Tensor,
    target: float,
    *,
    iterations: int | None = None,
    seed: int = 0,
    callback: Callable[[HistoryEntry], None] | None = None,
) -> Encoded:
    """A small file with at least this PSNR in dB.

    Args:
        scheme, image, iterations, seed, callback: see `encode_to_size`.
        target: in dB, of the image that the file gives.

    Raises:
        RateError: no file reached it, with as many Gaussians as pixels.
    """
    pixels = image[0].numel()
    points: list[tuple[float, float, Encoded]] = []  # log2 of the count, PSNR
    count = max(1, round(DENSITY * pixels))
    for _ in range(TRIALS):
        encoded = scheme.encode(image, count, iterations=iterations, seed=seed, callback=callback)
        quality = psnr(render(encoded.gaussians), image)
        points.append((math.log2(count), quality, encoded))
        if target <= quality <= target + PSNR_TOLERANCE:
            break
        guess = round(2 ** _guess_log_count(points, target + PSNR_TOLERANCE / 2))
        guess = max(guess, count + 1) if quality < target else min(guess, count - 1)
        count = min(max(1, guess), pixels)
        if math.log2(count) in (where for where, *_ in points):
            break
    good = [encoded for _, quality, encoded in points if quality >= target]
    if not good:
        best = max(quality for _, quality, _ in points)
        raise RateError(f"{target:g} dB were not reached; the best file that was found has {best:.2f} dB")
    return min(good, key=lambda encoded: len(encoded.data))


def _guess_log_count(points: list[tuple[float, float, Encoded]], target: float) -> float:
    """By a line through the last two points, or the usual slope."""
    where, quality, _ = points[-1]
    slope = DB_OF_DOUBLING
    if len(points) > 1 and points[-2][0] != where:
        slope = (quality - points[-2][1]) / (where - points[-2][0])
    step = (target - quality) / min(max(slope, 0.5), 8.0)
    return where + min(max(step, -3.0), 3.0)
