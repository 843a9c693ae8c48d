"""What a fit moves: free variables without bounds, and the Gaussians that they are."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from fastgs.gaussians import Gaussians

# A fit makes no Gaussian thinner than this many pixels: it would fall between the pixel centres, where it costs nothing
# at the fitted size and shows as a hairline when zoomed in. Given narrower ones, it keeps 0.9 of their scales.
MIN_SCALE = 0.3


class Attributes(NamedTuple):
    """The four tensors of `Gaussians`, not validated."""

    means: Tensor
    scales: Tensor
    rotations: Tensor
    colors: Tensor


class Parametrization:
    """K Gaussians as tensors of K rows each.

    A subclass says which, in `_split`, and what Gaussians they are, in `attributes`.

    Args:
        gaussians: what the variables are at first.

    Attributes:
        free: what an optimizer moves, by name.
        fixed: what else belongs to each Gaussian.
        canvas: height and width in pixels.
    """

    NAMES: ClassVar[tuple[str, ...]]  # of the free variables

    def __init__(self, gaussians: Gaussians) -> None:
        self.canvas = gaussians.height, gaussians.width
        self.blend = gaussians.blend
        with torch.no_grad():
            self.free, self.fixed = self._split(gaussians)
        for variable in self.free.values():
            variable.requires_grad_()

    def __len__(self) -> int:
        return len(next(iter(self.free.values())))

    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Free and fixed tensors, none shared with the Gaussians."""
        raise NotImplementedError

    def attributes(self) -> Attributes:
        """The Gaussians that the variables are, differentiable."""
        raise NotImplementedError

    @torch.no_grad()
    def gaussians(self) -> Gaussians:
        """As of now, detached."""
        means, scales, rotations, colors = (each.detach().clone() for each in self.attributes())
        height, width = self.canvas
        return Gaussians(means, scales, rotations, colors, height, width, self.blend)

    @torch.no_grad()
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        """Keep the (N,) rows, in their order, and append Gaussians; all tensors are new ones afterwards."""
        free, fixed = self._split(added)
        self.free = {name: torch.cat([each[keep], free[name]]) for name, each in self.free.items()}
        self.fixed = {name: torch.cat([each[keep], fixed[name]]) for name, each in self.fixed.items()}
        for variable in self.free.values():
            variable.requires_grad_()


class Relative(Parametrization):
    """Ours: what a step means depends neither on the size of the image nor on that of the Gaussian.

    Means are `start + frame * offsets`: offsets lie along the axes that the Gaussian has at the start, in units of its
    diameter, the geometric mean of both. Adam works by coordinate, and across an edge the error has another slope than
    along it. Scales are `sqrt(exp(log_scales)^2 + floors^2)`.
    """

    NAMES = ("offsets", "log_scales", "rotations", "colors")

    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        scales = gaussians.scales
        floors = (0.9 * scales).clamp(max=MIN_SCALE)
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

    def attributes(self) -> Attributes:
        """See `Parametrization`."""
        offsets = torch.view_as_real(self.fixed["frame"] * torch.view_as_complex(self.free["offsets"]))
        means = self.fixed["start"] + offsets
        scales = torch.hypot(self.free["log_scales"].exp(), self.fixed["floors"])
        return Attributes(means, scales, self.free["rotations"], self.free["colors"])
