"""Figures of codecs: PSNR and MS-SSIM over bits per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.evaluation.codecs.tables import CodecGrid, group
from fastgs.evaluation.figures import finish_panels, make_panels, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(records: Sequence[CodecRecord]) -> dict[str, Figure | None]:
    """Return all figures by file name; the last is None if images are too small for MS-SSIM.

    Args:
        records: Records of one size, at least one.
    """
    grid = group(records)
    is_large = any(record.ms_ssim is not None for record in records)
    return {
        "psnr-bpp": plot_rates(grid, "psnr", "PSNR in dB"),
        "ms-ssim-bpp": plot_rates(grid, "ms_ssim", "MS-SSIM") if is_large else None,
    }


def plot_rates(grid: CodecGrid, field: str, label: str) -> Figure:
    """Draw the mean of a measure over the mean rate of the files; rates that an image lacks are left out.

    Args:
        grid: Records by cell.
        field: Field of a record that is None nowhere or everywhere.
        label: Label of the y axis.
    """
    figure, (axes,) = make_panels(1)
    for curve in grid.curves:
        cells = [grid.cells[cell] for target in grid.targets if (cell := (curve, target)) in grid.whole]
        color, marker, line = style(grid.curves, curve)
        bits = [fmean(each.bpp or 0 for each in members) for members in cells]
        scores = [fmean(getattr(each, field) for each in members) for members in cells]
        axes.plot(bits, scores, color=color, linestyle=line, marker=marker, label=curve)
    axes.set_xlabel("bits per pixel, headers and all")
    axes.set_xlim(left=0)
    finish_panels(figure, [axes], grid.curves, label)
    return figure
