"""Quality of fits by initializer, number of Gaussians and iterations, on a folder of photos.

    python -m benchmarks.quality.quality DATA --num-gaussians 10000 50000 --iterations 20 100 200

Every cell is a run of its own of that many iterations. PSNR is exact and repeats on the same machine; seconds do not.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

from rich.progress import track

from benchmarks.environment import run, write_results
from fastgs import Predictor
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.images import find_images


def measure(
    predictor: Predictor, path: str, num_gaussians: int, iterations: int, size: int | None, seed: int
) -> dict[str, Any]:
    """Fit one photo once, and return the record."""
    result = predictor(path, num_gaussians, iterations, size=size, seed=seed)
    return {
        "image": path.rpartition("/")[2],
        "init": predictor.init,
        "num_gaussians": num_gaussians,
        "iterations": iterations,
        "psnr_init": round(result.psnr_init, 4),
        "psnr": round(result.psnr, 4),
        "seconds_init": round(result.seconds_init, 4),
        "seconds_fit": round(result.seconds_fit, 4),
    }


def main() -> None:
    """Measure, print the means, and write benchmarks/results/quality.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument("--init", nargs="+", default=[DEFAULT], choices=sorted(INITIALIZERS))
    parser.add_argument("--weights", help="weights of the learned init: a name in checkpoints/, or a path")
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[10_000, 50_000])
    parser.add_argument("--iterations", nargs="+", type=int, default=[20, 100, 200])
    parser.add_argument("--size", type=int, default=512, help="shorter side in pixels; the centre is cropped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="quality", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    photos = [str(path) for path in find_images(arguments.data)]
    cells = list(product(arguments.init, arguments.num_gaussians, arguments.iterations))
    weights = {"learned": arguments.weights}
    predictors = {init: Predictor(init, weights.get(init)) for init in arguments.init}
    for predictor in predictors.values():  # compiles or loads the kernels
        measure(predictor, photos[0], 100, 1, arguments.size, 0)
    records = [
        measure(predictors[init], photo, num_gaussians, iterations, arguments.size, arguments.seed)
        for (init, num_gaussians, iterations), photo in track(list(product(cells, photos)), description="fitting")
    ]
    for init, num_gaussians, iterations in cells:
        chosen = [
            record
            for record in records
            if (record["init"], record["num_gaussians"], record["iterations"]) == (init, num_gaussians, iterations)
        ]
        before, after, ready, seconds = (
            sum(record[key] for record in chosen) / len(chosen)
            for key in ("psnr_init", "psnr", "seconds_init", "seconds_fit")
        )
        print(
            f"{init:10s} K={num_gaussians:<6d} {iterations:5d} iterations: "
            f"{before:6.2f} dB in {ready:.2f} s -> {after:6.2f} dB in {seconds:.2f} s more"
        )
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "name")}
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    run(main)
