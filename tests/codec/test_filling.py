"""Files that fill a size, by searches whose sizes are known."""

import math
from copy import copy

import pytest

from fastgs.codec import filling
from fastgs.codec.channels import RGB
from fastgs.codec.filling import Start, fill
from fastgs.codec.rdo import LAST_SHARE


class FakeSearch:
    """Stands for searches: files of sizes in bytes that a function tells, by coarseness and share of the price."""

    def __init__(self, monkeypatch, size, counted=None):
        self.tried, self.ended = [], []
        fake = self

        class OneSearch:
            copy = copy

            channels, lost = RGB, 0.0

            def __init__(self, image, gaussians, coarseness, model, importance, price):
                self.coarseness, self.count = coarseness, len(gaussians)
                self.bits = 8 / filling.PROBED * (counted or size)(coarseness, LAST_SHARE)
                fake.tried.append(coarseness)

            def run(self, sweeps, share=1.0):
                self.share = share

        def write(search, model):
            fake.ended.append((search.coarseness, search.share))
            return bytes(size(search.coarseness, search.share))

        monkeypatch.setattr(filling, "Search", OneSearch)
        monkeypatch.setattr(filling, "write_found", write)


def size_by(cost, of_price=0.0):
    """Return the function that a size falls by 600 bytes where steps are twice as coarse, and so with the price."""
    return lambda coarseness, share: round(cost - 600 * math.log2(coarseness) - of_price * math.log(share / LAST_SHARE))


@pytest.mark.parametrize(
    ("cost", "room", "least"), [(4_000, 4_000, 0.99), (5_500, 5_000, 0.99), (3_500, 4_000, 0.99), (2_000, 4_000, 0)]
)
def test_steps_are_adapted_to_fill_the_size(monkeypatch, fitted, cost, room, least):
    """Bytes fall with the coarseness of steps, which is at most 2 and at least 1 / 2."""
    steps = FakeSearch(monkeypatch, size_by(cost))
    data = fill(None, Start(fitted, 1.0), room, 10)
    assert least * room <= len(data) <= room and len(steps.tried) <= 5
    assert all(0.5 <= each <= 2 for each in steps.tried)


@pytest.mark.parametrize("cost", [3_950, 3_980, 4_030])
def test_last_sweeps_fill_what_steps_leave(monkeypatch, fitted, cost):
    """They are done again at another price, and no other steps are tried."""
    steps = FakeSearch(monkeypatch, size_by(cost, of_price=50.0))
    assert 0.997 * 4_000 <= len(fill(None, Start(fitted, 1.0), 4_000, 10)) <= 4_000
    assert len(steps.tried) == 1 < len(steps.ended) <= 4


def test_steps_that_are_far_off_are_not_searched_to_the_end(monkeypatch, fitted):
    steps = FakeSearch(monkeypatch, size_by(4_550))
    assert 0.99 * 4_000 <= len(fill(None, Start(fitted, 1.0), 4_000, 10)) <= 4_000
    assert steps.tried[0] == 1.0 not in [coarseness for coarseness, _ in steps.ended]


@pytest.mark.parametrize("low", [0.8, 0.85, 0.9, 0.95])
@pytest.mark.parametrize("cost", [4_100, 4_200, 4_300, 4_400])
def test_estimates_that_are_too_low_end_in_no_file_that_is_too_large(monkeypatch, fitted, cost, low):
    size = size_by(cost)
    FakeSearch(monkeypatch, size, counted=lambda *of: (low if of[0] > 1 else 1) * size(*of))
    assert 0.97 * 4_000 <= len(fill(None, Start(fitted, 1.0), 4_000, 10)) <= 4_000


@pytest.mark.parametrize(("cost", "size"), [(2_000, 2_600), (8_000, 7_400)])
def test_steps_at_their_bounds_give_the_nearest_size(monkeypatch, fitted, cost, size):
    steps = FakeSearch(monkeypatch, size_by(cost))
    assert len(fill(None, Start(fitted, 1.0), 4_000, 10)) == size and len(steps.ended) == 1


@pytest.mark.parametrize("first", [2_800, 4_200, 3_900])
def test_largest_file_that_fits_is_taken_where_no_steps_fill_the_size(monkeypatch, fitted, first):
    leaps, written = iter([first, 4_300, 3_500, 4_200, 3_700, 4_400, 3_600, 3_800]), []
    FakeSearch(monkeypatch, lambda *_: written.append(next(leaps)) or written[-1], counted=lambda *_: 4_000)
    assert len(fill(None, Start(fitted, 1.0), 4_050, 2)) == max(size for size in written if size <= 4_050)
    assert len(written) > 2
