"""Output of a fit in tiles: the picture in strips, compared with the file that it was fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastgs.gaussians import Gaussians
from fastgs.giant.options import Progress
from fastgs.giant.plan import Plan
from fastgs.giant.source import Source
from fastgs.io.pixels import Floats
from fastgs.io.strips import TILE, write_strips
from fastgs.io.window import Window
from fastgs.metrics.quality import MAX_PSNR
from fastgs.render.strips import render_strips


@dataclass(frozen=True)
class Comparison:
    """Quality of a picture that was fitted in tiles.

    Attributes:
        psnr: PSNR in dB of all pixels.
        psnr_borders: PSNR in dB of the pixels near borders of tiles: so far away as the mean spacing of the Gaussians,
            and at least 8 pixels; None if there is one tile.
        psnr_inside: PSNR in dB of the other pixels; None if there is one tile, or none of them.
    """

    psnr: float
    psnr_borders: float | None
    psnr_inside: float | None


class Comparing:
    """Sums of squared errors, a strip of rows after the other.

    Args:
        plan: Plan of the fit.
    """

    def __init__(self, plan: Plan) -> None:
        width = max(8, math.ceil(math.sqrt(plan.height * plan.width / plan.num_gaussians)))
        self._rows = _near_borders(plan.height, plan.tile, width)
        self._columns = _near_borders(plan.width, plan.tile, width)
        self._near, self._all, self._channels = 0.0, 0.0, plan.kind.channels

    def add(self, top: int, strip: Floats, target: Floats) -> None:
        """Compare the rows from `top` on, (C, rows, W); the strip is clamped to [0, 1]."""
        errors = np.square(strip.clip(0, 1) - target).sum(0)
        near = self._rows[top : top + len(errors)]
        self._all += float(errors.sum(dtype=np.float64))
        self._near += float(errors[near].sum(dtype=np.float64))
        self._near += float(errors[~near][:, self._columns].sum(dtype=np.float64))

    def result(self) -> Comparison:
        """Return the PSNR of what was added, all rows."""
        height, width = len(self._rows), len(self._columns)
        inside = int((~self._rows).sum()) * int((~self._columns).sum())
        near = height * width - inside
        parts = (self._all, height * width), (self._near, near), (self._all - self._near, inside)
        whole, borders, rest = (_psnr(total, count * self._channels) for total, count in parts)
        assert whole is not None
        return Comparison(whole, borders, rest if near else None)


def _psnr(total: float, count: int) -> float | None:
    return None if not count else -10 * math.log10(max(total / count, 10 ** (-MAX_PSNR / 10)))


def _near_borders(length: int, tile: int, width: int) -> NDArray[np.bool_]:
    """Return which rows or columns are at most so many pixels away from a border between tiles."""
    place = np.arange(length) + 0.5
    border = np.rint(place / tile) * tile
    near: NDArray[np.bool_] = (np.abs(place - border) < width) & (border > 0) & (border < length)
    return near


def write_result(
    path: Path, gaussians: Gaussians, source: Source, plan: Plan, bits: int, pyramid: bool, progress: Progress
) -> Comparison:
    """Write the reconstruction as TIFF, and compare it with the picture on the way.

    Args:
        path: File to write.
        gaussians: Gaussians of all tiles.
        source: The picture.
        plan: Plan of the fit.
        bits: 8, 16, or 32 for floating point.
        pyramid: True to add smaller sizes.
        progress: Callable that is told how far the work is.

    Raises:
        ImageError: The picture cannot be read any more, or has changed.
        OSError: The file cannot be written.
    """
    comparing = Comparing(plan)

    def strips() -> Iterator[Floats]:
        for number, strip in enumerate(render_strips(gaussians.arrays(), plan.height, plan.width, TILE)):
            top = number * TILE
            window = Window(top, 0, strip.shape[1], plan.width)
            comparing.add(top, strip, plan.kind.conform(source.picture(window)).numpy())
            yield strip
            progress(min(1.0, (top + TILE) / plan.height), "writing")

    kind = plan.kind.samples(np.zeros((plan.kind.channels, 1, 1), np.float32))
    write_strips(path, strips(), kind, plan.height, plan.width, bits=bits, pyramid=pyramid)
    return comparing.result()
