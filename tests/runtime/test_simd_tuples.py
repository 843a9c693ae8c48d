"""Tests of the operations on tuples of vectors against numpy, each compiled alone, for one and several vectors."""

import numpy as np
import pytest
from numba import njit

from fastgs.runtime.simd import LANES, load, load_wide, splat
from fastgs.runtime.simd_tuples import (
    add_loaded,
    dot,
    fma_each,
    horizontal_sum_each,
    leak_each,
    load_each,
    read_row,
    splat_each,
    splat_each_like,
    store_each,
    transpose,
    write_each,
    write_row,
)

COUNTS = pytest.mark.parametrize("count", [1, 3, 4])
STEP = 20


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@COUNTS
def test_read_row_and_write_row_copy_a_row(count):
    like = (np.float32(0),) * count

    @njit
    def kernel(source, row, target, to):
        write_row(target, to, read_row(source, row, like))

    source, target = random_array(5, count), np.zeros((4, count), np.float32)
    kernel(source, 3, target, 1)
    np.testing.assert_array_equal(target[1], source[3])
    assert (target[[0, 2, 3]] == 0).all()


@COUNTS
def test_load_each_and_store_each_copy_vectors(count):
    like = (np.float32(0),) * count

    @njit
    def kernel(source, index, target, to):
        store_each(target, to, STEP, load_each(source, index, STEP, like))

    source, target = random_array(count * STEP), np.zeros(count * STEP, np.float32)
    kernel(source, 3, target, 5)
    wanted = np.zeros((count, STEP), np.float32)
    wanted[:, 5 : 5 + LANES] = source.reshape(count, STEP)[:, 3 : 3 + LANES]
    np.testing.assert_array_equal(target, wanted.ravel())


@COUNTS
def test_load_each_loads_vectors_as_wide_as_those_that_it_is_given(count):
    zeros = (np.float32(0),) * count

    @njit
    def kernel(source, index, target, to):
        like = splat_each_like(load_wide(source, 0), zeros)
        store_each(target, to, STEP, load_each(source, index, STEP, like))

    source, target = random_array(count * STEP), np.zeros(count * STEP, np.float32)
    kernel(source, 3, target, 4)
    wanted = np.zeros((count, STEP), np.float32)
    wanted[:, 4 : 4 + 2 * LANES] = source.reshape(count, STEP)[:, 3 : 3 + 2 * LANES]
    np.testing.assert_array_equal(target, wanted.ravel())


@COUNTS
def test_fma_each_takes_vectors_and_numbers(count):
    like = (np.float32(0),) * count

    @njit
    def vectors(factor, rows, sums):
        value = splat_each(read_row(rows, 0, like))
        store_each(sums, 0, STEP, fma_each(splat(factor), value, load_each(sums, 0, STEP, like)))

    @njit
    def numbers(factor, rows):
        write_row(rows, 1, fma_each(factor, read_row(rows, 0, like), read_row(rows, 1, like)))

    factor, rows, sums = np.float32(0.5), random_array(2, count), random_array(count, STEP, seed=1)
    wanted, wanted_sums = factor * rows[0] + rows[1], factor * rows[0][:, None] + sums[:, :LANES]
    vectors(factor, rows, sums.reshape(-1))
    numbers(factor, rows)
    np.testing.assert_allclose(rows[1], wanted, rtol=1e-6)
    np.testing.assert_allclose(sums[:, :LANES], wanted_sums, rtol=1e-6)


@COUNTS
def test_dot_and_horizontal_sum_each_match_numpy(count):
    like = (np.float32(0),) * count

    @njit
    def kernel(a, b, products, sums):
        left, right = load_each(a, 0, STEP, like), load_each(b, 0, STEP, like)
        store_each(products, 0, LANES, (dot(left, right, splat(2.0)),))
        write_row(sums, 0, horizontal_sum_each(left))

    a, b = random_array(count, STEP), random_array(count, STEP, seed=1)
    products, sums = np.zeros(LANES, np.float32), np.zeros((1, count), np.float32)
    kernel(a.reshape(-1), b.reshape(-1), products, sums)
    np.testing.assert_allclose(products, 2 + (a * b)[:, :LANES].sum(0), rtol=1e-6)
    np.testing.assert_allclose(sums[0], a[:, :LANES].sum(1), rtol=1e-6)


def test_transpose_swaps_rows_and_columns():
    @njit
    def kernel(a, like, out):
        store_each(out, 0, LANES, transpose(load_each(a, 0, LANES, like)))

    matrix = np.arange(LANES * LANES, dtype=np.float32)
    out = np.empty_like(matrix)
    kernel(matrix, (np.float32(0),) * LANES, out)
    np.testing.assert_array_equal(out.reshape(LANES, LANES), matrix.reshape(LANES, LANES).T)


def test_write_each_takes_any_step():
    @njit
    def kernel(a, out):
        write_each(out, 1, 3, horizontal_sum_each((load(a, 0), load(a, LANES))))

    out = np.zeros(8, np.float32)
    kernel(np.arange(2 * LANES, dtype=np.float32), out)
    np.testing.assert_array_equal(out, [0, 28, 0, 0, 92, 0, 0, 0])


@COUNTS
def test_tuples_of_sixteen_lanes_are_spread_added_leaked_and_stored(count):
    like = (np.float32(0),) * count

    @njit
    def kernel(source, numbers, slope, target):
        vectors = splat_each_like(load_wide(source, 0), read_row(numbers, 1, like))
        store_each(target, 2, STEP, leak_each(add_loaded(source, 3, STEP, vectors), slope))

    source, numbers = random_array((count + 1) * STEP), random_array(2, count, seed=1)
    numbers[1] -= 1
    target = np.zeros((count + 1) * STEP, np.float32)
    kernel(source, numbers, np.float32(0.25), target)
    sums = source.reshape(-1, STEP)[:count, 3 : 3 + 2 * LANES] + numbers[1][:, None]
    wanted = np.zeros((count, STEP), np.float32)
    wanted[:, 2 : 2 + 2 * LANES] = np.where(sums > 0, sums, sums / 4)[:, : STEP - 2]
    found = target.reshape(-1, STEP)[:count]
    np.testing.assert_allclose(found[:, 2 : 2 + 2 * LANES], wanted[:, 2 : 2 + 2 * LANES], rtol=1e-6)
