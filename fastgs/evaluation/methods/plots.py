"""Records as figures: PSNR over steps, over seconds and over K, and where methods err.

As in visualize.py, no pyplot, and matplotlib is imported where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastgs.evaluation.methods.records import Record
from fastgs.evaluation.methods.tables import Grid, group
from fastgs.io.files import atomic_write
from fastgs.io.images import load_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can tell apart, less yellow, which is too pale for lines.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = "osD^vP*Xp<"  # more than colours, so that no two methods share both
LINES = ("-", "--", ":")

PANEL = (4.4, 3.4)  # inches
COLUMNS = 3  # panels in a row
PICTURE = 2.8  # inches
PICTURES = 5  # in a row
DPI = 160
SHARES = np.linspace(0, 1, 201) ** 2  # of a run, more of them at its beginning, where PSNR climbs


def save_plots(folder: Path, records: Sequence[Record]) -> list[Path]:
    """Write psnr-iterations.png, psnr-seconds.png, psnr-gaussians.png and, if pictures were kept, errors.png.

    Args:
        folder: exists.
        records: of one size, at least one.

    Returns:
        The files.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    grid = group(records)
    drawings = {
        "psnr-iterations.png": over_run(grid, seconds=False),
        "psnr-seconds.png": over_run(grid, seconds=True),
        "psnr-gaussians.png": over_counts(grid),
        "errors.png": error_maps(records),
    }
    return save_figures(folder, drawings)


