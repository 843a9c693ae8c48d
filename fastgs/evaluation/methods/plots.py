"""Figures of methods: PSNR over iterations, over seconds and over the number of Gaussians, and maps of errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np

from fastgs.evaluation.figures import (
    DPI,
    FONT_SIZE,
    finish_panels,
    make_panels,
    set_ticks,
    set_title,
    style,
)
from fastgs.evaluation.methods.curves import mean_curve
from fastgs.evaluation.methods.published_plots import plot_published
from fastgs.evaluation.methods.records import MethodRecord
from fastgs.evaluation.methods.tables import MethodGrid, group
from fastgs.evaluation.tables import group_by

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

_PICTURE = 2.8  # width of a picture in inches
_PICTURES = 5  # most pictures in a row


def figures(records: Sequence[MethodRecord]) -> dict[str, Figure | None]:
    """Return all figures by name; those for which there is nothing to draw are None.

    Args:
        records: Records of one size, at least one.
    """
    grid = group(records)
    return {
        "psnr-iterations": plot_runs(grid, seconds=False),
        "psnr-seconds": plot_runs(grid, seconds=True),
        "psnr-gaussians": plot_counts(grid),
        "published": plot_published(records),
        "errors": plot_errors(records),
    }


def plot_runs(grid: MethodGrid, seconds: bool) -> Figure:
    """Draw PSNR along the longest run of each method, a panel for each K; dots are the ends of all runs.

    Args:
        grid: Records by cell; cells that lack an image are left out.
        seconds: If True, the x axis is seconds, initialization included, and logarithmic; else iterations.
    """
    figure, panels = make_panels(len(grid.counts))
    for count, axes in zip(grid.counts, panels, strict=True):
        for method in grid.methods:
            runs = [grid.cells[cell] for budget in grid.budgets if (cell := (method, count, budget)) in grid.whole]
            if not seconds:
                runs = [run for run in runs if run[0].budget.iterations is not None] or runs
            if not runs:
                continue
            curves = [mean_curve(run) for run in runs]
            x = 1 if seconds else 0
            longest = max(curves, key=lambda curve: float(curve[x, -1]))
            color, marker, line = style(grid.methods, method)
            axes.plot(longest[x], longest[2], color=color, linestyle=line, marker=marker, markevery=[-1], label=method)
            axes.plot([curve[x, -1] for curve in curves], [curve[2, -1] for curve in curves], marker, color=color)
        set_title(axes, f"K = {count:,}")
        axes.set_xlabel("seconds of a fit, start included" if seconds else "iterations")
        if seconds:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
    finish_panels(figure, panels, grid.methods, "PSNR in dB")
    return figure


def plot_counts(grid: MethodGrid) -> Figure:
    """Draw PSNR at the end over K, a panel for each budget; cells that lack an image are left out."""
    figure, panels = make_panels(len(grid.budgets))
    for budget, axes in zip(grid.budgets, panels, strict=True):
        for method in grid.methods:
            cells = [(method, count, budget) for count in grid.counts if (method, count, budget) in grid.whole]
            scores = [float(np.mean([each.psnr for each in grid.cells[cell]])) for cell in cells]
            color, marker, line = style(grid.methods, method)
            axes.plot([cell[1] for cell in cells], scores, color=color, linestyle=line, marker=marker, label=method)
        set_title(axes, str(budget))
        set_ticks(axes, grid.counts)
        axes.set_xlabel("number of Gaussians, K")
    finish_panels(figure, panels, grid.methods, "PSNR in dB")
    return figure


def plot_errors(records: Sequence[MethodRecord]) -> Figure | None:
    """Draw the reconstructions of one image by all methods, and below each its errors.

    The image is the first that most methods have a picture of, at the largest K, and there at the longest budget.

    Returns:
        The figure; None if no picture was kept, or none is left.
    """
    shown = _select_pictures(records)
    if not shown:
        return None
    from fastgs.io.images import load_image  # deferred: tables need no torch

    target = load_image(Path(str(shown[0].picture)).with_name(shown[0].target_name()))
    images = [load_image(str(each.picture)) for each in shown]
    errors = [(image - target).abs().mean(dim=0).numpy() for image in images]
    # One scale for all, that of a middling method: the worst one's would turn the good ones black.
    limit = max(median_low(float(np.quantile(error, 0.998)) for error in errors), 1 / 255)

    figure, pairs = _make_picture_pairs(1 + len(shown), target)
    first = shown[0]
    legend = f"K = {first.num_gaussians:,}, {first.budget}\n\nAbsolute error, mean of the\nchannels: black is 0,\n"
    legend += f"the brightest {limit:.2f} or more\n({1 / limit:.0f} times amplified)"
    above, below = pairs[0]
    above.imshow(target.permute(1, 2, 0).numpy())
    set_title(above, Path(first.image).name)
    below.text(0.03, 0.97, legend, va="top", fontsize=FONT_SIZE, transform=below.transAxes)
    for (above, below), record, image, error in zip(pairs[1:], shown, images, errors, strict=True):
        above.imshow(image.permute(1, 2, 0).numpy())
        set_title(above, f"{record.method}, {record.psnr:.2f} dB")
        below.imshow(error, cmap="inferno", vmin=0, vmax=limit)
    return figure


def _select_pictures(records: Sequence[MethodRecord]) -> list[MethodRecord]:
    """Return the records of the image, K and budget that most methods have a picture of; empty if there are none."""
    kept = [record for record in records if record.picture is not None and Path(record.picture).is_file()]
    rivals = group_by(kept, lambda each: (each.image, each.sha256, each.seed, each.num_gaussians, each.budget)).values()

    def rank(members: list[MethodRecord]) -> tuple[int, int, bool, float]:
        by_seconds, length = members[0].budget.order
        return len(members), members[0].num_gaussians, not by_seconds, length

    return max(rivals, key=rank, default=[])


def _make_picture_pairs(count: int, image: Tensor) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Return a figure for pairs of pictures of an image's shape, one below the other, and the axes of each pair."""
    from matplotlib.figure import Figure

    columns = min(count, _PICTURES)
    blocks = math.ceil(count / columns)
    height = _PICTURE * image.shape[1] / image.shape[2]
    size = (columns * _PICTURE, blocks * (2 * height + 0.4))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(2 * blocks, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    places = [divmod(index, columns) for index in range(count)]
    return figure, [(grid[2 * block, column], grid[2 * block + 1, column]) for block, column in places]
