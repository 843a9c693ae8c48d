"""Rate control: the number of Gaussians for a file of a given size, or for an image of a given quality."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor
from typing_extensions import Unpack

from fastgs.codec.channels import Channels
from fastgs.codec.scheme import Encoded, EncodeOptions, GradedScheme, Scheme
from fastgs.methods.wish import Wish
from fastgs.metrics.quality import psnr

# Share by which a file may be smaller than asked for; it is never larger.
TOLERANCE = 0.03
# PSNR in dB by which an image may be better than asked for; it is never worse.
PSNR_TOLERANCE = 0.25
TRIALS = 8
# Half of the distance of two numbers of 8 bits: a smaller error is none.
HALF_STEP = 0.5 / 255

# Gaussians per pixel where the search for a quality begins with published schemes, and the gain in dB that it expects
# of twice as many. The scheme of this project begins with an estimate, for the PSNR that is asked for and what rounding
# costs.
DENSITY = 0.004
DB_OF_DOUBLING = 3.0
ROUNDING = 1.3  # dB, the mean of a few photos; it varies from 0.7 to 2.2


class RateError(ValueError):
    """Error for an image that has no file of the size or quality that was asked for."""


def encode_to_size(
    scheme: Scheme,
    image: Tensor,
    size: int,
    **options: Unpack[EncodeOptions],
) -> Encoded:
    """Encode an image into the largest file of at most so many bytes, and at least of 97 % of them.

    The file of an image of one colour is as small as it takes: more Gaussians would have nothing to draw.

    Args:
        scheme: Scheme that encodes; several runs may be needed.
        image: (C, H, W) in [0, 1].
        size: Size of the file in bytes.
        options: Further arguments of `Scheme.encode` of every run.

    Raises:
        RateError: So few bytes hold no Gaussian.
    """
    if bool((image.flatten(1) == image[:, :1, 0]).all()):
        alone = scheme.encode(image, 1, **options)
        if len(alone.data) <= size and (alone.draw() - image).abs().max() < HALF_STEP:
            return alone
    encode = partial(scheme.encode, image, target_bytes=size, **options)
    bits = scheme.bits * Channels(len(image)).relative_bits
    count = min(max(1, round(8 * size / bits)), image[0].numel())
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
    """Return a number of Gaussians whose file should be a little smaller than `size`, between those that are known."""
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
    **options: Unpack[EncodeOptions],
) -> Encoded:
    """Encode an image into a small file with at least this PSNR.

    Args:
        scheme: Scheme that encodes; several runs may be needed.
        image: (C, H, W) in [0, 1].
        target: PSNR in dB of the decoded image.
        options: Further arguments of `Scheme.encode` of every run.

    Raises:
        RateError: No file reached it, with as many Gaussians as pixels.
    """
    pixels = image[0].numel()
    points: list[tuple[float, float, Encoded]] = []  # log2 of the count, PSNR
    count, slope = _begin(scheme, image, target, options)
    for _ in range(TRIALS):
        encoded = scheme.encode(image, count, **options)
        quality = psnr(encoded.draw(), image)
        points.append((math.log2(count), quality, encoded))
        if target <= quality <= target + PSNR_TOLERANCE:
            break
        guess = round(2 ** _guess_log_count(points, target + PSNR_TOLERANCE / 2, slope))
        guess = max(guess, count + 1) if quality < target else min(guess, count - 1)
        count = min(max(1, guess), pixels)
        if math.log2(count) in (where for where, *_ in points):
            break
    good = [encoded for _, quality, encoded in points if quality >= target]
    if not good:
        best = max(quality for _, quality, _ in points)
        raise RateError(f"{target:g} dB were not reached; the best file that was found has {best:.2f} dB")
    return min(good, key=lambda encoded: len(encoded.data))


def _begin(scheme: Scheme, image: Tensor, target: float, options: EncodeOptions) -> tuple[int, float]:
    """Return the number of Gaussians that the search for a quality begins with, and the gain in dB of twice as many."""
    pixels = image[0].numel()
    if not isinstance(scheme, GradedScheme):
        return max(1, round(DENSITY * pixels)), DB_OF_DOUBLING
    given = options.get("iterations")
    iterations = scheme.iterations if given is None else given
    wish = Wish.of(image, target + PSNR_TOLERANCE / 2 + ROUNDING, iterations)
    count = wish.estimate(image, seed=options.get("seed", 0), alpha=options.get("alpha", False))
    return count, wish.slope(count)


def _guess_log_count(points: list[tuple[float, float, Encoded]], target: float, slope: float) -> float:
    """Return log2 of the next number, by a line through the last two points or a usual slope."""
    where, quality, _ = points[-1]
    if len(points) > 1 and points[-2][0] != where:
        slope = (quality - points[-2][1]) / (where - points[-2][0])
    step = (target - quality) / min(max(slope, 0.5), 8.0)
    return where + min(max(step, -3.0), 3.0)
