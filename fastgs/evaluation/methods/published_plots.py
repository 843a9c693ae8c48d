"""Figure of published results beside what was measured: PSNR over the number of Gaussians, and over seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastgs.evaluation.figures import Style, finish_panels, make_panels, set_ticks, set_title, style
from fastgs.evaluation.methods.curves import mean_curve
from fastgs.evaluation.methods.published import (
    by_configuration,
    estimate_configuration,
    published_results,
    reference_of,
)
from fastgs.evaluation.methods.records import MethodRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_published(records: Sequence[MethodRecord]) -> Figure | None:
    """Draw the means of `published_table` over K, and the course of the fits over seconds, a panel for each K.

    Filled signs are what was measured, hollow ones what papers report, over seconds where they tell of any. Means are
    those of all images, estimated as in the table, and curves are moved by what this differs from those of the images.

    Args:
        records: Records of one size.

    Returns:
        The figure; None if nothing was fitted at the length of a paper.
    """
    cells = by_configuration(records)
    reported = {cell: each for cell, each in published_results().items() if cell in cells}
    if not reported:
        return None
    counts = sorted({cell.num_gaussians for cell in reported})
    ours = dict.fromkeys(map(reference_of, reported))
    shown = [*(cell for cell in ours if cell in cells), *reported]
    means = {cell: estimate_configuration(cells, cell).psnr for cell in shown}
    names = list(dict.fromkeys(cell.method for cell in shown))

    figure, (over_counts, *over_seconds) = make_panels(1 + len(counts))
    for name in names:
        color, marker, line = look = style(names, name)
        mine = sorted((cell for cell in shown if cell.method == name), key=lambda cell: cell.num_gaussians)
        points = [means[cell] for cell in mine]
        over_counts.plot(
            [cell.num_gaussians for cell in mine], points, color=color, linestyle=line, marker=marker, label=name
        )
        for cell in mine:
            axes = over_seconds[counts.index(cell.num_gaussians)]
            _, seconds, psnrs = mean_curve(cells[cell])
            axes.plot(seconds, psnrs + means[cell] - psnrs[-1], color=color, linestyle=line, label=name)
            axes.plot(seconds[-1:], [means[cell]], marker, color=color)
            if cell in reported:
                _mark(over_counts, cell.num_gaussians, reported[cell].psnr, look)
                if (seconds_of_paper := reported[cell].seconds) is not None:
                    _mark(axes, seconds_of_paper, reported[cell].psnr, look)
    set_title(over_counts, "filled: measured, hollow: published")
    set_ticks(over_counts, counts)
    over_counts.set_xlabel("number of Gaussians, K")
    for count, axes in zip(counts, over_seconds, strict=True):
        set_title(axes, f"K = {count:,}")
        axes.set_xlabel("seconds of a fit, start included")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    finish_panels(figure, [over_counts, *over_seconds], names, "PSNR in dB")
    return figure


def _mark(axes: Axes, x: float, y: float, look: Style) -> None:
    """Draw a hollow sign."""
    axes.plot([x], [y], marker=look.marker, color=look.color, markerfacecolor="none", linestyle="none")
