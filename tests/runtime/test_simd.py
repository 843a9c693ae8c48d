"""Tests of the eight-lane vectors against numpy, with each operation compiled alone."""

import operator

import numpy as np
import pytest
from numba import njit

from fastgs.runtime.simd import LANES, fma, horizontal_sum, lane_index, load, minimum, splat, store, where_below

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
