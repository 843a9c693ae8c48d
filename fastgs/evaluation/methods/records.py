"""What was measured of methods: one record for each fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastgs.evaluation.records import target_name

# Fields of a record that differ from run to run, as do the seconds in the history; all others repeat exactly on one
# machine if the budget is one of iterations.
MEASURED = (
    "seconds_network",
    "seconds_sampling",
    "seconds_fit",
    "seconds_render",
    "peak_memory_mb",
    "workers",
    "threads",
)


@dataclass(frozen=True)
class Budget:
    """What ends a fit; one of the two is None."""

    iterations: int | None
    seconds: float | None

    def __str__(self) -> str:
        if self.iterations is None:
            return "1 second" if self.seconds == 1 else f"{self.seconds:g} seconds"
        return "1 iteration" if self.iterations == 1 else f"{self.iterations:,} iterations"


@dataclass(frozen=True)
class Task:
    """One cell of an evaluation, and what tells its record from all others.

    Attributes:
        method: a name in `fastgs.methods.METHODS`.
        image: path.
        sha256: of the file, in hexadecimal.
        size: shorter side in pixels, centre crop to a square; None keeps the size of the image.
        num_gaussians: K.
        budget: of the fit.
        seed: of everything random.
    """

    method: str
    image: str
    sha256: str
    size: int | None
    num_gaussians: int
    budget: Budget
    seed: int

    def __str__(self) -> str:
        return f"{self.method}, K = {self.num_gaussians:,}, {self.budget}"

    def target_name(self) -> str:
        """Name of the file for the image that is fitted, where pictures are kept."""
        return target_name(self.image, self.sha256, self.size)

    def picture_name(self) -> str:
        """Name of the file for the reconstruction."""
        limit = f"{self.budget.seconds}s" if self.budget.iterations is None else self.budget.iterations
        begin = self.target_name().removesuffix(".png")
        return f"{begin}-{self.method}-{self.num_gaussians}-{limit}-seed{self.seed}.png"


@dataclass(frozen=True)
class Record(Task):
    """What one fit of one image gave.

    Attributes:
        height, width: of the image that was fitted, in pixels.
        iterations: number of steps that were made.
        psnr_init, psnr: dB, at the start and at the end, as in metrics/quality.py.
        ssim, ms_ssim, lpips: of the result; None where the image is too small, or LPIPS has no weights.
        seconds_network: wall clock of the networks; 0 where there are none.
        seconds_sampling: wall clock of the rest of the start: density, sampling, first attributes.
        seconds_fit: wall clock of the steps.
        seconds_render: wall clock of rendering the result, median of a few times.
        peak_memory_mb: most memory that the process held during start and fit, in 10^6 bytes; None if not known.
        workers: processes that measured side by side; with more than one, seconds are no measure of speed.
        threads: that kernels ran on.
        bytes: size of the Gaussians as a safetensors file.
        picture: path of the reconstruction, if it was kept.
        fastgs: version.
        history: (iteration, seconds, PSNR in dB) along the fit, both ends included, to four decimals.
    """

    height: int
    width: int
    iterations: int
    psnr_init: float
    psnr: float
    ssim: float | None
    ms_ssim: float | None
    lpips: float | None
    seconds_network: float
    seconds_sampling: float
    seconds_fit: float
    seconds_render: float
    peak_memory_mb: float | None
    workers: int
    threads: int
    bytes: int
    picture: str | None
    fastgs: str
    history: list[tuple[int, float, float]]

    @property
    def seconds(self) -> float:
        """Start and fit together."""
        return self.seconds_network + self.seconds_sampling + self.seconds_fit

    @property
    def task(self) -> Task:
        """What was asked for."""
        return Task(**{name: getattr(self, name) for name in Task.__dataclass_fields__})

    @property
    def result(self) -> str:
        """In a few words."""
        return f"{self.psnr:.2f} dB  {self.seconds:.1f} s"

    @property
    def has_picture(self) -> bool:
        """Whether there is a reconstruction to be kept: always."""
        return True

    def as_json(self) -> dict[str, Any]:
        """The fields, as `record_files` writes them."""
        return {**vars(self), "budget": vars(self.budget)}

    @staticmethod
    def from_json(item: dict[str, Any]) -> dict[str, Any]:
        """The fields from what `as_json` gave.

        Raises:
            TypeError, ValueError: budget or history are none.
        """
        return {**item, "budget": Budget(**item["budget"]), "history": [_entry(*each) for each in item["history"]]}


def _entry(iteration: int, seconds: float, psnr: float) -> tuple[int, float, float]:
    return int(iteration), float(seconds), float(psnr)
