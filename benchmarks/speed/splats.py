"""Speed and quality of making a dataset of splats from 32 x 32 crops of photos, including its files.

python -m benchmarks.speed.splats PHOTOS
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.environment import run, write_results
from fastgs.splats.kinds import INITS
from fastgs.splats.making import make
from fastgs.splats.shards import Settings
from fastgs.splats.sources import Source, find_sources, listing

SIZE = 32  # side of the crops in pixels
# K and number of iterations.
CASES = ((1024, 10), (1024, 20), (256, 20), (128, 20))


def measure(sources: Sequence[Source], init: str, num_gaussians: int, iterations: int, crops: int) -> dict[str, Any]:
    """Make a dataset in a temporary folder; the time includes the start of the processes."""
    settings = Settings(num_gaussians, init, iterations, 0, SIZE, crops, 1024, listing(sources))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        index = make(sources, settings, Path(folder), workers=os.cpu_count() or 1)
        seconds = time.perf_counter() - start
    return {
        "init": init,
        "num_gaussians": num_gaussians,
        "iterations": iterations,
        "images": len(index.entries),
        "psnr": round(fmean(entry.psnr for entry in index.entries), 2),
        "images_per_second": round(len(index.entries) / seconds, 1),
    }


def main() -> None:
    """Measure, print the records, and write benchmarks/results/splats.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--crops", type=int, default=4, help="number of crops of each photo")
    arguments = parser.parse_args()
    sources = find_sources(arguments.photos)
    records = []
    for count, iterations in CASES:
        for init in INITS:
            records.append(measure(sources, init, count, iterations, arguments.crops))
            print(records[-1], flush=True)
    settings = {"photos": len(sources), "crops": arguments.crops, "size": SIZE, "workers": os.cpu_count()}
    print(write_results("splats", settings, records))


if __name__ == "__main__":
    run(main)
