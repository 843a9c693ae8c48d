"""Restoration of decoded images: a small network adds what Gaussians miss, in files whose encoder saw that it helps.

The network looks at the image that is drawn, and at three further planes that a decoder has at hand: the mean
logarithm of the areas of the Gaussians at a pixel, the deviation of their lumas, which is large at edges, and that of
the sum of their weights. It answers with a correction, which each file multiplies by a gain for each of R, G and B.
Pixels are folded 2 x 2 into channels, and all layers are 3 x 3 convolutions (restoration_kernels.py);
`fastgs.models.restoration` is the same network in torch.

It restores images at the size of their canvas. At another size, Gaussians are drawn as they are.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgs.codec import restoration_kernels as kernels
from fastgs.codec.restoration_entry import GAIN_UNIT, LATEST, MODELS, MOST_GAIN, Restoration
from fastgs.definition import CHANNELS, GaussianArrays
from fastgs.io.checkpoints import CHECKPOINTS, read_arrays
from fastgs.render.cpu_arrays import Region, check_region, render_inverses
from fastgs.runtime import threads

FORMAT, VERSION = "fastgs.restoration", "1"

FOLD = 2  # pixels along each axis that are one position of the network
PLANES = CHANNELS + 3
SLOPE = np.float32(0.1)  # of the leaky rectifier

# Scales and shifts that bring planes to about [-1, 1].
GRAY = 0.5
AREA_SCALE, AREA_SHIFT = np.float32(0.5), np.float32(-1)
DEVIATION_SCALE, LEAST_VARIANCE = np.float32(5), np.float32(1e-4)
WEIGHT_SCALE = np.float32(-0.4)

LEAST_GAIN = 0.01  # dB of PSNR that an encoder wants of restoration

# Pixels of the strips that large images are restored in: planes and layers take some 170 bytes for each.
STRIP_PIXELS = 1 << 21

PARTS = 4  # of the work per thread; several, since threads wake up late

Floats = NDArray[np.float32]


class Corrected(NamedTuple):
    """Image of Gaussians, and what the network would add.

    Attributes:
        drawn: (3, H, W) image as it is rendered.
        correction: (3, H, W) correction before it is multiplied by gains.
    """

    drawn: Floats
    correction: Floats


class _Layer(NamedTuple):
    """Weights of a convolution as the kernel takes them, see there."""

    weights: Floats
    biases: Floats
    channels: int
    slope: np.float32


def draw(gaussians: GaussianArrays, restoration: Restoration, region: Region | None = None) -> Floats:
    """Return the restored image of a file at the size of its canvas.

    Args:
        gaussians: Gaussians of the file, of RGB.
        restoration: Entry of the file.
        region: Part of the image; by default all of it.

    Returns:
        (3, H, W), not clamped.

    Raises:
        ValueError: The region is empty or not within the image; the message begins with "region: ".
    """
    return add(correct(gaussians, restoration.model, region), restoration)


def correct(gaussians: GaussianArrays, model: int = LATEST, region: Region | None = None) -> Corrected:
    """Draw Gaussians at the size of their canvas, and predict what their image misses.

    Args:
        gaussians: K Gaussians of RGB.
        model: Number in `MODELS`.
        region: Part of the image; its pixels are those that the whole image has there.

    Raises:
        ValueError: The region is empty or not within the image; the message begins with "region: ".
    """
    region = region or Region(0, 0, gaussians.width, gaussians.height)
    check_region(region, gaussians.height, gaussians.width)
    rows = max(1, STRIP_PIXELS // region.width)
    strips = [
        _correct_strip(gaussians, model, region._replace(y=region.y + top, height=min(rows, region.height - top)))
        for top in range(0, region.height, rows)
    ]
    if len(strips) == 1:
        return strips[0]
    return Corrected(*(np.concatenate(each, axis=1) for each in zip(*strips, strict=True)))


def _correct_strip(gaussians: GaussianArrays, model: int, region: Region) -> Corrected:
    """Do what `correct` does for a part whose planes fit in memory."""
    layers = load(model)
    seen = _grow(region, FOLD * len(layers), gaussians.height, gaussians.width)
    planes = draw_planes(gaussians, seen)
    rows, columns = (slice(start, start + size) for start, size in (
        (region.y - seen.y, region.height), (region.x - seen.x, region.width)))  # fmt: skip
    return Corrected(planes[:CHANNELS, rows, columns] + np.float32(GRAY), _apply(layers, planes)[:, rows, columns])


def choose(corrected: Corrected, image: Floats, least: float = LEAST_GAIN) -> Restoration | None:
    """Return the entry of a file that brings its image nearest to the photo; None if it is of little use.

    Args:
        corrected: Image of the file, and its correction by the latest network.
        image: (3, H, W) photo in [0, 1].
        least: Gain in dB of PSNR that is worth the entry.
    """
    drawn, correction = corrected
    error = image - drawn
    # Sums of float32 in pairs are accurate enough for a gain of 8 bits.
    size = (correction * correction).sum(axis=(1, 2))
    best = (error * correction).sum(axis=(1, 2)) / np.maximum(size, np.finfo(np.float32).tiny)
    red, green, blue = (int(gain) for gain in np.rint(best / GAIN_UNIT).clip(0, MOST_GAIN))
    chosen = Restoration(LATEST, (red, green, blue))
    before, after = (np.square(each.clip(0, 1) - image).mean() for each in (drawn, add(corrected, chosen)))
    return chosen if before > after * 10 ** (least / 10) else None


def add(corrected: Corrected, restoration: Restoration) -> Floats:
    """Return the (3, H, W) image with the correction times the gains of a file."""
    gains = np.array(restoration.gains, np.float32) * np.float32(GAIN_UNIT)
    restored: Floats = corrected.drawn + gains[:, None, None] * corrected.correction
    return restored


def draw_planes(gaussians: GaussianArrays, region: Region | None = None) -> Floats:
    """Return the (PLANES, H, W) inputs of the network: the image less 0.5, areas, deviations of luma, and weights.

    Args:
        gaussians: K Gaussians of RGB.
        region: Part of the image; by default all of it.
    """
    area = np.log(gaussians.scales).sum(axis=1, dtype=np.float32)
    luma = gaussians.colors.mean(axis=1, dtype=np.float32)
    colors = np.concatenate([gaussians.colors, area[:, None], (luma * luma)[:, None]], axis=1)
    planes = render_inverses(replace(gaussians, colors=colors), region)
    drawn, areas, squares, inverses = np.split(planes, [CHANNELS, CHANNELS + 1, CHANNELS + 2])
    variance = np.maximum(squares - drawn.mean(axis=0, keepdims=True) ** 2, 0)
    squares[:] = DEVIATION_SCALE * np.sqrt(variance + LEAST_VARIANCE)
    areas[:] = AREA_SCALE * areas + AREA_SHIFT
    inverses[:] = WEIGHT_SCALE * np.log(inverses)
    drawn -= np.float32(GRAY)
    return planes


@lru_cache
def load(model: int) -> list[_Layer]:
    """Read the network of a number."""
    path = CHECKPOINTS / f"{MODELS[model]}.safetensors"
    return prepare(read_arrays(path, FORMAT, VERSION, "network of restoration"))


def prepare(arrays: dict[str, NDArray[np.generic]]) -> list[_Layer]:
    """Return the layers of weights named as in `fastgs.models.restoration.RestorationNetwork`."""
    layers = []
    count = len(arrays) // 2
    for number in range(count):
        weight, bias = (arrays[f"layers.{number}.{name}"].astype(np.float32) for name in ("weight", "bias"))
        results, channels = weight.shape[:2]
        groups = weight.reshape(results // kernels.GROUP, kernels.GROUP, channels * 9).transpose(0, 2, 1)
        slope = SLOPE if number < count - 1 else np.float32(1)
        layers.append(_Layer(
            np.ascontiguousarray(groups).reshape(-1, kernels.GROUP), bias.reshape(-1, kernels.GROUP), channels, slope
        ))  # fmt: skip
    return layers


def _apply(layers: list[_Layer], planes: Floats) -> Floats:
    """Return the (3, H, W) correction that the network makes of (PLANES, H, W) planes."""
    _, rows, columns = planes.shape
    height, width = -(-rows // FOLD), -(-columns // FOLD)
    # Beyond the borders of an odd side, pixels are repeated.
    planes = np.pad(planes, ((0, 0), (0, FOLD * height - rows), (0, FOLD * width - columns)), mode="edge")
    stride = -(-width // kernels.STEP) * kernels.STEP + 2

    def allocate(channels: int) -> Floats:
        made = np.empty((channels, height + 2, stride), np.float32)
        made[:, [0, -1]] = made[:, :, [0, width + 1]] = 0
        return made

    source = allocate(FOLD * FOLD * len(planes))
    for place in range(FOLD * FOLD):
        source[place :: FOLD * FOLD, 1:-1, 1 : width + 1] = planes[:, place // FOLD :: FOLD, place % FOLD :: FOLD]
    parts = threads.parts(height, PARTS * threads.num_threads())
    kept = np.empty((layers[0].biases.size, height + 2, stride), np.float32)
    for number, layer in enumerate(layers):
        # The layers between the first and the last are pairs, whose input is added to their output.
        ends_pair = 0 < number < len(layers) - 1 and number % 2 == 0
        result = allocate(layer.biases.size)
        shared = source.ravel(), layer.weights, layer.biases, kernels.ZEROS, layer.channels, height, width, stride
        memory = kept.ravel(), ends_pair, ends_pair or number == 0
        threads.run(kernels.convolve, (*shared, *memory, layer.slope, result.ravel()), parts)
        source = result
    correction = np.empty((CHANNELS, FOLD * height, FOLD * width), np.float32)
    for place in range(FOLD * FOLD):
        folded = source[place :: FOLD * FOLD, 1:-1, 1 : width + 1]
        correction[:, place // FOLD :: FOLD, place % FOLD :: FOLD] = folded
    return correction[:, :rows, :columns]


def _grow(region: Region, margin: int, height: int, width: int) -> Region:
    """Return the part of an image of height x width pixels that the network looks at for a region."""
    left, top = (max(0, start // FOLD * FOLD - margin) for start in (region.x, region.y))
    ends = (region.x + region.width, width), (region.y + region.height, height)
    right, bottom = (min(last, -(-end // FOLD) * FOLD + margin) for end, last in ends)
    return Region(left, top, right - left, bottom - top)
