"""The mean difference of rate at equal quality of two codecs (Bjontegaard, "Calculation of average PSNR differences
between RD-curves", VCEG-M33, 2001).

Rates are logarithms, as there. Between the points they are monotone piecewise cubics (PCHIP) over PSNR in place of one
cubic through all points, which can overshoot: so do ITU-T's later software, and Barman, Martini and Reznik in
"Bjontegaard Delta (BD): a tutorial overview" (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

MIN_POINTS = 3
_MIN_OVERLAP = 1e-3  # dB; below that the mean is of nothing but noise

Point = tuple[float, float]


@dataclass(frozen=True)
class RateDifference:
    """What `rate_difference` gives.

    Attributes:
        percent: mean difference of rate, more than -100; negative if the codec needs less than the reference.
        low, high: the PSNR in dB between which it is the mean.
        share: of the PSNR that the reference has in the interval of rates that was asked for; in (0, 1].
    """

    percent: float
    low: float
    high: float
    share: float


def rate_difference(
    points: Sequence[Point], reference: Sequence[Point], rates: tuple[float, float] | None = None
) -> RateDifference:
    """How much more rate a codec needs than a reference, on the mean over the PSNR that both have.

    `exp(mean over PSNR of (log rate - log reference rate)) - 1`. Points that need no less rate than another of at
    least their PSNR count for nothing.

    Args:
        points: (rate, PSNR in dB) of the codec, in any order; rates are positive, in bits per pixel or any unit.
        reference: the same of the reference, in the same unit.
        rates: an interval of rates of the reference. It stands for the PSNR that the reference has from the one to the
            other, on its curve; as far as the curve goes. None takes the whole curve.

    Raises:
        ValueError: a rate is not positive or a number not finite; a curve has fewer than 3 points that count; or the
            curves have no PSNR in common there.
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
    """Log of the rate over PSNR.

    Attributes:
        low, high: its ends in dB.
    """

    def __init__(self, points: Sequence[Point], name: str) -> None:
        array = np.array(sorted(set(points)), dtype=np.float64).reshape(-1, 2)
        if not np.isfinite(array).all() or (array[:, 0] <= 0).any():
            raise ValueError(f"{name} has a rate that is not positive, or a number that is not finite")
        # Ascending rates, so a point counts if its PSNR is above all before it; of one rate only the best does.
        array = array[np.lexsort((-array[:, 1], array[:, 0]))]
        best = np.maximum.accumulate(np.concatenate([[-np.inf], array[:-1, 1]])) if len(array) else array[:, 1]
        array = array[array[:, 1] > best]
        if len(array) < MIN_POINTS:
            raise ValueError(f"{name} has fewer than {MIN_POINTS} points")
        self._rates, scores = np.log(array[:, 0]), array[:, 1]
        self._interpolator = PchipInterpolator(scores, self._rates)
        self.low, self.high = float(scores[0]), float(scores[-1])

    def psnr(self, rate: float) -> float:
        """Where the curve has a rate, or its nearer end."""
        log = float(np.log(rate))
        if log <= self._rates[0]:
            return self.low
        if log >= self._rates[-1]:
            return self.high
        return float(self._interpolator.solve(log, extrapolate=False)[0])

    def area(self, low: float, high: float) -> float:
        """The integral of the log over PSNR."""
        return float(self._interpolator.integrate(low, high))
