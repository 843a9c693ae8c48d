"""Records of methods: one for each fit of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import override

from fastgs.evaluation.records import ImageRecord, ImageTask


@dataclass(frozen=True)
class Budget:
    """Limit that ends a fit; exactly one of the two is None.

    Attributes:
        iterations: Number of iterations.
        seconds: Wall-clock seconds of the iterations.
    """

    iterations: int | None
    seconds: float | None

    def __str__(self) -> str:
        if self.iterations is None:
            return "1 second" if self.seconds == 1 else f"{self.seconds:g} seconds"
        return "1 iteration" if self.iterations == 1 else f"{self.iterations:,} iterations"

    @property
    def order(self) -> tuple[bool, float]:
        """Sort key: iterations before seconds, short before long."""
        return self.iterations is None, self.iterations or self.seconds or 0


@dataclass(frozen=True, kw_only=True)
class MethodTask(ImageTask):
    """Fit of one image by one method.

    Attributes:
        method: Name of a method in `fastgs.methods.METHODS`.
        num_gaussians: Number of Gaussians, K.
        budget: Limit of the fit.
        seed: Random seed.
    """

    method: str
    num_gaussians: int
    budget: Budget
    seed: int

    def __str__(self) -> str:
        return f"{self.method}, K = {self.num_gaussians:,}, {self.budget}"

    @override
    def _name_parts(self) -> list[str]:
        budget = self.budget
        limit = f"{budget.seconds}s" if budget.iterations is None else str(budget.iterations)
        return [self.method, str(self.num_gaussians), limit]


@dataclass(frozen=True, kw_only=True)
class MethodRecord(MethodTask, ImageRecord):
    """Result of one fit of one image.

    Attributes:
        iterations: Number of iterations that were made.
        psnr_init: PSNR at the start, in dB.
        psnr: PSNR at the end, in dB.
        psnr_8bit: PSNR of that image rounded to 8 bits, as files have it, in dB; None in files of earlier versions.
        seconds_network: Wall-clock seconds of the forward pass of the networks; 0 if there are none.
        seconds_sampling: Wall-clock seconds of the rest of the initialization: density, sampling, first attributes.
        seconds_fit: Wall-clock seconds of the iterations.
        seconds_render: Wall-clock seconds of rendering the result, median of several renderings.
        peak_memory_mb: Most memory that the process held during initialization and fit, in 10^6 bytes; None if unknown.
        bytes: Size of the Gaussians as a safetensors file.
        history: (iteration, seconds, PSNR in dB) along the fit, both ends included; seconds and PSNR to four decimals.
    """

    FIELDS: ClassVar = (
        *("method", "image", "sha256", "size", "num_gaussians", "budget", "seed", "height", "width", "iterations"),
        *("psnr_init", "psnr", "psnr_8bit", "ssim", "ms_ssim", "lpips"),
        *("seconds_network", "seconds_sampling", "seconds_fit", "seconds_render", "peak_memory_mb"),
        *("workers", "threads", "bytes", "picture", "fastgs", "history"),
    )
    LATER: ClassVar = ("psnr_8bit",)
    # The seconds in the history differ from run to run, too.
    MEASURED: ClassVar = (
        *("seconds_network", "seconds_sampling", "seconds_fit", "seconds_render", "peak_memory_mb"),
        *("workers", "threads"),
    )

    iterations: int
    psnr_init: float
    psnr: float
    psnr_8bit: float | None
    seconds_network: float
    seconds_sampling: float
    seconds_fit: float
    seconds_render: float
    peak_memory_mb: float | None
    bytes: int
    history: list[tuple[int, float, float]]

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of initialization and fit together."""
        return self.seconds_network + self.seconds_sampling + self.seconds_fit

    @property
    @override
    def task(self) -> MethodTask:
        return self._project(MethodTask)

    @property
    @override
    def result(self) -> str:
        return f"{self.psnr:.2f} dB  {self.seconds:.1f} s"

    @classmethod
    @override
    def _parse(cls, item: dict[str, Any]) -> dict[str, Any]:
        try:
            history = [_entry(*each) for each in item["history"]]
            return {**item, "budget": Budget(**item["budget"]), "history": history}
        except (TypeError, ValueError) as error:
            raise ValueError("has no proper budget or history") from error


def _entry(iteration: int, seconds: float, psnr: float) -> tuple[int, float, float]:
    return int(iteration), float(seconds), float(psnr)
