"""Searches and short fits in turns: what they gain, where they end, and that they repeat."""

import math
from dataclasses import replace

import pytest
import torch

from fastgs.codec import decode_image, encode, fastgs_encoder
from fastgs.codec.alternation import alternate
from fastgs.codec.effort import EFFORTS
from fastgs.codec.filling import COARSEST, FINEST, Start, fill
from fastgs.codec.rdo import Search
from fastgs.codec.symbol_models import LATEST
from fastgs.fitting.optimizer import LearningRates
from fastgs.metrics.quality import psnr

RATES = LearningRates.for_iterations(100)


@pytest.mark.slow
def test_rounds_give_a_better_image_in_as_many_bytes(astronaut, fitted):
    start, size = Start(fitted, 1.0), 1_450
    near = alternate(astronaut, start, size, 6, RATES, LATEST)
    files = [fill(astronaut, each, size, 6, LATEST) for each in (start, near)]
    worse, better = (psnr(decode_image(data), astronaut) for data in files)
    assert all(0.97 * size <= len(data) <= size for data in files) and better > worse + 0.1
    assert near.price < math.inf


@pytest.mark.slow
def test_steps_follow_the_size(astronaut, fitted):
    near = [alternate(astronaut, Start(fitted, 1.0), size, 4, RATES, LATEST, ends=False) for size in (1_100, 1_700)]
    assert near[0].coarseness > 1 > near[1].coarseness
    sizes = [len(fill(astronaut, each, None, 4, LATEST)) for each in near]
    assert sizes == [pytest.approx(1_100, rel=0.15), pytest.approx(1_700, rel=0.15)]
    assert alternate(astronaut, Start(fitted, 1.0), None, 1, RATES, LATEST).coarseness == 1.0


@pytest.mark.slow
def test_too_few_gaussians_end_it_or_keep_all_that_are_left(astronaut, fitted):
    start = Start(fitted, 1.0)
    assert alternate(astronaut, start, 10 * len(fitted), 4, RATES, LATEST) is None
    near = alternate(astronaut, start, 10 * len(fitted), 4, RATES, LATEST, ends=False)
    assert near.coarseness == FINEST
    assert alternate(astronaut, start, 10, 1, RATES, LATEST).coarseness == COARSEST


def test_no_rounds_change_nothing(astronaut, fitted):
    start = Start(fitted, 1.0)
    assert alternate(astronaut, start, 1_000, 0, RATES) is start


def test_nothing_left_is_left(fitted, astronaut, monkeypatch):
    monkeypatch.setattr(Search, "count", 0)
    start = Start(fitted, 1.0)
    assert alternate(astronaut, start, 1_000, 3, RATES) is start


@pytest.mark.slow
def test_rounds_repeat_and_take_alpha_and_importance(photo):
    image = torch.cat([photo, photo[:1]])
    image[:3] *= image[3:]
    first, again = (encode(image, alpha=True, bpp=3.0, effort=6, tune="ssim").data for _ in range(2))
    assert first == again
    assert EFFORTS[6].rounds and 0.97 * 3 * image[0].numel() / 8 <= len(first)


@pytest.mark.parametrize(("effort", "fits"), [(6, [2_000]), (7, [2_000, 2_500, 3_125, 3_906])])
def test_photo_with_too_few_gaussians_is_fitted_again(photo, monkeypatch, effort, fits):
    """Efforts without another fit fill the file with the Gaussians that they had."""
    aims, usual = [], fastgs_encoder.fit

    def fit(*given):
        aims.append(given[6])
        return usual(*given)

    monkeypatch.setattr(fastgs_encoder, "fit", fit)
    monkeypatch.setattr(fastgs_encoder, "alternate", lambda image, start, *_, ends: None if ends else start)
    chosen = replace(EFFORTS[effort], iterations=1, sweeps=1)
    files, _ = fastgs_encoder.encode(photo, 100, False, chosen, 0, 2_000, None, restores=False)
    assert aims[: len(fits)] == fits and files
