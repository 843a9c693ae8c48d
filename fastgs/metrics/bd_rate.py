"""BD-rate: the mean difference of rate between two codecs at equal PSNR.

The measure is that of Bjontegaard, "Calculation of average PSNR differences between RD-curves" (VCEG-M33, 2001). As
there, it averages logarithms of rates. Between the points, they are interpolated over PSNR by monotone piecewise cubics
(PCHIP) instead of one cubic through all points, which can overshoot; so do the later software of ITU-T, and Barman,
Martini and Reznik in "Bjontegaard Delta (BD): a tutorial overview" (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_POINTS = 3
_MIN_OVERLAP = 1e-3  # dB; the mean over a shorter interval would be noise

Point = tuple[float, float]  # rate, PSNR in dB


@dataclass(frozen=True)
class RateDifference:
    """Result of `rate_difference`.

    Attributes:
        percent: Mean difference of rate in percent, more than -100; negative if the codec needs less than the
            reference.
        low: Lower end in dB of the PSNR over which it is the mean.
        high: Upper end in dB.
        share: Length of [low, high] divided by that of the interval of PSNR that was asked for, in (0, 1].
    """

    percent: float
    low: float
    high: float
    share: float


def rate_difference(
    points: Sequence[Point], reference: Sequence[Point], rates: tuple[float, float] | None = None
) -> RateDifference:
    """Return the mean difference of rate between a codec and a reference, over the PSNR that both reach.

    It is `exp(mean over PSNR of (log rate - log reference rate)) - 1`. A point is ignored if another one has at least
    its PSNR at no more than its rate.

    Args:
        points: (rate, PSNR in dB) of the codec, in any order. Rates are positive, in bits per pixel or any other unit.
        reference: (rate, PSNR in dB) of the reference, with rates in the same unit.
        rates: Lowest and highest rate of the reference. The mean is then over the PSNR that the reference has between
            them, as far as its curve reaches. None takes the whole curve.

    Raises:
        ValueError: A rate is not positive or a number is not finite; a curve has fewer than 3 points that are not
            ignored; or the curves have no PSNR in common.

    Example:
        difference = rate_difference([(0.2, 28), (0.4, 31), (0.8, 34)], [(0.3, 28), (0.5, 31), (1.0, 34)])
        print(f"{difference.percent:.1f} %")
    """
    curve, other = _Curve(points, "the codec"), _Curve(reference, "the reference")
    low, high = other.low, other.high
    if rates is not None:
        low, high = other.psnr(rates[0]), other.psnr(rates[1])
        if high - low < _MIN_OVERLAP:
            raise ValueError(f"the reference has no points around {rates[0]:g} to {rates[1]:g}")
    asked = high - low
    low, high = max(low, curve.low), min(high, curve.high)
    if high - low < _MIN_OVERLAP:
        raise ValueError("no PSNR in common")
    mean = (curve.area(low, high) - other.area(low, high)) / (high - low)
    return RateDifference(percent=100 * float(np.expm1(mean)), low=low, high=high, share=(high - low) / asked)


class _Curve:
    """Logarithm of the rate as a function of PSNR.

    Attributes:
        low: Lowest PSNR in dB.
        high: Highest PSNR in dB.
    """

    def __init__(self, points: Sequence[Point], name: str) -> None:
        from scipy.interpolate import PchipInterpolator  # deferred: slow to import

        array = np.array(sorted(set(points)), dtype=np.float64).reshape(-1, 2)
        if not np.isfinite(array).all() or (array[:, 0] <= 0).any():
            raise ValueError(f"{name} has a rate that is not positive, or a number that is not finite")
        # Sorted by ascending rate, then by descending PSNR: a point is kept if its PSNR is above all before it.
        array = array[np.lexsort((-array[:, 1], array[:, 0]))]
        best = np.maximum.accumulate(np.concatenate([[-np.inf], array[:-1, 1]])) if len(array) else array[:, 1]
        array = array[array[:, 1] > best]
        if len(array) < MIN_POINTS:
            raise ValueError(f"{name} has fewer than {MIN_POINTS} points")
        self._rates, scores = np.log(array[:, 0]), array[:, 1]
        self._interpolator = PchipInterpolator(scores, self._rates)
        self.low, self.high = float(scores[0]), float(scores[-1])

    def psnr(self, rate: float) -> float:
        """Return the PSNR at a rate; for rates outside the curve, that of the nearer end."""
        log = float(np.log(rate))
        if log <= self._rates[0]:
            return self.low
        if log >= self._rates[-1]:
            return self.high
        return float(self._interpolator.solve(log, extrapolate=False)[0])

    def area(self, low: float, high: float) -> float:
        """Return the integral of the logarithm of the rate over an interval of PSNR."""
        return float(self._interpolator.integrate(low, high))
