"""Fits of small images that take their steps together in one thread: those of single images, to the bit."""

import math

import pytest
import torch
from seeds import seeded

from fastgs.fitting.densification import Relocation
from fastgs.fitting.fit import fit
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.fitting.small import fit_small
from fastgs.initializers import INITIALIZERS

NAMES = ("means", "scales", "rotations", "colors")


@pytest.fixture(scope="module", params=[1, 3, 4])
def batch(request):
    """Return images that are longer than high, and Gaussians on them."""
    noise = torch.rand(3, request.param, 9, 14, generator=seeded())
    targets = torch.nn.functional.interpolate(noise, (19, 42), mode="bicubic").clamp(0, 1)
    return targets, [INITIALIZERS["grid"](target, 67, seeded()) for target in targets]


@pytest.mark.parametrize("iterations", [0, 1, 64])
def test_small_fits_are_those_of_single_images(batch, iterations):
    """In the long one, Gaussians are relocated at steps that are not in the history."""
    targets, starts = batch
    strategies = [Relocation.for_steps(iterations, 67 / (19 * 42), seeded()) for _ in range(4)]
    together = fit_small(*batch, iterations, strategies[3])
    for one, target, start, strategy in zip(together, targets, starts, strategies[:3], strict=True):
        alone = fit(target, start, FitOptions(iterations), densification=lambda _, strategy=strategy: strategy)
        assert torch.equal(one.image, alone.image)
        assert all(torch.equal(getattr(one.gaussians, name), getattr(alone.gaussians, name)) for name in NAMES)
        assert [entry[::2] for entry in one.history] == [entry[::2] for entry in alone.history]


def test_wrong_and_diverging_images_are_refused(batch):
    targets, starts = batch
    with pytest.raises(ValueError, match="target: holds NaN"):
        fit_small(targets / 0, starts, 1)
    for name in NAMES:
        with pytest.raises(ValueError, match="diverged before iteration"):
            fit_small(*batch, 30, rates=LearningRates(**{name: math.inf}))
