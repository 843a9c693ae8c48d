"""Parametrizations: free variables without bounds, which a fit moves, and the Gaussians that they stand for."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.gaussians import MIN_SCALE, Gaussians

# A Gaussian that starts narrower than MIN_SCALE / 0.9 may still shrink a little, to this share of its scale.
SMALLEST_SHARE = 0.9


class Attributes(NamedTuple):
    """The four tensors of `Gaussians`, not validated, in their order and shapes."""

    means: Tensor
    scales: Tensor
    rotations: Tensor
    colors: Tensor


class Parametrization:
    """K Gaussians as tensors of K rows each.

    A subclass defines which tensors, in `_split`, and the Gaussians that they stand for, in `attributes`.

    Args:
        gaussians: Gaussians at the start.

    Attributes:
        NAMES: Names of the free variables.
        free: Variables that an optimizer moves, by name.
        fixed: Other tensors with a row for each Gaussian, by name.
        canvas: Height and width in pixels.
        blend: Blend rule, see `fastgs.render`.
        alpha: True if the last channel of the colours is opacity.
    """

    NAMES: ClassVar[tuple[str, ...]]

    def __init__(self, gaussians: Gaussians) -> None:
        self.canvas = gaussians.height, gaussians.width
        self.blend, self.alpha = gaussians.blend, gaussians.alpha
        with torch.no_grad():
            self.free, self.fixed = self._split(gaussians)
        for variable in self.free.values():
            variable.requires_grad_()

    def __len__(self) -> int:
        return len(next(iter(self.free.values())))

    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return free and fixed tensors, none shared with the Gaussians."""
        raise NotImplementedError

    def attributes(self) -> Attributes:
        """Return the tensors of the Gaussians that the variables stand for, differentiable."""
        raise NotImplementedError

    @torch.no_grad()
    def gaussians(self) -> Gaussians:
        """Return the Gaussians as they are now, detached."""
        means, scales, rotations, colors = (each.detach().clone() for each in self.attributes())
        height, width = self.canvas
        return Gaussians(means, scales, rotations, colors, height, width, self.blend, self.alpha)

    @torch.no_grad()
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        """Keep the (N,) rows, in their order, and append Gaussians; all tensors are new ones afterwards."""
        free, fixed = self._split(added)
        self.free = {name: torch.cat([each[keep], free[name]]) for name, each in self.free.items()}
        self.fixed = {name: torch.cat([each[keep], fixed[name]]) for name, each in self.fixed.items()}
        for variable in self.free.values():
            variable.requires_grad_()

    def _canvas_size(self, like: Tensor) -> Tensor:
        """Return width and height of the canvas, (2,), in the type and on the device of another tensor."""
        height, width = self.canvas
        return like.new_tensor([width, height])


class Relative(Parametrization):
    """Variables of this project: a step means the same whatever the size of the image and of the Gaussian.

    Means are `start + frame * offsets`: offsets lie along the axes that the Gaussian has at the start, in units of its
    diameter, the geometric mean of both. Adam works by coordinate, and across an edge the error has another slope than
    along it. Scales are `sqrt(exp(log_scales)^2 + floors^2)`, so no Gaussian becomes thinner than `MIN_SCALE` pixels,
    or than 0.9 of a narrower start.
    """

    NAMES = ("offsets", "log_scales", "rotations", "colors")

    @override
    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        scales = gaussians.scales
        floors = (SMALLEST_SHARE * scales).clamp(max=MIN_SCALE)
        free = {
            "offsets": gaussians.means.new_zeros(gaussians.means.shape),  # as complex numbers they need to be dense
            "log_scales": 0.5 * (scales.square() - floors.square()).log(),
            "rotations": gaussians.rotations.detach().clone(),
            "colors": gaussians.colors.detach().clone(),
        }
        fixed = {
            "start": gaussians.means.detach().clone(),
            # A number whose product, in the complex plane, turns and stretches.
            "frame": torch.polar(2 * scales.prod(1).sqrt(), gaussians.rotations),
            "floors": floors,
        }
        return free, fixed

    @override
    def attributes(self) -> Attributes:
        offsets = torch.view_as_real(self.fixed["frame"] * torch.view_as_complex(self.free["offsets"]))
        means = self.fixed["start"] + offsets
        scales = torch.hypot(self.free["log_scales"].exp(), self.fixed["floors"])
        return Attributes(means, scales, self.free["rotations"], self.free["colors"])
