"""GaussianImage (Zhang et al., ECCV 2024, arXiv 2403.08551): random Gaussians that add up, and a long run of Adan.

Constants are those of github.com/Xinjie-Q/GaussianImage: gaussianimage_cholesky.py, gaussianimage_rs.py and train.py.
Its kernel (github.com/XingtongGe/gsplat) cuts a Gaussian off at 3 standard deviations or a weight of 1/255; this
rasterizer fades it out between 3 and 3.5. Of a covariance, the kernel counts the gradient of the mixed entry twice. So
do the presets, as the published results were made with it, and it is better where Gaussians are small
(benchmarks/LOG.md, "Published lengths"); `ExactCholesky` and `ExactRotationScale` take the true gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.fitting.covariance import SMALLEST, axes, covariances
from fastgs.fitting.loss_functions import CLAMPED_MSE
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.parametrization import Attributes, Parametrization
from fastgs.gaussians import Gaussians
from fastgs.methods.method import Method

SOURCE = "arXiv 2403.08551, github.com/Xinjie-Q/GaussianImage"
ITERATIONS = 50_000  # train.py
RATE = 1e-3  # train.py; the learning rate of all variables
HALVED_EVERY = 20_000  # steps; StepLR of both models
BOUND = (0.5, 0.0, 0.5)  # added to the variables of the Cholesky factor, entries 11, 21, 22
SCALE_BOUND = 0.5  # added to the variables of the scales

INSIDE = 1 - 1e-6  # largest |tanh| of a centre: the border of the canvas is at infinity


def from_canvas(means: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Invert `to_canvas`; centres off the canvas move to its border."""
    height, width = canvas
    return torch.atanh((2 * means / means.new_tensor([width, height]) - 1).clamp(-INSIDE, INSIDE))


