"""Neighbours and levels of Gaussians, and the kernels of the learned model, against their definitions."""

import numpy as np
import pytest

from fastgs.codec.contexts import COARSEST
from fastgs.codec.surroundings import Surroundings, find_levels
from fastgs.codec.surroundings_kernels import CANDIDATES, NEIGHBOURS, find_neighbours
from fastgs.codec.symbol_model import make_tables
from fastgs.codec.symbol_model_kernels import (
    COMPONENTS,
    FLOOR_BITS,
    LOGISTIC_BITS,
    OUTPUTS,
    PART,
    SHARES,
    TOTAL_BITS,
    UNIT,
    WEIGHT,
    mix,
    tabulate,
)
from fastgs.codec.symbols import Steps

TABLES = make_tables()
EXPONENTIAL, LOGISTIC = TABLES["exponential"].astype(np.float64), TABLES["logistic"].astype(np.int64)


@pytest.mark.parametrize("count", [0, 1, 5, 16, 200])
def test_neighbours_are_the_nearest_candidates_along_the_curve(count):
    rng = np.random.default_rng(count)
    known, places = rng.integers(0, 60, (count, 2)), rng.integers(0, 60, (50, 2))
    curve, along = np.sort(rng.integers(0, 300, count)), rng.integers(0, 300, 50)
    order = rng.permutation(1000)[:count]
    chosen = np.empty((50, NEIGHBOURS), np.int64)
    find_neighbours(known, curve, order, places, along, chosen)
    for place, distance, found in zip(places, along, chosen, strict=True):
        middle = int((curve < distance).sum())
        candidates = range(max(middle - CANDIDATES, 0), min(middle + CANDIDATES, count))
        squares = {each: int(np.square(known[each] - place).sum()) for each in candidates}
        nearest = [int(order[each]) for each in sorted(candidates, key=squares.__getitem__)[:NEIGHBOURS]]
        assert found.tolist() == nearest + [-1] * (NEIGHBOURS - len(nearest))


@pytest.mark.parametrize("count", [0, 1, 2, 33, 200])
def test_levels_are_the_zeros_at_the_end_of_indices(count):
    found = find_levels(count)
    for index, level in enumerate(found):
        divides = [number for number in range(COARSEST + 1) if index % 2**number == 0]
        assert level == max(divides)
    assert len(found) == count


def test_each_gaussian_has_one_level_and_those_before_are_known():
    rng = np.random.default_rng(0)
    around = Surroundings((40, 50))
    seen = 0
    for count in (70, 0, 9):
        x, y = rng.integers(0, 101, count), rng.integers(0, 81, count)
        around.begin_layer(x, y, Steps(1, 0.2, 0.2, 0.1, 0.1), np.zeros(6, np.int64), np.zeros(6, np.int64))
        known = set(range(seen))
        for level in around.levels():
            assert set(level._chosen.ravel()) <= known | {-1}
            assert (level._chosen >= 0).sum(1).min() >= min(len(known), CANDIDATES) - 1 or not known
            known |= set((seen + level.index).tolist())
        seen += count
        assert known == set(range(seen))


def make_mixtures(rng, count, unit=0.2, scale=1.0, center=2.0):
    outputs = np.rint(rng.normal(0, 2, (count, OUTPUTS)) * UNIT * WEIGHT)
    shape = count, COMPONENTS
    places, inverses, shares = np.empty(shape, np.int64), np.empty(shape), np.empty(shape, np.int64)
    mix(outputs, unit, scale, center, EXPONENTIAL, places, inverses, shares)
    return outputs / (UNIT * WEIGHT), places, inverses, shares


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_mixtures_are_what_outputs_stand_for(scale):
    outputs, places, inverses, shares = make_mixtures(np.random.default_rng(0), 300, 0.25, scale, -1.5)
    means = outputs[:, :1] + np.column_stack([np.zeros(300), outputs[:, 1:COMPONENTS]])
    np.testing.assert_allclose(places / PART, (means / scale - 1.5) / 0.25, atol=0.51 / PART)
    scales = outputs[:, COMPONENTS : 2 * COMPONENTS]
    np.testing.assert_allclose(inverses, 0.25 * scale * np.exp(-scales), rtol=0.5 / 64 * 1.01)
    weights = np.exp(outputs[:, 2 * COMPONENTS :].clip(-8, 8))
    assert (shares.sum(1) == SHARES).all() and shares.min() >= 0
    np.testing.assert_allclose(shares / SHARES, weights / weights.sum(1, keepdims=True), atol=3.2 / SHARES)


@pytest.mark.parametrize("bound", [0, 1, 6, 256])
def test_tables_sum_to_the_total_and_are_differences_of_the_mixture(bound):
    _, places, inverses, shares = make_mixtures(np.random.default_rng(bound), 200)
    frequencies = np.empty((200, 2 * bound + 1))
    tabulate(places, inverses, shares, LOGISTIC, bound, frequencies)
    frequencies += 1  # constriction adds it
    floor = (1 << FLOOR_BITS) // (2 * bound + 1)
    assert (frequencies.sum(1) == 1 << TOTAL_BITS).all()
    # No frequency is below the floor, so the sums of the first ones rise.
    assert frequencies.min() >= floor and (frequencies == np.rint(frequencies)).all()
    nearest = np.floor(places[:, :1] / PART + 0.5)
    edges = nearest + np.arange(-bound, bound) + 0.5
    distances = ((edges[:, :, None] - places[:, None] / PART) * inverses[:, None]).clip(-16, 16)
    sums = (shares[:, None] / SHARES / (1 + np.exp(-distances))).sum(2)
    wanted = np.diff(sums, prepend=0, append=1, axis=1) * (1 - 2.0**-10)
    # Arguments of the logistic function, whose slope is a quarter, are rounded to 1 / PART.
    tolerance = 2 * 0.25 * 0.5 / PART + 2.0 ** -(LOGISTIC_BITS - 2) + 2.0**-10
    np.testing.assert_allclose(frequencies / 2.0**TOTAL_BITS, wanted, atol=tolerance)


def test_tables_of_mixtures_far_away_are_full():
    """Scales at both ends, and components that are far from the first, keep all frequencies above 0."""
    places = np.array([[0, 1 << 40, -(1 << 40)], [10**9, 10**9, 10**9]], np.int64)
    inverses = np.array([[1e-9, 1e6, 1e3], [1e6, 1e-9, 1.0]])
    shares = np.array([[100, 100, 56], [0, 256, 0]], np.int64)
    frequencies = np.empty((2, 41))
    tabulate(places, inverses, shares, LOGISTIC, 20, frequencies)
    assert frequencies.min() >= 0 and (frequencies.sum(1) == (1 << TOTAL_BITS) - 41).all()
