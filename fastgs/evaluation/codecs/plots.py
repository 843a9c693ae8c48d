"""Records of codecs as figures: PSNR and MS-SSIM over bits per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.evaluation.codecs.tables import Rates, group
from fastgs.evaluation.methods.plots import finish, panels, save_figures, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_plots(folder: Path, records: Sequence[CodecRecord]) -> list[Path]:
    """Write psnr-bpp.png and, where images are large enough for it, ms-ssim-bpp.png.

    Args:
        folder: exists.
        records: of one size, at least one.

    Returns:
        The files.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    rates = group(records)
    drawings: dict[str, Figure | None] = {"psnr-bpp.png": over_rates(rates, "psnr", "PSNR in dB")}
    if any(record.ms_ssim is not None for record in records):
        drawings["ms-ssim-bpp.png"] = over_rates(rates, "ms_ssim", "MS-SSIM")
    return save_figures(folder, drawings)


def over_rates(rates: Rates, field: str, label: str) -> Figure:
    """The mean of a measure over the mean rate of the files; rates that an image lacks are left out.

    Args:
        rates: what to draw.
        field: of a record, that is None nowhere or everywhere.
        label: for the axis.
    """
    drawing, (axes,) = panels(1)
    for curve in rates.curves:
        cells = [rates.cells[cell] for target in rates.targets if (cell := (curve, target)) in rates.whole]
        color, marker, line = style(rates.curves, curve)
        bits = [fmean(each.bpp or 0 for each in members) for members in cells]
        scores = [fmean(getattr(each, field) for each in members) for members in cells]
        axes.plot(bits, scores, color=color, linestyle=line, marker=marker, label=curve)
    axes.set_xlabel("bits per pixel, headers and all")
    axes.set_xlim(left=0)
    finish(drawing, [axes], rates.curves, label)
    return drawing
