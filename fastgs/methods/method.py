"""What a method is: where Gaussians start, how they descend, and which come and go on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fastgs.fitting.densification import Densification
from fastgs.fitting.fit import Fit, HistoryEntry, fit
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.gaussians import Blend, Gaussians
from fastgs.initializers import Initializer


@dataclass(frozen=True)
class Method:
    """A way to turn an image into K Gaussians, as published.

    Attributes:
        source: paper or project, and where in its code the constants are.
        iterations: how many steps it was published with; other budgets stretch or shrink its schedule.
        initialize: the Gaussians at the start.
        blend: the rule that they are fitted with.
        optimization: how they descend; None is how ours do.
        densification: the strategy for K Gaussians on a canvas of so many pixels in so many steps, and its source of
            everything random; None leaves them as they are.
        start: how many Gaussians a fit of K begins with.
        networks: those that `initialize` runs, to tell their seconds.
    """

    source: str
    iterations: int
    initialize: Initializer
    blend: Blend = "normalized"
    optimization: OptimizationConfig | None = None
    densification: Callable[[int, int, int, torch.Generator], Densification] | None = None
    start: Callable[[int], int] = lambda num_gaussians: num_gaussians
    networks: Callable[[], Iterable[nn.Module]] = tuple

    def __call__(
        self,
        image: Tensor,
        num_gaussians: int,
        *,
        iterations: int | None = None,
        seconds: float | None = None,
        seed: int = 0,
        callback: Callable[[HistoryEntry], None] | None = None,
    ) -> Run:
        """Fit an image.

        Args:
            image: (3, H, W) in [0, 1].
            num_gaussians: K, at least 1; exactly as many at the end.
            iterations: number of steps; as published if neither this nor `seconds` is given.
            seconds: wall-clock budget of the steps.
            seed: of everything random.
            callback: see `fastgs.fitting.fit.fit`.

        Raises:
            ValueError: see `fastgs.fitting.fit.fit`.
        """
        if iterations is None and seconds is None:
            iterations = self.iterations
        generator = torch.Generator().manual_seed(seed)
        with _seconds_of(self.networks()) as forward_passes:
            begin = time.perf_counter()
            initial = self.initialize(image, self.start(num_gaussians), generator)
            seconds_init = time.perf_counter() - begin
        made = self.densification
        pixels = image[0].numel()
        fitted = fit(
            image,
            replace(initial, blend=self.blend),
            iterations=iterations,
            seconds=seconds,
            optimization=self.optimization,
            densification=None if made is None else lambda steps: made(num_gaussians, pixels, steps, generator),
            callback=callback,
        )
        return Run(initial, fitted, seconds_init, sum(forward_passes, 0.0))


@dataclass(frozen=True)
class Run:
    """What a method did: its start, its fit, the seconds that the start took, and those of its networks among them."""

    initial: Gaussians
    fit: Fit
    seconds_init: float
    seconds_network: float


@contextmanager
def _seconds_of(modules: Iterable[nn.Module]) -> Iterator[list[float]]:
    """Collects the wall clock of each forward pass of modules that are not part of each other."""
    seconds: list[float] = []

    def begin(*_: object) -> None:
        seconds.append(-time.perf_counter())

    def end(*_: object) -> None:
        seconds[-1] += time.perf_counter()

    hooks = [
        hook for each in modules for hook in (each.register_forward_pre_hook(begin), each.register_forward_hook(end))
    ]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()
