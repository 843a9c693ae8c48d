"""Gaussians as arrays of numbers that networks can take and give: channels, and their range.

Two parametrizations of the same K Gaussians, both (N, K, 8):

- "plain": centre as a share of the canvas, logarithms of both scales, angle, colour. Equal Gaussians can differ in it
  (axes swapped, angle turned by half a circle), and it jumps where an ellipse becomes a circle.
- "anchored": each Gaussian belongs to a cell of a grid over the canvas, and its centre is an offset from that cell's in
  units of cells; the ellipse is the matrix logarithm of its standard deviations, `size I + [[p, q], [q, -p]]`, which is
  one smooth coordinate for each ellipse. So equal channels of neighbours mean equal looks, as with pixels.

Which Gaussian belongs to which cell is their order, row by row, as `fastgs.initializers.grid` makes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fastgs.fitting.parametrization import Attributes

Parameters = Literal["plain", "anchored"]

CHANNELS: dict[Parameters, tuple[str, ...]] = {
    "plain": ("x", "y", "log_scale_1", "log_scale_2", "rotation", "red", "green", "blue"),
    "anchored": ("offset_x", "offset_y", "size", "stretch_p", "stretch_q", "red", "green", "blue"),
}

# The channels of each attribute, for one model per attribute.
ATTRIBUTES: dict[Parameters, dict[str, slice]] = {
    "plain": {"means": slice(0, 2), "scales": slice(2, 4), "rotations": slice(4, 5), "colors": slice(5, 8)},
    "anchored": {"means": slice(0, 2), "covariances": slice(2, 5), "colors": slice(5, 8)},
}

# Share of the values of a channel that are beyond its range on either side, and are drawn to its end.
TAIL = 1e-3

# Under the root of |(p, q)|, which has no gradient at circles.
EPSILON = 1e-6


def grid_shape(num_gaussians: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the grid of cells.

    Raises:
        ValueError: that many cells do not make a grid on this canvas.
    """
    rows = max(1, round(math.sqrt(num_gaussians * height / width)))
    if num_gaussians % rows:
        raise ValueError(
            f"num_gaussians: {num_gaussians} cells make no grid of {rows} rows on {height} x {width} pixels; "
            "take rows times columns in the proportion of the canvas, such as 1024 or 256 on a square"
        )
    return rows, num_gaussians // rows


def to_channels(gaussians: Attributes, parameters: Parameters, height: int, width: int) -> Tensor:
    """Attributes of N images on canvases of one size as (N, K, 8).

    Args:
        gaussians: (N, K, 2), (N, K, 2), (N, K), (N, K, 3), units as in `Gaussians`.
        parameters: which channels.
        height, width: of the canvases, in pixels.
    """
    means, scales, rotations, colors = gaussians
    canvas = means.new_tensor([width, height])
    logs = scales.log()
    if parameters == "plain":
        angles = torch.remainder(rotations + math.pi / 2, math.pi) - math.pi / 2
        return torch.cat([means / canvas, logs, angles[..., None], colors], dim=-1)
    centres, cell = _cells(means, height, width)
    size, stretch = logs.mean(-1), (logs[..., 0] - logs[..., 1]) / 2
    ellipses = torch.stack([size, stretch * torch.cos(2 * rotations), stretch * torch.sin(2 * rotations)], dim=-1)
    return torch.cat([(means - centres) / cell, ellipses, colors], dim=-1)


def from_channels(channels: Tensor, parameters: Parameters, height: int, width: int) -> Attributes:
    """The inverse of `to_channels`, up to the order of axes; differentiable."""
    position, ellipse, colors = channels[..., :2], channels[..., 2:5], channels[..., 5:]
    if parameters == "plain":
        means = position * channels.new_tensor([width, height])
        return Attributes(means, ellipse[..., :2].exp(), ellipse[..., 2], colors)
    centres, cell = _cells(channels, height, width)
    size, p, q = ellipse.unbind(-1)
    stretch = torch.sqrt(p * p + q * q + EPSILON**2)
    scales = torch.stack([size + stretch, size - stretch], dim=-1).exp()
    return Attributes(centres + position * cell, scales, 0.5 * torch.atan2(q, p + EPSILON), colors)


