"""Coarse picture of a file that was cut: colours that were not read, and holes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgs.codec.frame import FormatError
from fastgs.definition import GaussianArrays

# Holes that a cut file leaves are filled with blurry Gaussians.
FILLERS = 4  # cells that are looked at for each Gaussian that is there
THIN = 0.1  # sum of the weights below which a cell is a hole
# Cells for each Gaussian of the picture that missing colours are taken from: a canvas may be far larger than its file.
DETAIL = 64


def complete(gaussians: GaussianArrays, has_color: NDArray[np.bool_]) -> GaussianArrays:
    """Return the Gaussians of a file that was cut together with what stands for the missing ones.

    A colour that was not read is the mean of two guesses: the one that came, from the neighbours in the same layer, and
    the picture without such Gaussians (benchmarks/LOG.md, "Streams").

    Args:
        gaussians: (K,) Gaussians that are there.
        has_color: (K,) mask of those whose colours were read, at least in part.

    Raises:
        FormatError: There are none.
    """
    if not len(gaussians):
        raise FormatError("is cut before its first Gaussians")
    if has_color.any() and not has_color.all():
        rows, columns, _ = _size_cells(gaussians, DETAIL)
        rows, columns = min(rows, gaussians.height), min(columns, gaussians.width)
        image = _render(fill_holes(_select(gaussians, has_color)), rows, columns)
        cells = gaussians.means[~has_color] * [columns / gaussians.width, rows / gaussians.height]
        column, row = np.minimum(cells.astype(np.int64), [columns - 1, rows - 1]).T
        around = image[:, row, column].T
        colors = gaussians.colors.copy()
        colors[~has_color] = (colors[~has_color] + around) / 2
        gaussians = replace(gaussians, colors=colors)
    return fill_holes(gaussians)


def _select(gaussians: GaussianArrays, chosen: NDArray[np.bool_]) -> GaussianArrays:
    """Return some of the Gaussians, given a (K,) mask."""
    fields = {name: getattr(gaussians, name)[chosen] for name in ("means", "scales", "rotations", "colors")}
    return replace(gaussians, **fields)


def _size_cells(gaussians: GaussianArrays, per_gaussian: int) -> tuple[int, int, float]:
    """Return the numbers of rows and columns of cells, so many for each Gaussian, and the side of one in pixels."""
    height, width = gaussians.height, gaussians.width
    cell = math.sqrt(height * width / (per_gaussian * len(gaussians)))
    return max(1, round(height / cell)), max(1, round(width / cell)), cell


def _render(gaussians: GaussianArrays, height: int, width: int) -> NDArray[np.float32]:
    from fastgs.render.cpu_arrays import render  # deferred: brings in numba, which whole files do not need

    return render(gaussians, height, width)


def fill_holes(gaussians: GaussianArrays) -> GaussianArrays:
    """Add blurry Gaussians, of the colours around, where the first layers of a file leave the canvas black."""
    from scipy.ndimage import distance_transform_edt  # deferred like the renderer

    height, width = gaussians.height, gaussians.width
    rows, columns, cell = _size_cells(gaussians, FILLERS)
    image = _render(gaussians, rows, columns)
    ones = replace(gaussians, colors=np.ones_like(gaussians.colors), blend="sum")
    holes = _render(ones, rows, columns)[0] < THIN
    if not holes.any() or holes.all():
        return gaussians
    nearest = distance_transform_edt(holes, return_distances=False, return_indices=True)
    row, column = np.nonzero(holes)
    means = np.stack([(column + 0.5) * width / columns, (row + 0.5) * height / rows], 1).astype(np.float32)
    colors = image[:, nearest[0][holes], nearest[1][holes]].T
    return replace(
        gaussians,
        means=np.concatenate([gaussians.means, means]),
        scales=np.concatenate([gaussians.scales, np.full_like(means, 0.7 * cell)]),
        rotations=np.concatenate([gaussians.rotations, np.zeros(len(means), np.float32)]),
        colors=np.concatenate([gaussians.colors, colors]),
    )
