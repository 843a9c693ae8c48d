"""Linear probe, which measures how well codes separate classes: ridge regression to the classes, in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

RIDGES = tuple(10.0**power for power in range(-5, 3))  # penalties to choose from, times the number of images
# Most features or images, whichever are fewer: with so many, the system takes half a gigabyte, and minutes.
MAX_UNKNOWNS = 8192
CHUNK = 2048  # images that are converted to double precision at a time
CONSTANT = 1e-12  # variance, relative to the squared mean, below which a feature counts as constant


class Samples(NamedTuple):
    """Features of images with their classes.

    Attributes:
        features: (N, D) features of N images.
        labels: (N,) classes, integers from 0.
    """

    features: Tensor
    labels: Tensor


class Probe(NamedTuple):
    """Result of the classifier on the images of the test split.

    Attributes:
        accuracy: Share of them whose class is predicted.
        chance: Share of them that have the class which is commonest in training.
        ridge: Penalty that was best in validation.
    """

    accuracy: float
    chance: float
    ridge: float


def probe(train: Samples, val: Samples, test: Samples) -> Probe:
    """Fit a classifier on `train`, choose its ridge on `val` (the largest of equals), and measure it on `test`.

    `W, b = argmin ||X W + b - Y||^2 + r N ||W||^2`, with N images in X, whose features have mean 0 and standard
    deviation 1, and one-hot Y.

    Raises:
        ValueError: A split has no images, those of `train` have one class, or both they and the features are too many
            to solve the system.
    """
    if not (len(train.labels) and len(val.labels) and len(test.labels)) or train.labels.min() == train.labels.max():
        raise ValueError("needs labelled images in each split, and those of train of two classes or more")
    if min(train.features.shape) > MAX_UNKNOWNS:
        count, size = train.features.shape
        raise ValueError(f"{size:,} features of {count:,} images are too many; either may be {MAX_UNKNOWNS:,}")
    fit = _Ridge(train)
    _, ridge = max((fit.accuracy(fit.weights(ridge), val), ridge) for ridge in RIDGES)
    chance = (test.labels == train.labels.bincount().argmax()).double().mean().item()
    return Probe(fit.accuracy(fit.weights(ridge), test), chance, ridge)


class _Ridge:
    """Normal equations of the samples, which can be solved with any ridge.

    With fewer images than features, the smaller system is their dual, `W = X' (X X' + r N I)^-1 Y`.
    """

    def __init__(self, train: Samples) -> None:
        self.features = train.features
        self.count, size = train.features.shape
        self.mean, self.scale = torch.zeros(size, dtype=torch.float64), torch.ones(size, dtype=torch.float64)
        mean = torch.stack([rows.sum(0) for rows in self._rows(train.features)]).sum(0) / self.count
        self.mean = mean
        variance = torch.stack([rows.square().sum(0) for rows in self._rows(train.features)]).sum(0) / self.count
        self.scale = torch.where(variance > CONSTANT * mean.square(), variance, 1).sqrt()
        targets = one_hot(train.labels).double()
        self.bias = targets.mean(0)
        targets -= self.bias
        self.dual = self.count < size
        if self.dual:
            rows = torch.cat(list(self._rows(train.features)))
            self.gram, self.right = rows @ rows.T, targets
        else:
            self.gram, self.right = targets.new_zeros(size, size), targets.new_zeros(size, targets.shape[1])
            for rows, some in zip(self._rows(train.features), torch.split(targets, CHUNK), strict=True):
                self.gram.addmm_(rows.T, rows)
                self.right.addmm_(rows.T, some)

    def weights(self, ridge: float) -> Tensor:
        """Return the (D, classes) weights."""
        system = self.gram.clone()
        system.diagonal().add_(ridge * self.count)
        solution = torch.cholesky_solve(self.right, torch.linalg.cholesky(system))
        return torch.cat(list(self._rows(self.features))).T @ solution if self.dual else solution

    def accuracy(self, weights: Tensor, samples: Samples) -> float:
        """Return the share of samples whose class has the highest score."""
        scores = torch.cat([rows @ weights for rows in self._rows(samples.features)]) + self.bias
        return (scores.argmax(1) == samples.labels).double().mean().item()

    def _rows(self, features: Tensor) -> Iterator[Tensor]:
        """Yield features in double precision with mean 0 and standard deviation 1, a chunk of images at a time."""
        for rows in torch.split(features, CHUNK):
            yield (rows.double() - self.mean) / self.scale
