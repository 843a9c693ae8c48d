"""The pipeline of every method: place Gaussians, fit them, let some come, go or move on the way."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastgs.fitting.batch import fit_batch
from fastgs.fitting.densification import Densification, Relocation
from fastgs.fitting.fit import MOST_ALONE, Callback, Fit, HistoryEntry, fit
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.options import FitOptions
from fastgs.fitting.small import fit_small
from fastgs.gaussians import Blend, Gaussians
from fastgs.initializers import BatchInitializer, Initializer
from fastgs.methods.result import Result
from fastgs.render import Backend, choose
from fastgs.render.cpu_kernels import MOST_CHANNELS
from fastgs.runtime import threads

# Small images that a thread fits together, at most, and groups of them for each thread, at least, if there are enough
# images: more images share what Python does, and more groups end at about the same time.
MOST_TOGETHER, GROUPS = 32, 2


class _Placed(NamedTuple):
    """Gaussians at the start of a fit.

    Attributes:
        gaussians: The Gaussians.
        generator: Random generator of what follows.
        seconds_init: Wall clock of the initializer.
        seconds_network: Wall clock of the forward pass of the networks.
    """

    gaussians: Gaussians
    generator: torch.Generator
    seconds_init: float
    seconds_network: float


@dataclass(frozen=True)
class Method:
    """A way to turn an image into K Gaussians, as published.

    Attributes:
        source: Paper or project, and where in its code the constants are.
        iterations: Number of steps it was published with; other budgets stretch or shrink its schedule.
        initialize: Callable (image, num_gaussians, generator) -> Gaussians at the start.
        blend: Blend rule that they are fitted with, see `fastgs.render`.
        optimization: Parametrization, optimizer, rates and loss; None for those of this project, with the loss of the
            options.
        densification: Callable (num_gaussians, pixels of the canvas, steps, generator) -> strategy that adds, removes
            or moves Gaussians during a fit; None leaves them as they are.
        start: Callable from K to the number of Gaussians that a fit of K begins with.
        networks: Callable that gives the networks which `initialize` runs, to move the image to their device and to
            time them.

    Example:
        result = METHODS["image-gs-gradient"](image, 10_000, FitOptions(iterations=1000), seed=0)
    """

    source: str
    iterations: int
    initialize: Initializer
    blend: Blend = "normalized"
    optimization: OptimizationConfig | None = None
    densification: Callable[[int, int, int, torch.Generator | None], Densification] | None = None
    start: Callable[[int], int] = lambda num_gaussians: num_gaussians
    networks: Callable[[], Iterable[nn.Module]] = tuple

    def __call__(
        self,
        image: Tensor,
        num_gaussians: int,
        options: FitOptions | None = None,
        *,
        seed: int = 0,
        alpha: bool = False,
        device: torch.device | None = None,
        callback: Callback | None = None,
    ) -> Result:
        """Place Gaussians on an image and fit them.

        Args:
            image: (C, H, W) in [0, 1], with C from 1 to 32.
            num_gaussians: K, at least 1; there are exactly as many at the end.
            options: Limits, loss and renderer; by default the published number of steps.
            seed: Random seed.
            alpha: True if the last channel is opacity and the other ones are multiplied by it.
            device: Device to work on; by default that of the image. The result is where the image is.
            callback: Callable that gets every new entry of the history.

        Raises:
            ValueError: The image or what is to be fitted to it is not usable, see `fastgs.fitting.fit.fit`.
        """
        device = image.device if device is None else device
        placed = self._place(image, num_gaussians, seed, alpha, device)
        return self._fit(image, placed, options, num_gaussians, callback)

    def batch(
        self,
        images: Sequence[Tensor],
        num_gaussians: int,
        iterations: int | None = None,
        *,
        seed: int = 0,
        alpha: bool = False,
        device: torch.device | None = None,
        backend: Backend = "auto",
    ) -> list[Result]:
        """Place Gaussians on several images, and fit them at once.

        On a CPU each thread has images for itself, which take their steps together where they are small, and the
        results are those of the images alone, to the bit. Elsewhere all take their steps together, see
        `fastgs.fitting.batch`, and results differ by rounding, which a fit carries on.

        Args:
            images: Images (C, H, W) in [0, 1], with the same C.
            num_gaussians: K of each image, at least 1.
            iterations: Number of steps; by default the published one.
            seed: Random seed of each image.
            alpha: True if the last channel is opacity and the other ones are multiplied by it.
            device: Device to work on; by default that of the images. The results are where the images are.
            backend: Renderer, see `fastgs.render`.

        Raises:
            ValueError: The method has rates of its own, or a fit diverged to NaN.
        """
        if self.optimization is not None:
            raise ValueError("images: only the method of this project fits several at once; fit them one by one")
        iterations = self.iterations if iterations is None else iterations
        device = images[0].device if device is None else device

        def place(image: Tensor) -> _Placed:
            return self._place(image, num_gaussians, seed, alpha, device)

        if choose(device, backend, dtype=images[0].dtype) != "cpu":
            return self._fit_together(images, [place(image) for image in images], num_gaussians, iterations, backend)
        options = FitOptions(iterations, backend=backend)
        groups = self._group(images, num_gaussians, iterations)
        # Each forward pass of networks takes all threads.
        placed = [place(image) for image in images] if tuple(self.networks()) else None

        def work(group: list[int]) -> list[Result]:
            members = [images[number] for number in group]
            if placed is not None:
                starts = [placed[number] for number in group]
            elif len(group) > 1 and isinstance(self.initialize, BatchInitializer):
                starts = self._place_small(self.initialize, members, num_gaussians, seed, alpha)
            else:
                starts = [place(image) for image in members]
            generators = [each.generator for each in starts]
            if len(group) > 1 and (self.densification is None or _are_alike(generators)):
                return self._fit_small(members, starts, num_gaussians, iterations)
            return [
                self._fit(image, start, options, num_gaussians) for image, start in zip(members, starts, strict=True)
            ]

        results = dict(zip(chain(*groups), chain(*threads.apply(work, groups)), strict=True))
        return [results[number] for number in range(len(images))]

    def _group(self, images: Sequence[Tensor], num_gaussians: int, iterations: int) -> list[list[int]]:
        """Return groups of numbers of images that a thread fits together, of one image where it cannot."""
        make, most, sizes = self.densification, 1, defaultdict(list)
        for number, image in enumerate(images):
            sizes[image.shape].append(number)
        strategy = None if make is None else make(num_gaussians, images[0][0].numel(), iterations, None)
        is_small = all(channels <= MOST_CHANNELS and height * width <= MOST_ALONE for channels, height, width in sizes)
        if is_small and isinstance(strategy, Relocation | None) and all(image.is_cpu for image in images):
            most = max(1, min(MOST_TOGETHER, len(images) // (GROUPS * threads.num_threads())))
        return [numbers[n : n + most] for numbers in sizes.values() for n in range(0, len(numbers), most)]

    @threads.reserved()
    def _fit(
        self,
        image: Tensor,
        placed: _Placed,
        options: FitOptions | None,
        num_gaussians: int,
        callback: Callback | None = None,
    ) -> Result:
        """Fit Gaussians that are placed on an image."""
        initial, generator, seconds_init, seconds_network = placed
        fitted = self.refine(
            image.to(initial.means.device),
            initial,
            options,
            num_gaussians=num_gaussians,
            generator=generator,
            callback=callback,
        )
        return Result(
            gaussians=fitted.gaussians.to(image.device),
            image=fitted.image.clamp(0, 1).to(image.device),
            target=image,
            initial=initial.to(image.device),
            history=fitted.history,
            seconds_init=seconds_init,
            seconds_network=seconds_network,
        )

    def _place_small(
        self, initialize: BatchInitializer, images: Sequence[Tensor], num_gaussians: int, seed: int, alpha: bool
    ) -> list[_Placed]:
        """Place Gaussians on images of one size on the CPU; the generator is one for all."""
        generator, begin = torch.Generator().manual_seed(int(seed)), time.perf_counter()
        starts = initialize.batch(torch.stack(list(images)), self.start(num_gaussians), generator)
        starts = [self._set_rule(start, alpha) for start in starts]
        seconds = (time.perf_counter() - begin) / len(images)
        return [_Placed(start, generator, seconds, 0.0) for start in starts]

    def _fit_small(
        self, images: Sequence[Tensor], placed: Sequence[_Placed], num_gaussians: int, iterations: int
    ) -> list[Result]:
        """Fit Gaussians that are placed on images of one size on the CPU, in this thread."""
        make, generator = self.densification, placed[0].generator
        strategy = None if make is None else make(num_gaussians, images[0][0].numel(), iterations, generator)
        assert strategy is None or isinstance(strategy, Relocation)
        fits = fit_small(torch.stack(list(images)), [start for start, *_ in placed], iterations, strategy)
        return [
            Result(fit.gaussians, fit.image.clamp(0, 1), image, start, fit.history, seconds_init, seconds_network)
            for fit, image, (start, _, seconds_init, seconds_network) in zip(fits, images, placed, strict=True)
        ]

    def _set_rule(self, gaussians: Gaussians, alpha: bool) -> Gaussians:
        """Return Gaussians by the rule of this method."""
        is_so = (gaussians.blend, gaussians.alpha) == (self.blend, alpha)
        return gaussians if is_so else replace(gaussians, blend=self.blend, alpha=alpha)

    def _fit_together(
        self, images: Sequence[Tensor], placed: Sequence[_Placed], num_gaussians: int, iterations: int, backend: Backend
    ) -> list[Result]:
        """Fit Gaussians that are placed on several images, in the same steps."""
        make, strategies, home = self.densification, None, images[0].device
        targets = [image.to(start.means.device) for image, (start, *_) in zip(images, placed, strict=True)]
        if make is not None:
            strategies = [
                make(num_gaussians, image[0].numel(), iterations, generator)
                for image, (_, generator, *_) in zip(images, placed, strict=True)
            ]
        begin = time.perf_counter()
        starts = [start for start, *_ in placed]
        fitted = fit_batch(targets, starts, iterations, backend=backend, densifications=strategies)
        seconds = (time.perf_counter() - begin) / len(images)
        return [
            Result(
                gaussians=gaussians.to(home),
                image=image.clamp(0, 1).to(home),
                target=target,
                initial=start.to(home),
                history=[HistoryEntry(0, 0.0, first), HistoryEntry(iterations, seconds, last)][: 1 + bool(iterations)],
                seconds_init=seconds_init,
                seconds_network=seconds_network,
            )
            for gaussians, last, first, image, target, (start, _, seconds_init, seconds_network) in zip(
                *fitted, images, placed, strict=True
            )
        ]

    def _place(self, image: Tensor, num_gaussians: int, seed: int, alpha: bool, device: torch.device) -> _Placed:
        """Place Gaussians on an image, on a device."""
        generator = torch.Generator().manual_seed(int(seed))
        networks = tuple(self.networks())
        with _time_forward(networks) as seconds_network:
            begin = time.perf_counter()
            # Sums of torch's operators depend on its number of threads, in the last bits; networks need them all.
            with nullcontext() if networks else threads.reserved():
                where = image.to(device) if networks else image
                placed = self.initialize(where, self.start(num_gaussians), generator)
            initial = self._set_rule(placed.to(device), alpha)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - begin
        return _Placed(initial, generator, seconds, sum(seconds_network, 0.0))

    def refine(
        self,
        target: Tensor,
        gaussians: Gaussians,
        options: FitOptions | None = None,
        *,
        num_gaussians: int | None = None,
        generator: torch.Generator | None = None,
        frozen: Gaussians | None = None,
        callback: Callback | None = None,
    ) -> Fit:
        """Fit Gaussians that are placed already, as this method does.

        Args:
            target: (C, H, W) in [0, 1].
            gaussians: Gaussians to start from.
            options: Limits, loss and renderer; by default the published number of steps.
            num_gaussians: K at the end; by default as many as at the start.
            generator: Random generator of the densification.
            frozen: Further Gaussians, which are drawn and stay as they are, see `fastgs.fitting.fit.fit`.
            callback: Callable that gets every new entry of the history.

        Raises:
            ValueError: The image or what is to be fitted to it is not usable, see `fastgs.fitting.fit.fit`.
        """
        make, pixels = self.densification, target[0].numel()
        count = len(gaussians) if num_gaussians is None else num_gaussians
        return fit(
            target,
            gaussians,
            (options or FitOptions()).or_iterations(self.iterations),
            optimization=self.optimization,
            densification=None if make is None else lambda steps: make(count, pixels, steps, generator),
            frozen=frozen,
            callback=callback,
        )


def _are_alike(generators: Sequence[torch.Generator]) -> bool:
    """Tell whether generators will give the same numbers."""
    state = generators[0].get_state()
    return all(each is generators[0] or torch.equal(each.get_state(), state) for each in generators[1:])


@contextmanager
def _time_forward(modules: Iterable[nn.Module]) -> Iterator[list[float]]:
    """Collect the wall clock of each forward pass of modules that are not part of each other."""
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
