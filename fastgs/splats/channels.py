"""Channels: Gaussians as arrays of numbers for networks, and the range of these numbers.

There are two parametrizations of the same K Gaussians, both of shape (N, K, C), with C = 8 for RGB: five channels of
geometry, and one for each channel of the images (see `COLORS`).

- "plain": centre as a fraction of the canvas, logarithms of both scales, angle, colour. Equal Gaussians can have
  different channels (axes swapped, angle turned by half a circle), and the channels jump where an ellipse becomes a
  circle.
- "anchored": each Gaussian belongs to a cell of a grid over the canvas, and its centre is an offset from the centre of
  the cell in units of cells; the ellipse is the matrix logarithm of its standard deviations,
  `size I + [[p, q], [q, -p]]`, a smooth and unique coordinate of the ellipse. Equal channels of neighbours thus mean
  equal appearance, as with pixels.

Gaussians belong to cells by their order, row by row, as `fastgs.initializers.grid` places them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fastgs.data.symmetry import turn_image
from fastgs.fitting.parametrization import Attributes
from fastgs.gaussians import CHANNELS as RGB
from fastgs.io.pixels import MAX_CHANNELS
from fastgs.splats.kinds import COLORS as COLORS
from fastgs.splats.kinds import Channels as Channels

Parameters = Literal["plain", "anchored"]

# Channels of a Gaussian but its colour.
GEOMETRY: dict[Parameters, tuple[str, ...]] = {
    "plain": ("x", "y", "log_scale_1", "log_scale_2", "rotation"),
    "anchored": ("offset_x", "offset_y", "size", "stretch_p", "stretch_q"),
}
GEOMETRY_CHANNELS = 5


def channel_names(parameters: Parameters, colors: int = RGB) -> tuple[str, ...]:
    """Return the names of the channels of a Gaussian.

    Args:
        parameters: Parametrization.
        colors: Number of channels of the images, from 1 to 32. Numbers that no entry of `COLORS` has are named
            "color_1", "color_2", ...
    """
    numbered = tuple(f"color_{number}" for number in range(1, colors + 1))
    return GEOMETRY[parameters] + next((names for names in COLORS.values() if len(names) == colors), numbered)


def attribute_slices(parameters: Parameters, colors: int = RGB) -> dict[str, slice]:
    """Return the channels of each attribute, for autoencoders with one network per attribute.

    Args:
        parameters: Parametrization.
        colors: Number of channels of the images.
    """
    last = slice(GEOMETRY_CHANNELS, GEOMETRY_CHANNELS + colors)
    if parameters == "plain":
        return {"means": slice(0, 2), "scales": slice(2, 4), "rotations": slice(4, 5), "colors": last}
    return {"means": slice(0, 2), "covariances": slice(2, GEOMETRY_CHANNELS), "colors": last}


def channels_of(colors: int) -> Channels | None:
    """Return the kind of images that have a number of channels; None if there is no such kind in `COLORS`."""
    return next((name for name, names in COLORS.items() if len(names) == colors), None)


# Names of the channels, and channels of each attribute, of RGB images.
CHANNELS: dict[Parameters, tuple[str, ...]] = {name: channel_names(name) for name in GEOMETRY}
ATTRIBUTES: dict[Parameters, dict[str, slice]] = {name: attribute_slices(name) for name in GEOMETRY}

# Fraction of the values of a channel that lie beyond its range on either side, and are clamped to its end.
TAIL = 1e-3

# Added under the square root in |(p, q)|, which has no gradient at circles.
EPSILON = 1e-6


def grid_shape(num_gaussians: int, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of the grid of cells on a canvas of height x width pixels.

    Raises:
        ValueError: The number of Gaussians is not a number of rows times a number of columns on this canvas.
    """
    rows = max(1, round(math.sqrt(num_gaussians * height / width)))
    if num_gaussians % rows:
        raise ValueError(
            f"num_gaussians: {num_gaussians} cells make no grid of {rows} rows on {height} x {width} pixels; "
            "take rows times columns in the proportion of the canvas, such as 1024 or 256 on a square"
        )
    return rows, num_gaussians // rows


def to_channels(gaussians: Attributes, parameters: Parameters, height: int, width: int) -> Tensor:
    """Return the (N, K, C) channels of the Gaussians of N images on canvases of one size, C five more than the images'.

    Args:
        gaussians: Attributes of shapes (N, K, 2), (N, K, 2), (N, K) and (N, K, C - 5), in the units of `Gaussians`.
        parameters: Parametrization.
        height: Height of the canvases in pixels.
        width: Width of the canvases in pixels.

    Raises:
        ValueError: The Gaussians do not fill a grid, which anchored channels need.
    """
    means, scales, rotations, colors = gaussians
    canvas = means.new_tensor([width, height])
    logs = scales.log()
    if parameters == "plain":
        angles = torch.remainder(rotations + math.pi / 2, math.pi) - math.pi / 2
        return torch.cat([means / canvas, logs, angles[..., None], colors], dim=-1)
    centres, cell = _find_cells(means, height, width)
    size, stretch = logs.mean(-1), (logs[..., 0] - logs[..., 1]) / 2
    ellipses = torch.stack([size, stretch * torch.cos(2 * rotations), stretch * torch.sin(2 * rotations)], dim=-1)
    return torch.cat([(means - centres) / cell, ellipses, colors], dim=-1)


