"""Figures of records: panels side by side, one style for each name, and one legend.

As in visualize/, pyplot is not used, and matplotlib is imported where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastgs.io.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
FONT_SIZE = 10.5  # points

FORMATS = ("png", "pdf", "svg")
# Dates that are left out of the files, by format.
_DATES: dict[str, dict[str, None]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}

# Okabe and Ito's colours, which the colour-blind can tell apart, less yellow, which is too pale for lines.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MARKERS = "osD^vP*Xp<"  # more than colours, so that no two names share both
_LINES = ("-", "--", ":")


@dataclass(frozen=True)
class PanelLayout:
    """Sizes of a figure of panels.

    Attributes:
        width: Width of a panel in inches.
        height: Height of a panel in inches.
        columns: Most panels in a row.
        legend: Width of the legend in inches.
    """

    width: float = 4.4
    height: float = 3.4
    columns: int = 3
    legend: float = 1.8


class Style(NamedTuple):
    """Appearance of a name, in matplotlib's terms."""

    color: str
    marker: str
    linestyle: str


def style(names: Sequence[str], name: str) -> Style:
    """Return the style of one of several names, the same in all figures."""
    index = names.index(name)
    return Style(
        _COLORS[index % len(_COLORS)],
        _MARKERS[index % len(_MARKERS)],
        _LINES[index // len(_COLORS) % len(_LINES)],
    )


def make_panels(count: int, layout: PanelLayout | None = None) -> tuple[Figure, list[Axes]]:
    """Return a figure with a number of empty panels, and the panels."""
    from matplotlib.figure import Figure

    layout = layout or PanelLayout()
    columns = min(count, layout.columns)
    rows = math.ceil(count / columns)
    size = (columns * layout.width + layout.legend, rows * layout.height)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def finish_panels(figure: Figure, panels: Sequence[Axes], names: Sequence[str], y_label: str) -> None:
    """Add what all panels share: label of the y axis, grid lines, and one legend beside them.

    Args:
        figure: Figure of the panels.
        panels: Panels, with all lines in them.
        names: Names in the order of the legend; those without a line are left out.
        y_label: Label of the y axis.
    """
    for axes in panels:
        axes.set_ylabel(y_label)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    labels = [name for name in names if name in handles]
    figure.legend([handles[label] for label in labels], labels, loc="outside right upper", frameon=False)


def set_title(axes: Axes, text: str) -> None:
    """Write the title of a panel, at its left edge; signs such as $ have no special meaning."""
    axes.set_title(text, loc="left", fontsize=FONT_SIZE, parse_math=False)


def set_ticks(axes: Axes, values: Sequence[int], base: int = 10) -> None:
    """Make the x axis logarithmic, with ticks at some values only."""
    axes.set_xscale("log", base=base)
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.minorticks_off()


def save_figures(folder: Path, figures: Mapping[str, Figure | None], form: str = "png") -> list[Path]:
    """Write figures under the names of their files, which tell of no format; None is left out.

    Args:
        folder: Folder to write to.
        figures: Figures by name.
        form: Format in `FORMATS`. The same figures make the same bytes.

    Returns:
        The paths of the files.

    Raises:
        OSError: The folder does not exist or is not writable, or the disk is full.
    """
    import matplotlib as mpl

    paths = []
    # Fonts that other programs can edit and journals accept, and identifiers that are the same each time.
    with mpl.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "fastgs"}):
        for name, figure in figures.items():
            if figure is not None:
                path = folder / f"{name}.{form}"
                with atomic_write(path) as temporary:
                    figure.savefig(temporary, metadata=_DATES[form])
                paths.append(path)
    return paths
