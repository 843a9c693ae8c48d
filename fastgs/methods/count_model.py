"""Model of the PSNR that a fit will have, before it begins and on its way; `checkpoints/count` has its weights.

Each part is a quadratic polynomial of a few standardized features, fitted by ridge regression
(`python -m benchmarks.quality.counts`), so that the files are small and nothing has to be imported to use them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fastgs.io.checkpoints import CHECKPOINTS
from fastgs.io.weights import read_pair
from fastgs.methods import COUNT_WEIGHTS
from fastgs.methods.count_features import OCTAVES, REFERENCE, Array, ImageFeatures

FORMAT, VERSION = "fastgs.count", "1"

# Shares of a fit at which the model looks at it. A relocation is at least a few steps behind at all of them.
SHARES = (0.1, 0.2, 0.4, 0.6, 0.75, 0.9)
MOST_DEVIATIONS = 4.0  # of a feature from the mean of the training, beyond which it is clipped
STEEPEST, FLATTEST = 12.0, 1.5  # bounds of the slope in dB for twice as many Gaussians
LARGEST = 1.25  # factor of the number of Gaussians in a round
# Largest number of Gaussians per pixel: with three channels they have more parameters than the image has values.
DENSEST = 0.5


@dataclass(frozen=True)
class Look:
    """State of a fit on its way.

    Attributes:
        share: Share of the fit that is done.
        psnr: PSNR in dB.
        count: Number of Gaussians.
    """

    share: float
    psnr: float
    count: int


@dataclass(frozen=True)
class Polynomial:
    """Quadratic polynomial of standardized features.

    Attributes:
        center: (F,) mean of each feature.
        scale: (F,) standard deviation of each feature.
        weights: Coefficients of 1, of the features, and of their products.
    """

    center: Array
    scale: Array
    weights: Array

    @staticmethod
    def terms(features: Array, center: Array, scale: Array) -> Array:
        """Return the terms, (N, 1 + F + F (F + 1) / 2), of (N, F) features."""
        standard = np.clip((features - center) / scale, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        first, second = np.triu_indices(features.shape[1])
        return np.concatenate([np.ones((len(standard), 1)), standard, standard[:, first] * standard[:, second]], axis=1)

    def __call__(self, features: Array) -> Array:
        """Return the values for (N, F) features."""
        value: Array = self.terms(features, self.center, self.scale) @ self.weights
        return value


def look_features(image: ImageFeatures, looks: Sequence[Look], iterations: int) -> Array:
    """Return the features of a fit on its way.

    Args:
        image: Features of its image.
        looks: States so far; the last one is the present.
        iterations: Number of steps of the whole fit.
    """
    now = looks[-1]
    before = looks[-2] if len(looks) > 1 else Look(0.0, now.psnr, now.count)
    static = image.at(math.log2(now.count), iterations)
    change = math.log2(now.count / before.count)
    slope = static[REFERENCE + 1] - static[REFERENCE - 1]
    octaves = len(OCTAVES)
    return np.array(
        [
            *(now.psnr, now.psnr - before.psnr, change, static[2 * octaves], static[2 * octaves + 1], slope),
            *(static[REFERENCE] - now.psnr, static[REFERENCE - octaves] - now.psnr, static[2 * octaves + 3]),
        ]
    )


@dataclass(frozen=True)
class State:
    """Gaussians that are fitted, before a round that adds or takes away a few.

    Attributes:
        psnr: PSNR in dB.
        count: Number of Gaussians.
        gained: Gain in dB of the last tenth of the fit, or of the round before.
        number: Number of rounds before.
    """

    psnr: float
    count: int
    gained: float
    number: int


def round_features(image: ImageFeatures, state: State, count: int, iterations: int) -> Array:
    """Return the features of a round.

    Args:
        image: Features of the image.
        state: Gaussians before the round.
        count: Number of Gaussians behind it.
        iterations: Number of steps of the fit before all rounds.
    """
    static = image.at(math.log2(state.count), iterations)
    octaves = len(OCTAVES)
    change = math.log2(count / state.count)
    slope = static[REFERENCE + 1] - static[REFERENCE - 1]
    return np.array(
        [
            *(max(change, 0.0), min(change, 0.0), state.psnr, static[REFERENCE] - state.psnr, slope),
            *(static[2 * octaves], static[2 * octaves + 1], static[2 * octaves + 3]),
            *(state.gained, float(state.number == 0)),
        ]
    )


class CountModel:
    """Model of the PSNR of a fit.

    Args:
        tensors: Tensors of the parts, as `CountModel.tensors` returns them.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._parts = {
            name: Polynomial(*(tensors[f"{name}.{field}"].double().numpy() for field in ("center", "scale", "weights")))
            for name in sorted({each.split(".")[0] for each in tensors})
        }

    @staticmethod
    def tensors(parts: Mapping[str, Polynomial]) -> dict[str, Tensor]:
        """Return the parts, "start", one for each of `SHARES` by its place, and "round", as tensors for a file."""
        return {
            f"{name}.{field}": torch.from_numpy(getattr(part, field)).float().contiguous()
            for name, part in parts.items()
            for field in ("center", "scale", "weights")
        }

    def psnr(self, image: ImageFeatures, log_counts: Array, iterations: int) -> Array:
        """Return the PSNR in dB that fits of such numbers of Gaussians will have.

        Args:
            image: Features of the image.
            log_counts: (N,) log2 of the numbers.
            iterations: Number of steps of the fits.
        """
        features = np.stack([image.at(float(each), iterations) for each in log_counts])
        value: Array = features[:, REFERENCE] + self._parts["start"](features)
        return value

    def final(self, image: ImageFeatures, looks: Sequence[Look], iterations: int) -> float:
        """Return the PSNR in dB that a fit on its way will have at the end if the number of Gaussians stays.

        Args:
            image: Features of the image.
            looks: States at the first of `SHARES`.
            iterations: Number of steps of the whole fit.
        """
        part = self._parts[f"look{len(looks) - 1}"]
        return looks[-1].psnr + float(part(look_features(image, looks, iterations)[None])[0])

    def count(self, image: ImageFeatures, target_psnr: float, iterations: int) -> int:
        """Return the number of Gaussians for a PSNR, at most `most_gaussians`."""
        most = most_gaussians(image.pixels)
        grid = np.linspace(0.0, math.log2(most), 97)
        # The prediction for a handful of Gaussians may be far too high, so that for more of them is an upper bound.
        curve = np.minimum.accumulate(self.psnr(image, grid, iterations)[::-1])[::-1]
        return min(most, max(1, round(2 ** float(np.interp(target_psnr, curve, grid)))))

    def round_count(
        self,
        image: ImageFeatures,
        state: State,
        target_psnr: float,
        iterations: int,
    ) -> int:
        """Return the number of Gaussians for a round to end at a PSNR.

        Args:
            image: Features of the image.
            state: Gaussians before the round.
            target_psnr: PSNR in dB to end at.
            iterations: Number of steps of the fit before all rounds.
        """
        least, most = state.count / LARGEST, min(state.count * LARGEST, most_gaussians(image.pixels))
        neighbours = (max(1, state.count - 1), min(state.count + 1, most_gaussians(image.pixels)))
        counts = sorted({*neighbours, *(max(1, round(each)) for each in np.geomspace(least, max(most, 1), 49))})
        gains = self._parts["round"](np.stack([round_features(image, state, each, iterations) for each in counts]))
        gains = np.maximum.accumulate(gains)
        return round(float(np.interp(target_psnr - state.psnr, gains, counts)))

    def slope(self, image: ImageFeatures, count: int, iterations: int) -> float:
        """Return the gain in dB of twice as many Gaussians, about."""
        middle = math.log2(count)
        below, above = self.psnr(image, np.array([middle - 0.25, middle + 0.25]), iterations)
        return min(STEEPEST, max(FLATTEST, 2 * float(above - below)))


def most_gaussians(pixels: int) -> int:
    """Return the largest number of Gaussians that a wish is worth."""
    return max(1, int(DENSEST * pixels))


@lru_cache(maxsize=1)
def load_model(path: Path = CHECKPOINTS / f"{COUNT_WEIGHTS}.safetensors") -> CountModel:
    """Return a model, which is kept until another one is asked for; by default the one that ships with the package.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: The weights cannot be read.
    """
    tensors, _ = read_pair(path, FORMAT, VERSION, "model of the number of Gaussians")
    return CountModel(tensors)
