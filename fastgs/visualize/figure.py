"""Figure of a fit.

The figure shows the input, where the Gaussians are, the reconstruction, and the quality over time.

Only `matplotlib.figure.Figure` is used, never pyplot, so no display is needed and there is no global state. matplotlib
is imported where it is used: it is slow to import, and a fit does not need it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fastgs.gaussians import Gaussians
from fastgs.io.files import atomic_write
from fastgs.metrics.quality import psnr
from fastgs.visualize.pictures import DOT, density_limit, density_of_centres, dim, error_limit, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[tuple[int, float, float]]  # (iteration, seconds, PSNR in dB)
Window = tuple[float, float, float, float]  # left, right, top, bottom in pixels

PANEL_WIDTH = 4.0  # inches
DPI = 160  # an image panel is 640 pixels wide
MAX_ELLIPSES = 1500  # in one panel; with more, single ellipses cannot be distinguished
TITLE = {"fontsize": 10.5, "loc": "left", "pad": 5, "y": 1.0}  # y is given so that a colour bar does not push it up


def figure(
    target: Tensor,
    image: Tensor,
    gaussians: Gaussians,
    initial: Gaussians | None = None,
    history: History = (),
) -> Figure:
    """Draw a fit: input, density of centres, sampled centres, Gaussians, reconstruction, error, and PSNR over time.

    Args:
        target: (C, H, W) input in [0, 1].
        image: (C, H, W) reconstruction, clamped to [0, 1].
        gaussians: Fitted Gaussians on the canvas of the target. They are drawn as ellipses at one standard deviation in
            their own colours. If there are more than `MAX_ELLIPSES`, only the most crowded part of the canvas is shown,
            and outlined in the input.
        initial: Gaussians that the fit began with, on the same canvas; None leaves out the two panels of centres.
        history: (iteration, seconds, PSNR in dB), in order; empty leaves out its panel.

    Returns:
        A figure of two rows of panels; `Figure.savefig` or `save_figure` writes it.

    Raises:
        ValueError: Target and image do not have the same shape (C, H, W).
    """
    from matplotlib.figure import Figure

    score = psnr(image, target)
    target, image = (show(values, gaussians.alpha) for values in (target, image))
    gaussians, initial = _show_colors(gaussians), None if initial is None else _show_colors(initial)
    window = _find_crowded_window(gaussians)
    panels: list[Callable[[Axes], None]] = [lambda axes: _draw_input(axes, target, window)]
    if initial is not None and len(initial):
        panels.append(lambda axes: _draw_density(axes, density_of_centres(initial), target, "Density of centres"))
    if initial is not None:
        panels.append(lambda axes: _draw_centres(axes, initial, target))
    panels.append(lambda axes: _draw_ellipses(axes, gaussians, window))
    panels.append(lambda axes: _draw_image(axes, image, f"Reconstruction, K = {len(gaussians):,}, {score:.2f} dB"))
    panels.append(lambda axes: _draw_error(axes, image, target))
    if history:
        panels.append(lambda axes: _draw_history(axes, history))

    columns = math.ceil(len(panels) / 2)
    height, width = target.shape[1:]
    panel_height = PANEL_WIDTH * min(max(height / width, 0.4), 3.0)
    drawing = Figure(figsize=(columns * PANEL_WIDTH, 2 * (panel_height + 0.35)), dpi=DPI, layout="constrained")
    drawing.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    grid = drawing.add_gridspec(2, columns)
    for index, draw in enumerate(panels):
        row, column = divmod(index, columns)
        # The last panel takes the space that an odd number of panels leaves.
        last = column + 1 if index + 1 < len(panels) else columns
        draw(drawing.add_subplot(grid[row, column:last]))
    return drawing


def save_figure(
    path: str | Path,
    target: Tensor,
    image: Tensor,
    gaussians: Gaussians,
    initial: Gaussians | None = None,
    history: History = (),
) -> None:
    """Draw a fit with `figure` and write it to a file, which is whole or absent.

    Args:
        path: File to write; its suffix (png, pdf, svg) chooses the format.
        target: (C, H, W) input in [0, 1].
        image: (C, H, W) reconstruction, clamped to [0, 1].
        gaussians: Fitted Gaussians on the canvas of the target.
        initial: Gaussians that the fit began with, or None.
        history: (iteration, seconds, PSNR in dB), in order.

    Raises:
        ValueError: Target and image do not have the same shape (C, H, W), or matplotlib does not know the suffix.
        OSError: The folder does not exist or is not writable, or the disk is full.
    """
    drawing = figure(target, image, gaussians, initial, history)
    with atomic_write(path) as temporary:
        drawing.savefig(temporary)


def _show_colors(gaussians: Gaussians) -> Gaussians:
    """Return Gaussians with the colours of `show`."""
    return replace(gaussians, colors=show(gaussians.colors.T, gaussians.alpha).T, alpha=False)


def _find_crowded_window(gaussians: Gaussians) -> Window | None:
    """Find a window around the most crowded part of the canvas that has MAX_ELLIPSES centres and the canvas's shape.

    Returns:
        The window, or None if there are no more Gaussians than that.
    """
    if len(gaussians) <= MAX_ELLIPSES:
        return None
    canvas = torch.tensor([gaussians.width, gaussians.height], dtype=torch.float64)
    means = gaussians.means.detach().cpu().double() / canvas
    cells = (means * 16).floor().clamp(0, 15).long()
    crowded = torch.bincount(cells[:, 1] * 16 + cells[:, 0], minlength=256).argmax()
    centre = (torch.stack([crowded % 16, crowded // 16]) + 0.5) / 16
    distance = (means - centre).abs().amax(dim=1)
    half = distance.kthvalue(MAX_ELLIPSES).values.clamp(max=0.5)
    centre = centre.clamp(half, 1 - half)  # the window stays inside the canvas
    (left, top), (right, bottom) = ((centre - half) * canvas).tolist(), ((centre + half) * canvas).tolist()
    return left, right, top, bottom


def _to_pixels(image: Tensor) -> NDArray[np.float32]:
    """Convert (C, H, W) to (H, W, C), reduced to what a panel can show: matplotlib would take gigabytes for more."""
    shrink = max(1, image.shape[2] // int(2 * PANEL_WIDTH * DPI))
    shown = avg_pool2d(image.detach().float(), shrink, ceil_mode=True) if min(image.shape[1:]) >= shrink else image
    pixels: NDArray[np.float32] = shown.permute(1, 2, 0).cpu().numpy()
    return pixels


def _finish_panel(axes: Axes, title: str) -> None:
    """Add a title to a panel, and remove its axes."""
    axes.set_title(title, **TITLE)  # type: ignore[arg-type]
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_image(axes: Axes, image: Tensor, title: str) -> None:
    # Pixel (row i, column j) has its centre at x = j + 0.5, y = i + 0.5, as in `Gaussians`.
    axes.imshow(_to_pixels(image.detach().clamp(0, 1)), extent=(0, image.shape[2], image.shape[1], 0))
    _finish_panel(axes, title)


def _draw_input(axes: Axes, target: Tensor, window: Window | None) -> None:
    from matplotlib.patches import Rectangle

    _draw_image(axes, target, f"Input, {target.shape[2]} × {target.shape[1]}")
    if window is not None:
        left, right, top, bottom = window
        for color, line in (("black", 2.4), ("white", 1.2)):  # legible on any photo
            axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=color, linewidth=line))


def _draw_density(axes: Axes, density: Tensor, target: Tensor, title: str) -> None:
    values = density.detach().float().cpu().numpy()
    axes.imshow(values, extent=(0, target.shape[2], target.shape[1], 0), vmin=0, vmax=density_limit(values))
    _finish_panel(axes, title)


def _draw_centres(axes: Axes, initial: Gaussians, target: Tensor) -> None:
    _draw_image(axes, dim(target), "Sampled centres")
    x, y = initial.means.detach().cpu().unbind(1)
    # Dots cover about a tenth of the panel (in points, 1/72 inch), whatever their number.
    area = 0.1 * (72 * PANEL_WIDTH) ** 2 * target.shape[1] / target.shape[2] / max(len(initial), 1)
    axes.scatter(x, y, s=min(max(area, 0.05), 9), c=DOT, linewidths=0, rasterized=True)
    axes.set(xlim=(0, target.shape[2]), ylim=(target.shape[1], 0))


def _draw_ellipses(axes: Axes, gaussians: Gaussians, window: Window | None) -> None:
    from matplotlib.collections import EllipseCollection

    left, right, top, bottom = window or (0, gaussians.width, 0, gaussians.height)
    x, y = gaussians.means.detach().cpu().unbind(1)
    reach = gaussians.scales.detach().cpu().amax(dim=1)
    seen = (x + reach >= left) & (x - reach <= right) & (y + reach >= top) & (y - reach <= bottom)
    # The largest are drawn first, so that they do not hide small ones.
    order = seen.nonzero().squeeze(1)[reach[seen].argsort(descending=True)]
    means, scales, rotations, colors = (
        getattr(gaussians, name).detach().cpu().double()[order].numpy()
        for name in ("means", "scales", "rotations", "colors")
    )
    ellipses = EllipseCollection(
        2 * scales[:, 0],
        2 * scales[:, 1],
        np.degrees(rotations),
        units="xy",
        offsets=means,
        offset_transform=axes.transData,
        facecolors=np.clip(colors, 0, 1),
        edgecolors=(0, 0, 0, 0.35),
        linewidths=0.25,
        rasterized=True,
    )
    axes.add_collection(ellipses, autolim=False)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", facecolor="0.15")
    zoom = "" if window is None else f", densest part ({gaussians.width / (right - left):.1f}×)"
    _finish_panel(axes, f"Gaussians at 1σ{zoom}")


def _draw_error(axes: Axes, image: Tensor, target: Tensor) -> None:
    height, width = target.shape[1:]
    error = (image.detach().clamp(0, 1) - target).abs().mean(dim=0, keepdim=True)
    pixels = _to_pixels(error)
    shown = axes.imshow(pixels, extent=(0, width, height, 0), cmap="magma", vmin=0, vmax=error_limit(pixels))
    _finish_panel(axes, f"Absolute error, mean {error.mean():.3f}")
    # The colour bar is beside the title, so that this picture is as large as the others.
    inch = 1 / (PANEL_WIDTH * height / width)
    bar = axes.figure.colorbar(
        shown, cax=axes.inset_axes((0.6, 1 + 0.07 * inch, 0.4, 0.08 * inch)), orientation="horizontal", extend="max"
    )
    bar.ax.xaxis.set_ticks_position("top")
    bar.ax.locator_params(nbins=4)
    bar.ax.tick_params(labelsize=7, length=2, pad=1)
    bar.outline.set_visible(False)


def _draw_history(axes: Axes, history: History) -> None:
    """Draw PSNR over seconds, with ticks at round iterations that show both."""
    from matplotlib.ticker import MaxNLocator

    iterations, seconds, scores = np.array(history, dtype=np.float64).T
    axes.plot(seconds, scores, color="#2a6f97", linewidth=1.8)
    axes.plot(seconds[-1], scores[-1], "o", color="#2a6f97")
    axes.annotate(f"{scores[-1]:.2f}", (seconds[-1], scores[-1]), (0, -14), textcoords="offset points", ha="right")
    axes.set_title("PSNR in dB over iterations and seconds", **TITLE)  # type: ignore[arg-type]
    ticks = MaxNLocator(5, integer=True).tick_values(iterations[0], iterations[-1])
    ticks = ticks[(ticks >= iterations[0]) & (ticks <= iterations[-1])]
    times = np.interp(ticks, iterations, seconds)
    axes.set_xticks(times, [f"{tick:,.0f}\n{time:.3g} s" for tick, time in zip(ticks, times, strict=True)])
    axes.tick_params(labelsize=8, length=0)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
