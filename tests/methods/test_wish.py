"""Fits to a PSNR instead of a number of Gaussians."""

import math
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data

import fastgs
from fastgs.fitting.densification import resize
from fastgs.fitting.fit import _make_descent
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.io.pixels import ImageWarning
from fastgs.io.weights import CHECKPOINTS, write_pair
from fastgs.methods.count_features import REFERENCE, ImageFeatures
from fastgs.methods.count_model import FORMAT, SHARES, VERSION, Look, State, load_model, most_gaussians
from fastgs.methods.fastgs import CURVATURE
from fastgs.methods.wish import MOST_WORK, OCTAVE, TOLERANCE, fit_to_psnr
from fastgs.metrics.quality import psnr

STEPS = 60


def crop(side=96):
    return torch.from_numpy(data.coffee()[100 : 100 + side, 200 : 200 + side].copy()).permute(2, 0, 1) / 255


@pytest.fixture(scope="module")
def features():
    return ImageFeatures.of(crop())


def test_curves_fall_to_nothing_with_all_wavelets(features):
    """Orthogonal wavelets have the energy of the image, and the error left is that of those left out."""
    assert (np.diff(features.curves) >= 0).all()
    image = crop().double()
    variance = (image - image.mean((1, 2), keepdim=True)).square().mean().item()
    # One wavelet of many takes little of the variance; mirrored borders add a little to that of the longer filter.
    assert features.curves[:, 0] == pytest.approx([-10 * np.log10(variance)] * 2, abs=2.5)
    assert features.curves[:, -1] == pytest.approx([70, 70], abs=0.1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 40), (3, 2, 2), (4, 7, 13)])
def test_features_of_any_shape_are_finite(shape):
    features = ImageFeatures.of(torch.rand(shape, generator=torch.Generator().manual_seed(0)))
    assert np.isfinite(features.at(0.0, 200)).all() and features.shape == shape
    assert 1 <= load_model().count(features, 35, 200) <= most_gaussians(shape[1] * shape[2])


def test_features_grow_with_k(features):
    few, many = features.at(5.0, 200), features.at(8.0, 200)
    assert many[REFERENCE] > few[REFERENCE] + 3


def test_more_gaussians_for_a_higher_psnr(features):
    counts = [load_model().count(features, target, 200) for target in (20, 25, 30, 35, 40, 45)]
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_prediction_is_nearer_the_later_it_is_made(features):
    """The end of a real fit, from its history."""
    result = CURVATURE(crop(), 400, FitOptions(200))
    psnrs = {entry.iteration / 200: entry.psnr for entry in result.history}
    looks = [Look(share, psnrs[share], 400) for share in (0.1, 0.2, 0.4, 0.6, 0.75, 0.9)]
    errors = [abs(load_model().final(features, looks[: number + 1], 200) - result.psnr) for number in range(6)]
    assert errors[1] < 2 and errors[3] < 0.8 and errors[5] < 0.25


def test_round_takes_more_gaussians_for_more_decibels(features):
    state = State(30.0, 400, 0.3, 0)
    counts = [load_model().round_count(features, state, target, 200) for target in (29, 30, 31)]
    assert 320 <= counts[0] < counts[1] < counts[2] <= 500


@pytest.mark.parametrize("blend", ["normalized", "sum"])
@pytest.mark.parametrize("count", [30, 40, 55])
def test_resize_gives_exactly_k(blend, count):
    image = crop()
    gaussians = replace(CURVATURE(image, 40, FitOptions(10)).gaussians, blend=blend)
    descent = _make_descent(gaussians, image, LearningRates().config(FitOptions().loss_function()), "auto")
    edit = resize(count, image, descent, torch.Generator().manual_seed(0))
    assert int(edit.keep.sum()) + len(edit.added) == count
    assert edit.added.blend == blend and torch.isfinite(edit.added.colors).all()


@pytest.mark.slow
@pytest.mark.parametrize("target", [34.0, 37.0, 40.0])
def test_fit_lands_on_the_wish_at_little_cost(target):
    result = fit_to_psnr(CURVATURE, crop(), FitOptions(200, target_psnr=target))
    assert abs(result.psnr - target) <= 0.3
    costs = [abs(trial.psnr - target) + OCTAVE * math.log2(trial.num_gaussians) for trial in result.trials]
    assert (len(result.gaussians), result.psnr) == min(zip(costs, result.trials, strict=True))[1][:2]
    work = sum(trial.work for trial in result.trials)
    assert work <= MOST_WORK * 200 * len(result.gaussians)
    assert len(result.trials) > 1 or abs(result.psnr - target) <= TOLERANCE
    rendered = fastgs.render(result.gaussians).clamp(0, 1)
    assert torch.allclose(rendered, result.image, atol=1e-5)
    assert result.psnr == pytest.approx(psnr(rendered, crop()), abs=0.01)
    steps = [entry.iteration for entry in result.history]
    assert steps == sorted(set(steps)) and steps[-1] >= SHARES[-1] * 200  # the last look


@pytest.mark.parametrize("blend", ["normalized", "sum"])
def test_fit_repeats(blend):
    predictor = fastgs.Predictor()
    arguments = {"num_gaussians": "auto", "target_psnr": 27, "iterations": STEPS, "seed": 3, "blend": blend}
    first, second = (predictor(crop(64), **arguments) for _ in range(2))
    assert first.trials == second.trials and torch.equal(first.gaussians.means, second.gaussians.means)
    assert first.gaussians.blend == blend


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_any_channels(channels):
    image = crop()[:1].repeat(channels, 1, 1)
    result = fastgs.Predictor()(image, "auto", STEPS, target_psnr=32)
    assert result.gaussians.channels == channels and abs(result.psnr - 32) < 1


def test_flat_image_takes_few_gaussians():
    result = fastgs.Predictor()(torch.full((3, 40, 40), 0.4), "auto", STEPS, target_psnr=40)
    assert len(result.gaussians) <= 8 and result.psnr >= 40


def test_noise_that_is_out_of_reach_is_said_so():
    noise = torch.rand((3, 24, 24), generator=torch.Generator().manual_seed(0))
    with pytest.warns(
        ImageWarning, match=r"^target_psnr: 90 dB are not reached with 288 Gaussians, one for two pixels"
    ):
        result = fastgs.Predictor()(noise, "auto", STEPS, target_psnr=90)
    assert len(result.gaussians) == most_gaussians(24 * 24) == 288
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastgs.Predictor()(noise, "auto", STEPS, target_psnr=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "num_gaussians: 'auto' needs a PSNR to reach"),
        ({"target_psnr": 30, "seconds": 1}, "seconds: not with num_gaussians 'auto'; give iterations"),
        ({"target_psnr": 30, "iterations": 5}, "iterations: must be at least 20 with num_gaussians 'auto', got 5"),
        ({"target_psnr": float("nan")}, "target_psnr: must be finite"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        fastgs.Predictor()(crop(16), "auto", **arguments)
    with pytest.raises(ValueError, match=r"^num_gaussians: expected an integer"):
        fastgs.Predictor()(crop(16), "many")


def test_damaged_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none.safetensors")
    write_pair(tmp_path / "other", {}, {"format": "other", "version": "1"})
    with pytest.raises(ValueError, match=r"other\.json: describes no model of the number of Gaussians"):
        load_model(tmp_path / "other.safetensors")


def test_model_is_small_and_was_trained_on_many_fits():
    assert (CHECKPOINTS / "count.safetensors").stat().st_size < 10_000
    assert (FORMAT, VERSION) == ("fastgs.count", "1")
