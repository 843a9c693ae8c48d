"""Effort of an encoder: the time that it takes for a better image at the same size, a number from 1 to 9."""

from __future__ import annotations

from dataclasses import dataclass

from fastgs.fitting.options import check_integer


@dataclass(frozen=True)
class Effort:
    """Work of the encoder of the scheme "fastgs".

    Attributes:
        iterations: Number of steps of a fit.
        sweeps: Number of times that the search of symbols moves each Gaussian.
        rounds: Number of searches of three sweeps, each with a short fit behind it, before that search.
        refits: True if a photo whose Gaussians are mostly not worth their bits is fitted again with more of them.
        starts: Number of random seeds, each with fits and files of its own, the best of which is kept. Each but the
            first begins with as many Gaussians as the one before has found to be right.
    """

    iterations: int
    sweeps: int
    rounds: int = 0
    refits: bool = False
    starts: int = 1


# How the values were found: benchmarks/LOG.md, section "Effort".
EFFORTS = {
    1: Effort(60, 2),
    2: Effort(90, 2),
    3: Effort(130, 3),
    4: Effort(200, 4),
    5: Effort(350, 5),
    6: Effort(500, 7, 2),
    7: Effort(1000, 8, 8, True),
    8: Effort(1000, 8, 8, True, starts=2),
    9: Effort(1000, 12, 12, True, starts=4),
}
DEFAULT_EFFORT = 4


def check_effort(effort: int) -> None:
    """Check that there is such an effort.

    Raises:
        ValueError: There is none; one line that begins with "effort: ".
    """
    check_integer("effort", effort, least=min(EFFORTS))
    if effort not in EFFORTS:
        raise ValueError(f"effort: must be from {min(EFFORTS)} to {max(EFFORTS)}, got {effort}")
