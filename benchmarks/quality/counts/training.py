"""Ridge regression of the PSNR of fits on features of images and of fits on their way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastgs.methods.count_features import REFERENCE, Array, ImageFeatures
from fastgs.methods.count_model import SHARES, Look, Polynomial, State, look_features, round_features

# Fits outside of this range of PSNR count little: nobody wishes for them.
RANGE, OUTSIDE = (24.5, 45.5), 0.05
SHRINKAGE = {"start": 10.0, "look": 3.0, "round": 30.0}  # weight of the squared coefficients
LARGEST_GAIN = 2.0  # dB of a round, beyond which it is not learned from
ROBUST = 0.3  # dB, beyond which errors count by their size and not by its square
SWEEPS = 8
FOLDS = 5


class Samples(NamedTuple):
    """Samples of one part of the model.

    Attributes:
        features: (N, F) features.
        gains: (N,) values to predict.
        final: (N,) PSNR at the end.
        groups: (N,) seed of the picture.
        kinds: (N,) kind of the picture.
    """

    features: Array
    gains: Array
    final: Array
    groups: Array
    kinds: list[str]

    def without(self, left_out: NDArray[np.bool_]) -> Samples:
        """Return all but some samples; the kinds are left as they were."""
        taken = ~left_out
        return Samples(self.features[taken], self.gains[taken], self.final[taken], self.groups[taken], self.kinds)


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the records of files of fits."""
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def image_features(seeds: Iterable[int], make: Callable[[int], Tensor], cache: Path) -> dict[int, ImageFeatures]:
    """Return the features of the pictures of seeds, which a file keeps."""
    known: dict[str, Array] = {}
    if cache.is_file():
        with np.load(cache) as file:
            known = dict(file)
    found = {}
    for seed in sorted(set(seeds)):
        if str(seed) in known:
            shape, curves = known[f"{seed} shape"], known[str(seed)]
            found[seed] = ImageFeatures((int(shape[0]), int(shape[1]), int(shape[2])), curves)
        else:
            found[seed] = ImageFeatures.of(make(seed))
            known |= {str(seed): found[seed].curves, f"{seed} shape": np.array(found[seed].shape)}
    np.savez(cache, **known)  # type: ignore[arg-type]
    return found


def start_samples(records: Sequence[dict[str, Any]], images: dict[int, ImageFeatures]) -> Samples:
    """Return the samples of what is known before a fit."""
    rows = []
    for record in records:
        ends = [(record["iterations"], record["psnr"][-1])]
        if "probe" in record:
            ends.append((20, record["probe"]))
        for iterations, final in ends:
            features = images[record["seed"]].at(float(np.log2(record["count"])), iterations)
            rows.append((features, final - features[REFERENCE], final, record["seed"], record["kind"]))
    return _stack(rows)


def look_samples(records: Sequence[dict[str, Any]], images: dict[int, ImageFeatures], number: int) -> Samples:
    """Return the samples of fits at one of `SHARES`: those with as many Gaussians from there on."""
    rows = []
    for record in records:
        looks = _looks(record, number)
        if looks is not None:
            features = look_features(images[record["seed"]], looks, record["iterations"])
            final = record["psnr"][-1]
            rows.append((features, final - looks[-1].psnr, final, record["seed"], record["kind"]))
    return _stack(rows)


def round_samples(records: Sequence[dict[str, Any]], images: dict[int, ImageFeatures]) -> Samples:
    """Return the samples of the rounds behind fits."""
    rows = []
    for record in records:
        for state, count, final in record.get("rounds", []):
            if abs(final - state[0]) > LARGEST_GAIN:
                continue
            features = round_features(images[record["seed"]], State(*state), count, record["iterations"])
            rows.append((features, final - state[0], final, record["seed"], record["kind"]))
    return _stack(rows)


def _looks(record: dict[str, Any], number: int) -> list[Look] | None:
    """Return the states of a fit at the first of `SHARES`, up to a given one."""
    if "looks" in record:
        return [Look(*each) for each in record["looks"][: number + 1]] if number >= record["frozen"] else None
    looks = []
    for share in SHARES[: number + 1]:
        entry = share * record["iterations"] / 10
        if abs(entry - round(entry)) > 1e-6:
            return None
        looks.append(Look(share, record["psnr"][round(entry)], record["count"]))
    return looks


def _stack(rows: Sequence[tuple[Array, float, float, int, str]]) -> Samples:
    features, gains, final, groups, kinds = zip(*rows, strict=True)
    return Samples(np.stack(features), np.array(gains), np.array(final), np.array(groups), list(kinds))


def regress(samples: Samples, shrinkage: float) -> Polynomial:
    """Return the polynomial that predicts the gains best, with large errors counted by their size."""
    inside = (samples.final > RANGE[0]) & (samples.final < RANGE[1])
    importance = np.where(inside, 1.0, OUTSIDE)
    center = np.average(samples.features, axis=0, weights=importance)
    spread = np.average((samples.features - center) ** 2, axis=0, weights=importance)
    scale = np.sqrt(spread) + 1e-3
    # As the file will have them, in single precision.
    center, scale = center.astype(np.float32).astype(np.float64), scale.astype(np.float32).astype(np.float64)
    terms = Polynomial.terms(samples.features, center, scale)
    penalty = shrinkage * np.eye(terms.shape[1])
    penalty[0, 0] = 0
    weights, robust = np.zeros(terms.shape[1]), np.ones(len(terms))
    for _ in range(SWEEPS):
        weighted = terms * (importance * robust)[:, None]
        weights = np.linalg.solve(weighted.T @ terms + penalty, weighted.T @ samples.gains)
        robust = 1 / np.maximum(1, np.abs(terms @ weights - samples.gains) / ROBUST)
    return Polynomial(center, scale, weights)


def validate(samples: Samples, shrinkage: float) -> dict[str, float]:
    """Return the mean absolute errors in dB on pictures that were left out, over all and by kind, within the range."""
    errors = np.zeros(len(samples.gains))
    for fold in range(FOLDS):
        left_out = (samples.groups // 2) % FOLDS == fold
        taken = samples.without(left_out)
        errors[left_out] = regress(taken, shrinkage)(samples.features[left_out]) - samples.gains[left_out]
    inside = (samples.final > 27) & (samples.final < 43)
    kinds = np.array(samples.kinds)
    named = {"all": inside} | {kind: inside & (kinds == kind) for kind in sorted(set(samples.kinds))}
    return {name: round(float(np.abs(errors[which]).mean()), 3) for name, which in named.items() if which.any()}


def train(
    records: Sequence[dict[str, Any]], images: dict[int, ImageFeatures]
) -> tuple[dict[str, Polynomial], dict[str, dict[str, float]]]:
    """Return the parts of the model, and the errors of each on pictures that were left out."""
    plain = [record for record in records if "looks" not in record]
    samples = {"start": start_samples(plain, images)}
    samples |= {f"look{number}": look_samples(records, images, number) for number in range(len(SHARES))}
    samples["round"] = round_samples(records, images)
    parts, errors = {}, {}
    for name, each in samples.items():
        shrinkage = SHRINKAGE[name.rstrip("0123456789")]
        parts[name], errors[name] = regress(each, shrinkage), validate(each, shrinkage)
        errors[name]["fits"] = len(each.gains)
        print(name, errors[name], flush=True)
    return parts, errors
