"""Linear probe of codes: against least squares, and on classes that are easy, hard or absent."""

import math

import pytest
import torch
from torch.nn.functional import one_hot

from fastgs.evaluation.autoencoders.linear_probe import RIDGES, Samples, _Ridge, probe


def samples(count: int, size: int, seed: int, apart: float = 0.0) -> Samples:
    numbers = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    features = 5 + 3 * torch.randn(count, size, generator=numbers)
    features[:, :3] += apart * one_hot(labels)
    features[:, -1] = 0.1  # constant
    return Samples(features, labels)


@pytest.mark.parametrize(("count", "size"), [(50, 20), (20, 50)])
def test_ridge_regression_is_least_squares_with_penalty_rows(count, size):
    train = samples(count, size, seed=0)
    features = train.features.double() - train.features.double().mean(0)
    features[:, :-1] /= features[:, :-1].square().mean(0).sqrt()
    features[:, -1] = 0
    targets = one_hot(train.labels).double()
    rows = torch.cat([features, math.sqrt(0.01 * count) * torch.eye(size, dtype=torch.float64)])
    right = torch.cat([targets - targets.mean(0), torch.zeros(size, 3, dtype=torch.float64)])
    torch.testing.assert_close(_Ridge(train).weights(0.01), torch.linalg.lstsq(rows, right).solution)


def test_probe_finds_classes_with_the_ridge_that_is_best_in_validation(one_thread):
    splits = [samples(90, 40, seed, apart=9.0) for seed in range(3)]
    found = probe(*splits)
    fit = _Ridge(splits[0])
    scores = {ridge: fit.accuracy(fit.weights(ridge), splits[1]) for ridge in RIDGES}
    assert 0.7 < found.accuracy < 1
    assert found.chance == pytest.approx(1 / 3)
    assert scores[found.ridge] == max(scores.values()) > min(scores.values())
    assert found.ridge == max(ridge for ridge, score in scores.items() if score == scores[found.ridge])


def test_probe_of_separate_classes_is_perfect(one_thread):
    assert probe(*(samples(90, 40, seed, apart=40.0) for seed in range(3))).accuracy == 1


def test_probe_of_constant_features_names_the_commonest_class():
    blind = Samples(torch.ones(10, 2), torch.tensor([0] * 3 + [1] * 7))
    assert probe(blind, blind, blind)[:2] == (0.7, 0.7)


def test_probe_refuses_empty_splits_and_a_single_class():
    good, empty = samples(9, 4, seed=0), Samples(torch.ones(0, 4), torch.zeros(0, dtype=torch.long))
    same = good._replace(labels=torch.ones(9, dtype=torch.long))
    for splits in ((empty, good, good), (good, empty, good), (good, good, empty), (same, good, good)):
        with pytest.raises(ValueError, match=r"^needs labelled images in each split"):
            probe(*splits)


def test_probe_refuses_systems_that_are_too_large():
    good = samples(9, 4, seed=0)
    large = Samples(torch.zeros(1, 1).expand(8193, 9000), torch.arange(8193) % 2)
    with pytest.raises(ValueError, match=r"^9,000 features of 8,193 images are too many; either may be 8,192$"):
        probe(large, good, good)