def turned(gaussians: Attributes, symmetry: int, height: int, width: int) -> Attributes:
    """Gaussians of N images as they would be of the images mirrored and turned, each again in the order of the cells.

    Args:
        gaussians: (N, K, 2), (N, K, 2), (N, K), (N, K, 3), in the order of the cells of a grid.
        symmetry: from 0 to 7. Of its bits, 1 mirrors left and right, 2 top and bottom, and 4 then swaps x and y.
        height, width: of the canvases, in pixels; equal if x and y are swapped.

    Raises:
        ValueError: x and y of a canvas that is not square are to be swapped; or see `grid_shape`.
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
    order = turned_image(torch.arange(means.shape[1]).view(grid_shape(means.shape[1], height, width)), symmetry)
    return Attributes(*(each[:, order.flatten().to(means.device)] for each in (means, scales, rotations, colors)))


def turned_image(image: Tensor, symmetry: int) -> Tensor:
    """(..., H, W) mirrored and turned likewise."""
    image = image.flip(-1) if symmetry & 1 else image
    image = image.flip(-2) if symmetry & 2 else image
    return image.transpose(-1, -2) if symmetry & 4 else image


def _cells(like: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(K, 2) centres of the cells of (N, K, ...) Gaussians, and the (2,) size of a cell; in pixels."""
    rows, columns = grid_shape(like.shape[1], height, width)
    cell = like.new_tensor([width / columns, height / rows])
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centres = torch.stack([x, y], dim=-1).reshape(-1, 2).to(like) + 0.5
    return centres * cell, cell


@dataclass(frozen=True)
class Normalization:
    """The range of each channel, to [-1, 1] and back.

    Attributes:
        parameters: the channels that it is of.
        low, high: (8,) ends of the range.
        mean, std: (8,) of the values, for information.
    """

    parameters: Parameters
    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, channels: Tensor, parameters: Parameters) -> Normalization:
        """Of (N, K, 8) channels; `TAIL` of the values on either side lie beyond the range."""
        values = channels.flatten(0, -2).double()
        order = values.sort(dim=0).values
        tail = int(TAIL * (len(order) - 1))
        low, high = order[tail], order[len(order) - 1 - tail]
        # A channel that is constant has a range, too.
        spread = (high - low).clamp(min=1e-3) / 2
        middle = (low + high) / 2
        return cls(
            parameters, *(each.float() for each in (middle - spread, middle + spread, values.mean(0), values.std(0)))
        )

    def normalized(self, channels: Tensor) -> Tensor:
        """(..., 8) channels to [-1, 1]; what lies beyond the range is drawn to its end."""
        low, high = self.low.to(channels), self.high.to(channels)
        return (2 * (channels - low) / (high - low) - 1).clamp(-1, 1)

    def channels(self, normalized: Tensor) -> Tensor:
        """The inverse within the range; differentiable."""
        low, high = self.low.to(normalized), self.high.to(normalized)
        return low + (normalized + 1) * (high - low) / 2

    def as_json(self) -> dict[str, Any]:
        """Lists of numbers by name."""
        return {name: getattr(self, name).tolist() for name in ("low", "high", "mean", "std")}

    @classmethod
    def from_json(cls, parameters: Parameters, item: dict[str, Any]) -> Normalization:
        """The inverse of `as_json`.

        Raises:
            ValueError: a list is missing, or has other than as many finite numbers as there are channels, or a range
                is empty.
        """
        if parameters not in get_args(Parameters):
            raise ValueError(f"parameters: expected one of {', '.join(get_args(Parameters))}, got {parameters!r}")
        try:
            tensors = [torch.tensor(item[name], dtype=torch.float32) for name in ("low", "high", "mean", "std")]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{parameters}: no proper low, high, mean and std of the channels") from error
        if any(each.shape != (len(CHANNELS[parameters]),) or not each.isfinite().all() for each in tensors):
            raise ValueError(f"{parameters}: no proper low, high, mean and std of the channels")
        if not (tensors[0] < tensors[1]).all():
            raise ValueError(f"{parameters}: a channel has no range")
        return cls(parameters, *tensors)