def save_figures(folder: Path, drawings: Mapping[str, Figure | None]) -> list[Path]:
    """Write figures by the names of their files, and give their paths; None is left out.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    paths = []
    for name, drawing in drawings.items():
        if drawing is not None:
            with atomic_write(folder / name) as temporary:
                drawing.savefig(temporary)
            paths.append(folder / name)
    return paths


def over_run(grid: Grid, seconds: bool) -> Figure:
    """PSNR along the longest runs of each method, a panel for each K; dots are the ends of all runs.

    Args:
        grid: what to draw; cells that lack an image are left out.
        seconds: PSNR over seconds, start included, on a logarithmic axis; over steps if not.
    """
    drawing, all_axes = panels(len(grid.counts))
    for count, axes in zip(grid.counts, all_axes, strict=True):
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
        axes.set_title(f"K = {count:,}", loc="left", fontsize=10.5)
        axes.set_xlabel("seconds of a fit, start included" if seconds else "iterations")
        if seconds:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
    finish(drawing, all_axes, grid.methods, "PSNR in dB")
    return drawing


def over_counts(grid: Grid) -> Figure:
    """PSNR at the end over K, a panel for each budget; cells that lack an image are left out."""
    drawing, all_axes = panels(len(grid.budgets))
    for budget, axes in zip(grid.budgets, all_axes, strict=True):
        for method in grid.methods:
            cells = [(method, count, budget) for count in grid.counts if (method, count, budget) in grid.whole]
            scores = [float(np.mean([each.psnr for each in grid.cells[cell]])) for cell in cells]
            color, marker, line = style(grid.methods, method)
            axes.plot([cell[1] for cell in cells], scores, color=color, linestyle=line, marker=marker, label=method)
        axes.set_title(str(budget), loc="left", fontsize=10.5)
        axes.set_xscale("log")
        axes.set_xticks(grid.counts, [f"{count:,}" for count in grid.counts])
        axes.minorticks_off()
        axes.set_xlabel("number of Gaussians, K")
    finish(drawing, all_axes, grid.methods, "PSNR in dB")
    return drawing


def mean_curve(records: Sequence[Record]) -> NDArray[np.float64]:
    """(3, len(SHARES)) steps, seconds with the start, and PSNR in dB, each the mean at equal shares of the runs.

    So the last point is the mean of the ends, as in tables, though every image takes its own time.
    """
    curves = []
    for record in records:
        steps, seconds, scores = np.array(record.history, dtype=np.float64).T
        shares = steps / max(steps[-1], 1)
        curves.append(
            [
                np.interp(SHARES, shares, values)
                for values in (steps, seconds + record.seconds - record.seconds_fit, scores)
            ]
        )
    mean: NDArray[np.float64] = np.mean(curves, axis=0)
    return mean


def error_maps(records: Sequence[Record]) -> Figure | None:
    """The first image that most methods have a picture of: each one's reconstruction, and below it its errors.

    At the largest K, and there at the longest budget. None if no picture was kept, or none is left.
    """
    from matplotlib.figure import Figure

    rivals: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.picture is not None and Path(record.picture).is_file():
            same = (record.image, record.sha256, record.seed, record.num_gaussians, record.budget)
            rivals.setdefault(same, []).append(record)
    if not rivals:
        return None
    shown = max(rivals.values(), key=lambda each: (len(each), each[0].num_gaussians, _length(each[0])))
    target = load_image(Path(str(shown[0].picture)).with_name(shown[0].target_name()))
    images = [load_image(str(each.picture)) for each in shown]
    errors = [(image - target).abs().mean(dim=0).numpy() for image in images]
    # One scale for all, of a middling method: the worst one's would turn the good ones black.
    limit = max(median_low(float(np.quantile(error, 0.998)) for error in errors), 1 / 255)

    columns = min(1 + len(shown), PICTURES)
    blocks = math.ceil((1 + len(shown)) / columns)
    height = PICTURE * target.shape[1] / target.shape[2]
    drawing = Figure(figsize=(columns * PICTURE, blocks * (2 * height + 0.4)), dpi=DPI, layout="constrained")
    grid = drawing.subplots(2 * blocks, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    first = shown[0]
    grid[0, 0].imshow(target.permute(1, 2, 0).numpy())
    grid[0, 0].set_title(Path(first.image).name, loc="left", fontsize=10.5, parse_math=False)
    legend = f"K = {first.num_gaussians:,}, {first.budget}\n\nAbsolute error, mean of the\nchannels: black is 0,\n"
    legend += f"the brightest {limit:.2f} or more\n({1 / limit:.0f} times amplified)"
    grid[1, 0].text(0.03, 0.97, legend, va="top", fontsize=10.5, transform=grid[1, 0].transAxes)
    for index, (record, image, error) in enumerate(zip(shown, images, errors, strict=True), start=1):
        block, column = divmod(index, columns)
        above, below = grid[2 * block, column], grid[2 * block + 1, column]
        above.imshow(image.permute(1, 2, 0).numpy())
        above.set_title(f"{record.method}, {record.psnr:.2f} dB", loc="left", fontsize=10.5)
        below.imshow(error, cmap="inferno", vmin=0, vmax=limit)
    return drawing


def _length(record: Record) -> tuple[bool, float]:
    """Orders budgets: steps before seconds, long before short."""
    budget = record.budget
    return budget.iterations is not None, budget.seconds or budget.iterations or 0.0


def style(names: Sequence[str], name: str) -> tuple[str, str, str]:
    """Colour, marker and line of one of several names, the same in all figures."""
    index = names.index(name)
    kind = index % len(COLORS)
    return COLORS[kind], MARKERS[index % len(MARKERS)], LINES[index // len(COLORS) % len(LINES)]


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many empty panels."""
    from matplotlib.figure import Figure

    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    drawing = Figure(figsize=(columns * PANEL[0] + 1.8, rows * PANEL[1]), dpi=DPI, layout="constrained")
    return drawing, [drawing.add_subplot(rows, columns, index + 1) for index in range(count)]


def finish(drawing: Figure, all_axes: Sequence[Axes], names: Sequence[str], measure: str) -> None:
    """Grid lines, what is upright, and one legend beside the panels, in the order of the names."""
    for axes in all_axes:
        axes.set_ylabel(measure)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    handles = {
        label: handle for axes in all_axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    labels = [name for name in names if name in handles]
    drawing.legend([handles[label] for label in labels], labels, loc="outside right upper", frameon=False)
