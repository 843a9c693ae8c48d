"""Figure of enlarging: one detail of an image as all ways show it, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastgs.evaluation.figures import DPI, set_title
from fastgs.evaluation.tables import group_by
from fastgs.evaluation.zoom.records import ZoomRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

WINDOW = 96  # side of the detail in pixels
_PANEL = 2.6  # side of a panel in inches


def figures(records: Sequence[ZoomRecord]) -> Mapping[str, Figure | None]:
    """Return the figures of some records by file name; None for those that the records do not allow."""
    return {"details": plot_details(records)}


def plot_details(records: Sequence[ZoomRecord]) -> Figure | None:
    """Draw a detail of one image as every way shows it, a row for each factor, beside the original.

    The image is the first that most ways have a picture of, and the detail the square with the largest variance.

    Returns:
        The figure; None if no picture was kept, or none is left.
    """
    kept = [record for record in records if record.picture is not None and Path(record.picture).is_file()]
    images = group_by(kept, lambda each: (each.image, each.sha256)).values()
    shown = max(images, key=len, default=[])
    if not shown:
        return None
    from matplotlib.figure import Figure

    from fastgs.io.images import load_image  # deferred: tables need no torch

    target = load_image(Path(str(shown[0].picture)).with_name(shown[0].target_name()))
    top, left = _find_detail(target)
    rows = sorted(group_by(shown, lambda each: each.zoom).items())
    columns = 1 + max(len(members) for _, members in rows)
    size = (columns * _PANEL, len(rows) * (_PANEL + 0.3))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for line, (zoom, members) in zip(panels, rows, strict=True):
        pictures = [(f"{Path(shown[0].image).name}, x{zoom:g}", target)]
        pictures += [(f"{each.enlarger}, {each.psnr:.2f} dB", load_image(str(each.picture))) for each in members]
        for axes, (title, picture) in zip(line, pictures, strict=False):
            detail = picture[:, top : top + WINDOW, left : left + WINDOW]
            axes.imshow(detail.permute(1, 2, 0).numpy(), interpolation="nearest")
            set_title(axes, title)
    return figure


def _find_detail(image: Tensor) -> tuple[int, int]:
    """Return the top and left of the square with the largest variance, among those at half their side apart."""
    _, height, width = image.shape
    gray, side = image.mean(0), WINDOW
    places = [
        (float(gray[top : top + side, left : left + side].var()), -top, -left)
        for top in range(0, max(1, height - side + 1), side // 2)
        for left in range(0, max(1, width - side + 1), side // 2)
    ]
    _, top, left = max(places)
    return -top, -left
