"""Quality of fits over iterations: initializer x K x iterations on a folder of photos.

    python benchmarks/quality.py DATA --num-gaussians 10000 50000 --iterations 20 100 200

Every cell is a run of its own of that many iterations. PSNR is exact and repeats on the same machine; seconds do not.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from typing import Any

import torch
from environment import write_results
from rich.progress import track

from fastgs.fitting import fit
from fastgs.images import find_images, load_image
from fastgs.initializers import DEFAULT, INITIALIZERS


def measure(path: str, init: str, num_gaussians: int, iterations: int, size: int | None, seed: int) -> dict[str, Any]:
    """One fit of one photo, as a record."""
    target = load_image(path, size)
    start = time.perf_counter()
    gaussians = INITIALIZERS[init](target, num_gaussians, torch.Generator().manual_seed(seed))
    seconds_init = time.perf_counter() - start
    result = fit(target, gaussians, iterations=iterations)
    return {
        "image": path.rpartition("/")[2],
        "init": init,
        "num_gaussians": num_gaussians,
        "iterations": iterations,
        "psnr_init": round(result.history[0].psnr, 4),
        "psnr": round(result.history[-1].psnr, 4),
        "seconds_init": round(seconds_init, 4),
        "seconds_fit": round(result.history[-1].seconds, 4),
    }


def main() -> None:
    """Measure, print the means, write benchmarks/results/quality.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument("--init", nargs="+", default=[DEFAULT], choices=sorted(INITIALIZERS))
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[10_000, 50_000])
    parser.add_argument("--iterations", nargs="+", type=int, default=[20, 100, 200])
    parser.add_argument("--size", type=int, default=512, help="shorter side; centre crop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="quality", help="of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    photos = [str(path) for path in find_images(arguments.data)]
    cells = list(product(arguments.init, arguments.num_gaussians, arguments.iterations))
    measure(photos[0], DEFAULT, 100, 1, arguments.size, 0)  # compiles or loads the kernels
    records = [
        measure(photo, init, num_gaussians, iterations, arguments.size, arguments.seed)
        for (init, num_gaussians, iterations), photo in track(list(product(cells, photos)), description="fitting")
    ]
    for init, num_gaussians, iterations in cells:
        chosen = [
            record
            for record in records
            if (record["init"], record["num_gaussians"], record["iterations"]) == (init, num_gaussians, iterations)
        ]
        before, after, seconds = (
            sum(record[key] for record in chosen) / len(chosen) for key in ("psnr_init", "psnr", "seconds_fit")
        )
        print(
            f"{init:10s} K={num_gaussians:<6d} {iterations:5d} iterations: "
            f"{before:6.2f} -> {after:6.2f} dB in {seconds:.2f} s"
        )
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "name")}
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    main()
