"""Quantization-aware fits of published codecs: the same loop, with variables that pass through quantizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.codec.quantizers import Quantizer
from fastgs.fitting.covariance import SMALLEST
from fastgs.fitting.fit import Callback, HistoryEntry, fit
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.options import FitOptions
from fastgs.fitting.parametrization import Attributes, Parametrization
from fastgs.gaussians import Gaussians

# Names, in a breakdown of bits, of what the quantizers of any published codec stand for, in their order.
ATTRIBUTES = ("positions", "covariance", "color")


@dataclass(frozen=True)
class Tuned:
    """Content of a file.

    Attributes:
        parameters: Parameters of the quantizers, one after the other.
        symbols: (N, columns) int32, symbols of all quantizers.
    """

    parameters: bytes
    symbols: Tensor


class Quantized(Parametrization):
    """Variables of another parametrization that pass through quantizers on their way to be Gaussians.

    A subclass has a parametrization for its next base, and defines how it is quantized. Parameters that the quantizers
    learn by gradients are free variables, too, "NAME.PARAMETER"; they have no rows, so no Gaussians may come or go.

    Attributes:
        LEARNED: Names of the variables without rows.
        quantizers: Quantizers by the name of their variable.
    """

    LEARNED: ClassVar[tuple[str, ...]]

    def __init__(self, gaussians: Gaussians) -> None:
        super().__init__(gaussians)
        self.quantizers = self.make_quantizers()
        for name, quantizer in self.quantizers.items():
            quantizer.to(self.free[name].device).start(self.free[name].detach())
        for name, quantizer in self.quantizers.items():
            self.free.update({f"{name}.{inner}": each for inner, each in quantizer.named_parameters()})

    @staticmethod
    def make_quantizers() -> dict[str, Quantizer]:
        """Make new quantizers, in the order of `ATTRIBUTES`, by the name of the variable that each is for."""
        raise NotImplementedError

    @staticmethod
    def assemble(variables: Mapping[str, Tensor], canvas: tuple[int, int]) -> Attributes:
        """Return the Gaussians that variables of these values stand for."""
        raise NotImplementedError

    @override
    def attributes(self) -> Attributes:
        values = {name: quantizer(self.free[name]) for name, quantizer in self.quantizers.items()}
        return self.assemble(values, self.canvas)

    def learn(self) -> Tensor:
        """Return the sum of the losses by which quantizers learn, see `Quantizer.learn`."""
        losses = [quantizer.learn(self.free[name]) for name, quantizer in self.quantizers.items()]
        return torch.stack(losses).sum()

    @torch.no_grad()
    def tuned(self) -> Tuned:
        """Return the content of a file for the variables as they are now, without Gaussians that cannot be seen."""
        visible = self.attributes().scales.amin(1) > 1.001 * SMALLEST
        symbols = [quantizer.symbols(self.free[name]) for name, quantizer in self.quantizers.items()]
        parameters = b"".join(quantizer.to_bytes() for quantizer in self.quantizers.values())
        return Tuned(parameters, torch.cat(symbols, dim=1)[visible].cpu())

    @override
    def edit(self, keep: Tensor, added: Gaussians) -> None:
        raise NotImplementedError("Gaussians with quantizers cannot come or go")


def tune(
    image: Tensor,
    gaussians: Gaussians,
    optimization: OptimizationConfig,
    iterations: int,
    callback: Callback | None = None,
) -> tuple[Tuned, list[HistoryEntry]]:
    """Fit Gaussians through quantizers, and keep the best state in the history, as the published codecs do.

    Args:
        image: (C, H, W) in [0, 1].
        gaussians: Gaussians to start from.
        optimization: Optimization of a `Quantized` parametrization.
        iterations: Number of steps.
        callback: Callable that gets every new entry of the history.

    Returns:
        The content of the file, and the history.
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
