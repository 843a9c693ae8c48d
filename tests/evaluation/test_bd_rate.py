"""Differences of rate at equal PSNR (BD-rate)."""

import math

import pytest

from fastgs.metrics.bd_rate import rate_difference

CURVE = [(0.1, 25.0), (0.2, 28.0), (0.4, 31.0), (0.8, 34.0), (1.6, 36.5)]


def scaled(factor: float) -> list[tuple[float, float]]:
    return [(rate * factor, score) for rate, score in CURVE]


@pytest.mark.parametrize("factor", [1, 0.5, 2, 0.9])
@pytest.mark.parametrize("rates", [None, (0.1, 0.5), (0.15, 1.0), (0.01, 100)])
def test_difference_of_multiplied_rates(factor, rates):
    """The difference is the same everywhere, so it is on every interval."""
    found = rate_difference(scaled(factor), CURVE[::-1], rates)
    assert found.percent == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert found.share == 1
    assert found.low == pytest.approx(25 if rates in (None, (0.1, 0.5), (0.01, 100)) else found.low)
    assert rates != (0.1, 0.5) or 31 < found.high < 34


def test_difference_of_straight_lines():
    """Logarithms of rates are linear in PSNR, and their difference goes from log(1/2) to log(1/4)."""
    reference = [(0.1 * 2 ** (score / 3), 20.0 + score) for score in (0, 3, 4.5, 6, 9)]
    points = [(0.05 * 2 ** (score * 2 / 9), 20.0 + score) for score in (0, 2, 5, 9)]
    assert rate_difference(points, reference).percent == pytest.approx(100 * (2**-1.5 - 1))
    # Over the reference's rates from 0.1 to 0.2 it goes from log(1/2) a third of the way.
    part = rate_difference(points, reference, (0.1, 0.2))
    assert (part.low, part.high) == pytest.approx((20, 23))
    assert part.percent == pytest.approx(100 * (2 ** -(7 / 6) - 1))


def test_difference_is_antisymmetric():
    other = [(0.12, 26.0), (0.3, 30.0), (0.5, 31.5), (1.0, 34.0)]
    there, back = rate_difference(other, CURVE), rate_difference(CURVE, other)
    assert (1 + there.percent / 100) * (1 + back.percent / 100) == pytest.approx(1)
    assert (there.low, there.high) == (back.low, back.high) == (26, 34)
    assert there.share == pytest.approx(8 / 11.5)
    assert back.share == 1


def test_points_that_are_worse_for_more_rate_are_ignored():
    extra = [*CURVE, (0.3, 27.0), (0.8, 30.0), (0.41, 31.0), (0.2, 28.0)]
    assert rate_difference(extra, CURVE).percent == 0


@pytest.mark.parametrize(
    ("points", "rates", "reason"),
    [
        (CURVE[:2], None, "the codec has fewer than 3 points"),
        ([*CURVE[:2], (0.5, 28.0)], None, "the codec has fewer than 3 points"),
        ([], None, "the codec has fewer than 3 points"),
        ([(rate, score + 11.5) for rate, score in CURVE], None, "no PSNR in common"),
        (CURVE[2:], (0.1, 0.4), "no PSNR in common"),
        (CURVE, (2, 3), "the reference has no points around 2 to 3"),
        ([(0, 20), *CURVE], None, "the codec has a rate that is not positive, or a number that is not finite"),
        ([(0.1, math.nan), *CURVE], None, "the codec has a rate that is not positive, or a number that is not finite"),
    ],
)
def test_curves_without_a_difference(points, rates, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        rate_difference(points, CURVE, rates)
