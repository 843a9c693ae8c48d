"""Quantization-aware fits of the peers: the same loop, with variables that pass through quantizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fastgs.codec.quantizers import Quantizer
from fastgs.fitting.covariance import SMALLEST
from fastgs.fitting.fit import HistoryEntry, fit
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.options import FitOptions
from fastgs.fitting.parametrization import Attributes, Parametrization
from fastgs.gaussians import Gaussians

# The bit_breakdown's names of what the quantizers of any peer stand for, in their order.
ATTRIBUTES = ("positions", "covariance", "color")


@dataclass(frozen=True)
class Tuned:
    """What goes into a file.

    Attributes:
        parameters: of the quantizers, one after the other.
        symbols: (N, columns) of all quantizers, int32.
    """

    parameters: bytes
    symbols: Tensor


class Quantized(Parametrization):
    """Variables of another parametrization that pass through quantizers on their way to be Gaussians.

    A subclass has a parametrization for its next base, and says how it is quantized. What the quantizers learn by
    gradients are free variables, too, "NAME.PARAMETER"; they have no rows, so no Gaussians may come or go.

    Attributes:
        quantizers: by the name of their variable.
    """

    LEARNED: ClassVar[tuple[str, ...]]  # names of those variables without rows

    def __init__(self, gaussians: Gaussians) -> None:
        super().__init__(gaussians)
        self.quantizers = self.make_quantizers()
        for name, quantizer in self.quantizers.items():
            quantizer.to(self.free[name].device).start(self.free[name].detach())
        for name, quantizer in self.quantizers.items():
            self.free.update({f"{name}.{inner}": each for inner, each in quantizer.named_parameters()})

    @staticmethod
    def make_quantizers() -> dict[str, Quantizer]:
        """New ones, in the order of `ATTRIBUTES`, by the name of the variable that each is for."""
        raise NotImplementedError

    @staticmethod
    def assemble(variables: Mapping[str, Tensor], canvas: tuple[int, int]) -> Attributes:
        """The Gaussians that variables of these values are."""
        raise NotImplementedError

    def attributes(self) -> Attributes:
        """See `Parametrization`."""
        values = {name: quantizer(self.free[name]) for name, quantizer in self.quantizers.items()}
        return self.assemble(values, self.canvas)

    def learn(self) -> Tensor:
        """See `Quantizer`."""
        losses = [quantizer.learn(self.free[name]) for name, quantizer in self.quantizers.items()]
        return torch.stack(losses).sum()

    @torch.no_grad()
    def tuned(self) -> Tuned:
        """As of now, without the Gaussians that cannot be seen."""
        visible = self.attributes().scales.amin(1) > 1.001 * SMALLEST
        symbols = [quantizer.symbols(self.free[name]) for name, quantizer in self.quantizers.items()]
        parameters = b"".join(quantizer.to_bytes() for quantizer in self.quantizers.values())
        return Tuned(parameters, torch.cat(symbols, dim=1)[visible].cpu())

    def edit(self, keep: Tensor, added: Gaussians) -> None:
        """Nothing may come or go: see above."""
        raise NotImplementedError


def tune(
    image: Tensor,
    gaussians: Gaussians,
    optimization: OptimizationConfig,
    iterations: int,
    callback: Callable[[HistoryEntry], None] | None = None,
) -> tuple[Tuned, list[HistoryEntry]]:
    """Fit Gaussians through quantizers, and keep the best that the history tells of, as the peers do.

    Args:
        image: (3, H, W) in [0, 1].
        gaussians: where to start.
        optimization: with a `Quantized` parametrization.
        iterations: number of steps.
        callback: see `fastgs.fitting.fit.fit`.
    """
    variables: list[Quantized] = []
    best: tuple[float, Tuned] | None = None

    def start(gaussians: Gaussians) -> Parametrization:
        made = optimization.parametrization(gaussians)
        assert isinstance(made, Quantized)
        variables[:] = [made]
        return made

    def loss(image: Tensor, target: Tensor) -> Tensor:
        return optimization.loss(image, target) + variables[0].learn()

    def keep(entry: HistoryEntry) -> None:
        nonlocal best
        if best is None or entry.psnr > best[0]:
            best = entry.psnr, variables[0].tuned()
        if callback is not None:
            callback(entry)

    watched = replace(optimization, parametrization=start, loss=loss)
    fitted = fit(image, gaussians, FitOptions(iterations), optimization=watched, callback=keep)
    assert best is not None  # the history has at least the start
    return best[1], fitted.history