def to_canvas(variables: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Return centres `size (tanh v + 1) / 2` in pixels, (K, 2), for unbounded variables v."""
    height, width = canvas
    return variables.new_tensor([width / 2, height / 2]) * (torch.tanh(variables) + 1)


def count_twice(matrices: Tensor) -> Tensor:
    """Return symmetric matrices (K, 3), entries xx, xy, yy, as they are, but with twice the gradient of xy."""
    xx, xy, yy = matrices.unbind(1)
    return torch.stack([xx, 2 * xy - xy.detach(), yy], dim=1)


class _Ellipses(Parametrization):
    """Variables of covariance matrices."""

    def _drawn(self, matrices: Tensor) -> Tensor:
        """Return the same covariances, (K, 3), with the gradient that the kernel gives them."""
        return count_twice(matrices)


class Cholesky(_Ellipses):
    """Covariances `Sigma = L L^T`, where L is lower triangular with entries `v + BOUND`; centres by tanh."""

    NAMES = ("means", "cholesky", "colors")

    @override
    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        xx, xy, _ = covariances(gaussians.scales, gaussians.rotations).unbind(1)
        first = xx.sqrt()
        factor = torch.stack([first, xy / first, gaussians.scales.prod(1) / first], dim=1)
        free = {
            "means": from_canvas(gaussians.means, self.canvas),
            "cholesky": factor - factor.new_tensor(BOUND),
            "colors": gaussians.colors.detach().clone(),
        }
        return free, {}

    @override
    def attributes(self) -> Attributes:
        variables = self.free["cholesky"]
        scales, rotations = axes(self._drawn(square_factor(variables)))
        return Attributes(to_canvas(self.free["means"], self.canvas), scales, rotations, self.free["colors"])


class ExactCholesky(Cholesky):
    """Variables of `Cholesky` with the true gradient."""

    @override
    def _drawn(self, matrices: Tensor) -> Tensor:
        return matrices


class RotationScale(_Ellipses):
    """Scales `|v + SCALE_BOUND|`, rotations `2 pi sigmoid(v)`, centres by tanh."""

    NAMES = ("means", "scales", "rotations", "colors")

    @override
    def _split(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        turns = (gaussians.rotations / math.tau).remainder(1)
        free = {
            "means": from_canvas(gaussians.means, self.canvas),
            "scales": self._variables_of(gaussians.scales),
            "rotations": torch.logit(turns, eps=1 - INSIDE),
            "colors": gaussians.colors.detach().clone(),
        }
        return free, {}

    @override
    def attributes(self) -> Attributes:
        scales, rotations = self._scales_of(self.free["scales"]), math.tau * torch.sigmoid(self.free["rotations"])
        scales, rotations = axes(self._drawn(covariances(scales, rotations)))
        return Attributes(to_canvas(self.free["means"], self.canvas), scales, rotations, self.free["colors"])

    def _variables_of(self, scales: Tensor) -> Tensor:
        return scales - SCALE_BOUND

    def _scales_of(self, variables: Tensor) -> Tensor:
        return (variables + SCALE_BOUND).abs().clamp(min=SMALLEST)


class ExactRotationScale(RotationScale):
    """Variables of `RotationScale` with the true gradient."""

    @override
    def _drawn(self, matrices: Tensor) -> Tensor:
        return matrices


def square_factor(variables: Tensor) -> Tensor:
    """Return covariances L L^T, (K, 3), for variables (K, 3) of the entries 11, 21, 22 of L."""
    first, mixed, second = (variables + variables.new_tensor(BOUND)).unbind(1)
    return torch.stack([first * first, first * mixed, mixed * mixed + second * second], dim=1)


def adan(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Make Adan (Xie et al., arXiv 2208.06677) as in their optimizer.py, whose defaults timm has, too."""
    from timm.optim.adan import Adan  # deferred: importing timm takes seconds

    return Adan(groups)


def constant(rate: float, names: Sequence[str]) -> Callable[[float], Mapping[str, float]]:
    """Return rates that are the same for all variables, whatever the error of the first image."""
    rates = dict.fromkeys(names, rate)
    return lambda _: rates


def halving(every: int) -> Callable[[float, Sequence[float]], float]:
    """Return a schedule that halves the rates every so many of the published steps, at the same shares of any run."""
    return lambda progress, _: 0.5 ** math.floor(progress * ITERATIONS / every)


def random_cholesky(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Draw centres and colours uniformly, and variables of the Cholesky factor uniformly in [0, 1]."""
    means, colors, factor = _draw_uniform(image, num_gaussians, generator)
    return _make_gaussians(image, means, *axes(square_factor(factor)), colors)


def random_rotation_scale(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
    """Draw centres and colours uniformly, and variables of scales and rotations uniformly in [0, 1]."""
    means, colors, variables = _draw_uniform(image, num_gaussians, generator)
    rotations = math.tau * torch.sigmoid(variables[:, 2])
    return _make_gaussians(image, means, variables[:, :2] + SCALE_BOUND, rotations, colors)


def _draw_uniform(image: Tensor, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """Draw centres (K, 2) on the canvas, colours (K, C), and (K, 3) numbers in [0, 1]."""
    columns = [2, len(image), 3]
    means, colors, rest = torch.rand(count, sum(columns), generator=generator).to(image).split(columns, dim=1)  # type: ignore[no-untyped-call]
    return means * means.new_tensor([image.shape[2], image.shape[1]]), colors, rest


def _make_gaussians(image: Tensor, means: Tensor, scales: Tensor, rotations: Tensor, colors: Tensor) -> Gaussians:
    return Gaussians(means, scales, rotations, colors, image.shape[1], image.shape[2], "sum")


CHOLESKY = Method(
    source=SOURCE,
    iterations=ITERATIONS,
    initialize=random_cholesky,
    blend="sum",
    optimization=OptimizationConfig(Cholesky, adan, constant(RATE, Cholesky.NAMES), halving(HALVED_EVERY), CLAMPED_MSE),
)
ROTATION_SCALE = Method(
    source=SOURCE,
    iterations=ITERATIONS,
    initialize=random_rotation_scale,
    blend="sum",
    optimization=OptimizationConfig(
        RotationScale, adan, constant(RATE, RotationScale.NAMES), halving(HALVED_EVERY), CLAMPED_MSE
    ),
)
