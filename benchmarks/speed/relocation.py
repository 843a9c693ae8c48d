"""Cost of relocation: a fit with it over the same fit without, by the number of Gaussians.

python -m benchmarks.speed.relocation [PHOTO]

Both take turns within every round. The ratio is the median of those of the rounds, so that what else the machine does
meanwhile cancels out; all times of a fit count, the renderings of its history included.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.fitting.densification import relocation
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.images import load_image


def time_fit(image: Tensor, start: Gaussians, iterations: int, relocated: bool) -> tuple[float, float]:
    """Fit once; return seconds and the PSNR in dB at the end."""
    strategy = relocation(start, torch.Generator().manual_seed(0)) if relocated else None
    begin = time.perf_counter()
    result = fit(image, start, FitOptions(iterations), densification=strategy)
    return time.perf_counter() - begin, result.history[-1].psnr


def measure(image: Tensor, num_gaussians: int, iterations: int, rounds: int) -> dict[str, Any]:
    """Return a record of fits of K Gaussians to a (C, H, W) image."""
    start = INITIALIZERS[DEFAULT](image, num_gaussians, torch.Generator().manual_seed(0))
    with_relocation = relocation(start)
    assert with_relocation is not None
    events = len(with_relocation(iterations).events)
    time_fit(image, start, max(60, iterations // 10), True)  # compiles the kernels
    seconds: dict[bool, list[float]] = {False: [], True: []}
    psnrs = {}
    for turn in range(rounds):
        # The first of two finds a warmer machine, or a colder one.
        for relocated in (False, True) if turn % 2 == 0 else (True, False):
            elapsed, psnrs[relocated] = time_fit(image, start, iterations, relocated)
            seconds[relocated].append(elapsed)
    pairs = list(zip(seconds[True], seconds[False], strict=True))
    return {
        "num_gaussians": num_gaussians,
        "events": events,
        "plain_seconds": round(median(seconds[False]), 4),
        "relocated_seconds": round(median(seconds[True]), 4),
        "ratio": round(median(moved / plain for moved, plain in pairs), 3),
        "milliseconds_per_event": round(1000 * median(moved - plain for moved, plain in pairs) / max(events, 1), 2),
        "plain_psnr": round(psnrs[False], 2),
        "relocated_psnr": round(psnrs[True], 2),
    }


def main() -> None:
    """Measure, print the records, and write them: to benchmarks/results/relocation.json, or where `--output` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[10_000])
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--size", type=int, default=512, help="side of the crop in pixels")
    parser.add_argument("--output", type=Path, help="JSON file to write instead")
    arguments = parser.parse_args()
    image = load_image(arguments.photo, arguments.size)
    records = []
    for count in arguments.num_gaussians:
        records.append(measure(image, count, arguments.iterations, arguments.rounds))
        print(records[-1], flush=True)
    settings = {name: getattr(arguments, name) for name in ("iterations", "rounds", "size")}
    settings["photo"] = arguments.photo.name
    print(write_results("relocation", settings, records, arguments.output))


if __name__ == "__main__":
    run(main)
