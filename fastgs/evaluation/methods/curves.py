"""Mean course of several runs of a method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastgs.evaluation.methods.records import MethodRecord

# Shares of a run at which its curve is drawn, denser at the beginning, where PSNR climbs.
SHARES = np.linspace(0, 1, 201) ** 2


def mean_curve(records: Sequence[MethodRecord]) -> NDArray[np.float64]:
    """Return the mean course of several runs at equal shares of their iterations.

    The last point is the mean of the ends, as in tables, though every run takes its own time.

    Returns:
        (3, len(SHARES)) iterations, seconds with the initialization, and PSNR in dB.
    """
    curves = []
    for record in records:
        iterations, seconds, scores = np.array(record.history, dtype=np.float64).T
        shares = iterations / max(iterations[-1], 1)
        courses = (iterations, seconds + record.seconds - record.seconds_fit, scores)
        curves.append([np.interp(SHARES, shares, course) for course in courses])
    mean: NDArray[np.float64] = np.mean(curves, axis=0)
    return mean
