"""The Hilbert curve and the levels of the Gaussians along it."""

import numpy as np
import pytest

from fastgs.codec import hilbert
from fastgs.codec.contexts import levels


@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_curve_visits_every_cell_and_moves_to_a_neighbour(order):
    x, y = hilbert.position(np.arange(4**order), order)
    assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == 4**order
    assert (np.abs(np.diff(x)) + np.abs(np.diff(y)) == 1).all()
    assert (hilbert.index(x, y, order) == np.arange(4**order)).all()


def test_index_and_position_are_inverse_on_the_largest_canvas():
    rng = np.random.default_rng(0)
    order = hilbert.order_for(65535 * 64 + 1, 2)
    x, y = rng.integers(0, 65535 * 64 + 1, (2, 1000))
    along = hilbert.index(x, y, order)
    assert order == 22 and (np.array(hilbert.position(along, order)) == [x, y]).all()


@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 100, 1000])
def test_levels_partition_the_gaussians_and_weight_known_neighbours(count):
    known = np.zeros(count, np.int64)
    for level in levels(count):
        assert (np.stack(level.neighbours(known)) == level.weights).all() if len(level.weights) else not known.any()
        assert (known[level.index] == 0).all()
        assert (level.density > 0).all() or not len(level.weights)
        known[level.index] = 1
    assert known.all()