def from_channels(channels: Tensor, parameters: Parameters, height: int, width: int) -> Attributes:
    """Return the Gaussians of channels: the inverse of `to_channels` up to the order of axes, differentiable."""
    position, ellipse = channels[..., :2], channels[..., 2:GEOMETRY_CHANNELS]
    colors = channels[..., GEOMETRY_CHANNELS:]
    if parameters == "plain":
        means = position * channels.new_tensor([width, height])
        return Attributes(means, ellipse[..., :2].exp(), ellipse[..., 2], colors)
    centres, cell = _find_cells(channels, height, width)
    size, p, q = ellipse.unbind(-1)
    stretch = torch.sqrt(p * p + q * q + EPSILON**2)
    scales = torch.stack([size + stretch, size - stretch], dim=-1).exp()
    return Attributes(centres + position * cell, scales, 0.5 * torch.atan2(q, p + EPSILON), colors)


def turn_gaussians(gaussians: Attributes, symmetry: int, height: int, width: int) -> Attributes:
    """Mirror and turn the Gaussians of N images, as `turn_image` does the images, and put them in the order of cells.

    Args:
        gaussians: Attributes of shapes (N, K, 2), (N, K, 2), (N, K) and (N, K, C), in the order of the cells of a grid.
        symmetry: Number from 0 to 7, as for `fastgs.data.symmetry.turn_image`.
        height: Height of the canvases in pixels; equal to the width if x and y are swapped.
        width: Width of the canvases in pixels.

    Raises:
        ValueError: The canvas is not square and x and y would be swapped, or the Gaussians do not fill a grid.
    """
    means, scales, rotations, colors = gaussians
    x, y = means.unbind(-1)
    if symmetry & 1:
        x, rotations = width - x, -rotations
    if symmetry & 2:
        y, rotations = height - y, -rotations
    if symmetry & 4:
        if height != width:
            raise ValueError(f"symmetry: x and y of {height} x {width} pixels cannot be swapped")
        x, y, rotations = y, x, math.pi / 2 - rotations
    means = torch.stack([x, y], dim=-1)
    order = turn_image(torch.arange(means.shape[1]).view(grid_shape(means.shape[1], height, width)), symmetry)
    return Attributes(*(each[:, order.flatten().to(means.device)] for each in (means, scales, rotations, colors)))


def _find_cells(like: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the cells of a (N, K, ...) tensor of Gaussians.

    Returns:
        (K, 2) centres of the cells and (2,) size of a cell, both x, y in pixels, of the type and device of `like`.
    """
    rows, columns = grid_shape(like.shape[1], height, width)
    cell = like.new_tensor([width / columns, height / rows])
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centres = torch.stack([x, y], dim=-1).reshape(-1, 2).to(like) + 0.5
    return centres * cell, cell


@dataclass(frozen=True)
class Normalization:
    """The range of each channel, by which channels are mapped to [-1, 1] and back.

    Attributes:
        parameters: Parametrization that the channels belong to.
        low: (C,) lower ends of the ranges.
        high: (C,) upper ends of the ranges.
        mean: (C,) means of the values, for information.
        std: (C,) standard deviations of the values, for information.
    """

    parameters: Parameters
    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor

    @property
    def colors(self) -> int:
        """Number of channels of the images, which is C less the five channels of geometry."""
        return len(self.low) - GEOMETRY_CHANNELS

    @classmethod
    def from_values(cls, channels: Tensor, parameters: Parameters) -> Normalization:
        """Return the range of (N, K, C) channels; a fraction `TAIL` of the values lies beyond it on either side."""
        values = channels.flatten(0, -2).double()
        order = values.sort(dim=0).values
        tail = int(TAIL * (len(order) - 1))
        low, high = order[tail], order[len(order) - 1 - tail]
        # A channel that is constant needs a range of positive length, too.
        spread = (high - low).clamp(min=1e-3) / 2
        middle = (low + high) / 2
        return cls(
            parameters, *(each.float() for each in (middle - spread, middle + spread, values.mean(0), values.std(0)))
        )

    def normalized(self, channels: Tensor) -> Tensor:
        """Map (..., C) channels to [-1, 1]; values beyond the range are clamped."""
        low, high = self.low.to(channels), self.high.to(channels)
        return (2 * (channels - low) / (high - low) - 1).clamp(-1, 1)

    def channels(self, normalized: Tensor) -> Tensor:
        """Return the channels of normalized ones: the inverse of `normalized` within the range, differentiable."""
        low, high = self.low.to(normalized), self.high.to(normalized)
        return low + (normalized + 1) * (high - low) / 2

    def as_json(self) -> dict[str, Any]:
        """Return lists of numbers by name."""
        return {name: getattr(self, name).tolist() for name in ("low", "high", "mean", "std")}

    @classmethod
    def from_json(cls, parameters: Parameters, item: dict[str, Any]) -> Normalization:
        """Return the normalization that `as_json` described.

        Raises:
            ValueError: A list is missing, does not have one finite number per channel, or a range is empty.
        """
        if parameters not in get_args(Parameters):
            raise ValueError(f"parameters: expected one of {', '.join(get_args(Parameters))}, got {parameters!r}")
        improper = f"{parameters}: no proper low, high, mean and std of the channels"
        try:
            tensors = [torch.tensor(item[name], dtype=torch.float32) for name in ("low", "high", "mean", "std")]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(improper) from error
        sizes = {tuple(each.shape) for each in tensors}
        known = {(GEOMETRY_CHANNELS + colors,) for colors in range(1, MAX_CHANNELS + 1)}
        if len(sizes) > 1 or not sizes <= known or not all(each.isfinite().all() for each in tensors):
            raise ValueError(improper)
        if not (tensors[0] < tensors[1]).all():
            raise ValueError(f"{parameters}: a channel has no range")
        return cls(parameters, *tensors)
