"""Tests of the vectors against numpy, with each operation compiled alone."""

import operator

import numpy as np
import pytest
from numba import njit

from fastgs.runtime.simd import (
    LANES,
    first_lane,
    fma,
    high,
    horizontal_sum,
    join,
    lane_index,
    load,
    low,
    minimum,
    power_of_two,
    round_down,
    select_below,
    splat,
    splat_like,
    square_root,
    store,
    store_integers,
    where_below,
)
from fastgs.runtime.simd_math import absolute, cosine_and_sine, exponential, maximum

A = np.array([1.5, -2, 0, 3e38, np.nan, 7, -0.25, np.inf], dtype=np.float32)
B = np.array([0.5, 4, -1, 3e38, 1, np.nan, 8, 2], dtype=np.float32)
C = np.array([10, 20, 30, 40, 50, 60, 70, 80], dtype=np.float32)


@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_operators_match_numpy(operation):
    @njit
    def kernel(a, b, out):
        store(out, 0, operation(load(a, 0), load(b, 0)))

    out = np.zeros(LANES, np.float32)
    kernel(A, B, out)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out, operation(A, B))


def test_fma_of_lane_index_is_a_ramp():
    @njit
    def kernel(slope, start, out):
        store(out, 0, fma(splat(slope), lane_index(), splat(start)))

    out = np.zeros(LANES, np.float32)
    kernel(0.5, 3, out)  # numbers of any type become float32
    np.testing.assert_array_equal(out, 3 + 0.5 * np.arange(LANES))


def test_load_and_store_take_any_index():
    @njit
    def kernel(source, target, start, to):
        store(target, to, load(source, start))

    source, target = np.arange(20, dtype=np.float32), np.full(20, -1, np.float32)
    kernel(source, target, 3, 5)
    np.testing.assert_array_equal(target, [-1] * 5 + [*range(3, 3 + LANES)] + [-1] * 7)


def test_minimum_and_where_below_ignore_nan():
    """A pixel at a distance of NaN is outside."""

    @njit
    def kernel(a, b, c, smaller, chosen):
        store(smaller, 0, minimum(load(a, 0), load(b, 0)))
        store(chosen, 0, where_below(load(a, 0), load(b, 0), load(c, 0)))

    smaller, chosen = np.zeros((2, LANES), np.float32)
    kernel(A, B, C, smaller, chosen)
    np.testing.assert_array_equal(smaller, np.where(A < B, A, B))
    np.testing.assert_array_equal(chosen, np.where(A < B, C, 0))
    assert smaller[4] == 1


def test_horizontal_sum_adds_all_lanes():
    @njit
    def kernel(a):
        return horizontal_sum(load(a, 0))

    assert kernel(C) == C.sum()
    assert kernel(np.eye(LANES, dtype=np.float32).ravel()[LANES:]) == 1


def test_operators_refuse_a_vector_and_a_number():
    @njit
    def kernel(a):
        return horizontal_sum(load(a, 0) + 1)

    with pytest.raises(Exception, match="No implementation of function"):
        kernel(C)


def test_sixteen_lanes_are_two_halves():
    @njit
    def kernel(a, b, lower, upper):
        both = join(load(a, 0), load(b, 0))
        both = fma(both, splat_like(both, 2), both)
        store(lower, 0, low(both))
        store(upper, 0, high(both))
        return horizontal_sum(both), first_lane(high(both))

    lower, upper = np.zeros((2, LANES), np.float32)
    total, first = kernel(C, C + 1, lower, upper)
    np.testing.assert_array_equal(lower, 3 * C)
    np.testing.assert_array_equal(upper, 3 * (C + 1))
    assert (total, first) == (3 * (2 * C.sum() + LANES), upper[0])


def test_numbers_of_a_lane_become_integers_and_powers_of_two():
    @njit
    def kernel(a, whole, powers, roots, down):
        store_integers(whole, 3, load(a, 0))
        store(powers, 0, power_of_two(load(a, 0)))
        store(roots, 0, square_root(load(a, 0)))
        store(down, 0, round_down(load(a, 0) * splat(-0.3)))

    numbers = np.array([0, 1, 2, 3, 10, 64, 100, 127], np.float32)
    whole, (powers, roots, down) = np.full(12, -1, np.int32), np.zeros((3, LANES), np.float32)
    kernel(numbers, whole, powers, roots, down)
    np.testing.assert_array_equal(whole, [-1, -1, -1, *numbers, -1])
    np.testing.assert_array_equal(powers, 2.0**numbers)
    np.testing.assert_array_equal(roots, np.sqrt(numbers))
    np.testing.assert_array_equal(down, np.floor(numbers * np.float32(-0.3)))


def test_select_below_maximum_and_absolute_match_numpy():
    @njit
    def kernel(a, b, c, chosen, larger, positive):
        store(chosen, 0, select_below(load(a, 0), load(b, 0), load(c, 0), load(a, 0)))
        store(larger, 0, maximum(load(a, 0), load(b, 0)))
        store(positive, 0, absolute(load(a, 0)))

    chosen, larger, positive = np.zeros((3, LANES), np.float32)
    kernel(A, B, C, chosen, larger, positive)
    np.testing.assert_array_equal(chosen, np.where(A < B, C, A))
    np.testing.assert_array_equal(larger, np.where(B < A, A, B))
    np.testing.assert_array_equal(positive, np.abs(A))


@njit
def functions(x, exponentials, cosines, sines):
    """Fill three arrays with functions of each number of x, whose length is a multiple of LANES."""
    for index in range(0, len(x), LANES):
        store(exponentials, index, exponential(load(x, index)))
        cosine, sine = cosine_and_sine(load(x, index))
        store(cosines, index, cosine)
        store(sines, index, sine)


@pytest.mark.parametrize("largest", [0.01, 10, 80])
def test_elementary_functions_are_precise(largest):
    x = np.random.default_rng(0).uniform(-largest, largest, 1000 * LANES).astype(np.float32)
    exponentials, cosines, sines = (np.empty_like(x) for _ in range(3))
    functions(x, exponentials, cosines, sines)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(exponentials, np.exp(wide), rtol=3e-7)
    np.testing.assert_allclose(cosines, np.cos(wide), rtol=0, atol=1.5e-7)
    np.testing.assert_allclose(sines, np.sin(wide), rtol=0, atol=1.5e-7)


def test_elementary_functions_at_the_ends():
    x = np.array([0, 88, 1000, -1000, np.nan, np.pi, -np.pi / 2, 3000], np.float32)
    exponentials, cosines, sines = (np.empty_like(x) for _ in range(3))
    functions(x, exponentials, cosines, sines)
    assert exponentials[0] == 1
    assert exponentials[3] < 1e-37
    assert exponentials[1] > 1e38
    np.testing.assert_allclose(cosines[[0, 5, 6, 7]], np.cos(x[[0, 5, 6, 7]].astype(np.float64)), atol=1.5e-7)
    np.testing.assert_allclose(sines[[0, 5, 6, 7]], np.sin(x[[0, 5, 6, 7]].astype(np.float64)), atol=1.5e-7)
