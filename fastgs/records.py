"""What was measured, as a JSON list of records: written by `fastgs evaluate`, read by it and by `fastgs table`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from fastgs.files import atomic_write

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
        size = "full" if self.size is None else self.size
        return f"{Path(self.image).stem}-{self.sha256[:8]}-{size}.png"

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
        psnr_init, psnr: dB, at the start and at the end, as in metrics.py.
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


def load_records(path: str | Path) -> list[Record]:
    """Read what `save_records` wrote.

    Raises:
        ValueError: the file is missing, unreadable, or holds anything else; one line that begins with the path.
    """
    try:
        items = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise ValueError(f"{path}: is damaged or no JSON ({error}); {_WAY_OUT}") from error
    if not isinstance(items, list):
        raise ValueError(f"{path}: holds no list of records; {_WAY_OUT}")
    return [_record(item, f"{path}: record {number}") for number, item in enumerate(items, start=1)]


def save_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write one record per line, so that long histories stay readable; whole or not at all.

    Raises:
        OSError: the folder does not exist or is not writable, or the disk is full.
    """
    items = [{**vars(record), "budget": vars(record.budget)} for record in records]
    lines = ",\n".join(json.dumps(item, allow_nan=False) for item in items)
    with atomic_write(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n")


_WAY_OUT = "name a file that `fastgs evaluate` wrote, or that does not exist yet"
_TYPES = get_type_hints(Record)


def _record(item: Any, place: str) -> Record:
    """A record from JSON, its fields and their types checked."""
    if not isinstance(item, dict) or item.keys() != _TYPES.keys():
        raise ValueError(f"{place} has other fields than this version writes; {_WAY_OUT}")
    try:
        fields = {**item, "budget": Budget(**item["budget"]), "history": [_entry(*each) for each in item["history"]]}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} has no proper budget or history; {_WAY_OUT}") from error
    for name, hint in _TYPES.items():
        if not isinstance(fields[name], list if get_origin(hint) is list else hint):
            raise ValueError(f"{place} has an improper {name}; {_WAY_OUT}")
    return Record(**fields)


def _entry(iteration: int, seconds: float, psnr: float) -> tuple[int, float, float]:
    return int(iteration), float(seconds), float(psnr)
