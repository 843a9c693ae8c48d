"""Learning rates that fall when the PSNR no longer rises."""

from __future__ import annotations

from collections.abc import Sequence


def reductions(
    progress: float, psnrs: Sequence[float], *, patience: float, threshold: float, begin: float = 0.0
) -> int:
    """Return how often patience has run out: once for every `patience` without a PSNR better than the best.

    Args:
        progress: Share of the run that is done, in [0, 1].
        psnrs: PSNRs in dB, at equal distances from the start until now.
        patience: Share of the run; at least from one PSNR to the next.
        threshold: Gain in dB that counts as better.
        begin: Share of the run before which nothing counts.
    """
    if progress <= begin or len(psnrs) < 2:
        return 0
    per_run = (len(psnrs) - 1) / progress
    allowed = max(1, round(patience * per_run))
    best, waited, count = float("-inf"), 0, 0
    for psnr in psnrs[round(begin * per_run) :]:
        if psnr > best + threshold:
            best, waited = psnr, 0
        else:
            waited += 1
            if waited == allowed:
                waited, count = 0, count + 1
    return count
