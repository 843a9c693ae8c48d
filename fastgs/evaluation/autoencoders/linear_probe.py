"""How much of an image's class a code still tells: linear classification by ridge regression, in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

RIDGES = tuple(10.0**power for power in range(-5, 3))  # times the number of images
MAX_UNKNOWNS = 8192  # features or images, whichever are fewer: the system takes half a gigabyte, and minutes
CHUNK = 2048  # images that are taken to double precision at a time
CONSTANT = 1e-12  # of the squared mean: a feature of less variance does not vary


class Samples(NamedTuple):
    """(N, D) features of N images, and their (N,) classes from 0 up."""

    features: Tensor
    labels: Tensor


class Probe(NamedTuple):
    """What the classifier gets right of the images of the test split.

    Attributes:
        accuracy: share of them that are given their class.
        chance: share of them that are of the commonest class in training.
        ridge: the penalty that was best in validation.
    """

    accuracy: float
    chance: float
    ridge: float


def probe(train: Samples, val: Samples, test: Samples) -> Probe:
    """Fit on `train`, choose the ridge on `val` (the largest of equals), count on `test`.

    `W, b = argmin ||X W + b - Y||^2 + r N ||W||^2`, with N images in X, whose features have mean 0 and standard
    deviation 1, and one-hot Y.

    Raises:
        ValueError: a split has no images, those of `train` are of one class, or there are too many of them, and of
            features, to solve it.
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
    """The normal equations of the samples, to be solved with any ridge.

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
        """(D, classes)."""
        system = self.gram.clone()
        system.diagonal().add_(ridge * self.count)
        solution = torch.cholesky_solve(self.right, torch.linalg.cholesky(system))
        return torch.cat(list(self._rows(self.features))).T @ solution if self.dual else solution

    def accuracy(self, weights: Tensor, samples: Samples) -> float:
        """The share of samples whose class has the highest score."""
        scores = torch.cat([rows @ weights for rows in self._rows(samples.features)]) + self.bias
        return (scores.argmax(1) == samples.labels).double().mean().item()

    def _rows(self, features: Tensor) -> Iterator[Tensor]:
        """Features in double precision with mean 0 and standard deviation 1, a chunk of images at a time."""
        for rows in torch.split(features, CHUNK):
            yield (rows.double() - self.mean) / self.scale
