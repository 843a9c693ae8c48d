"""Measure what the learned start is worth in time: PSNR over wall-clock seconds, the start included, for both starts.

    python -m benchmarks.quality.starts PHOTOS --num-gaussians 10000 50000

Every point is a run of its own of that many iterations, with its own schedule. Both starts take turns, so that a busy
moment of the machine meets both alike; seconds are those of the fastest of some repeats, and of these the median over
photos, after one run that loads all.
"""

from __future__ import annotations

import argparse
from itertools import product
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import track

from benchmarks.environment import run, write_results
from fastgs import Predictor
from fastgs.io.images import find_images, load_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("curvature", "learned")


def measure(predictor: Predictor, image: torch.Tensor, count: int, iterations: int, repeats: int) -> dict[str, Any]:
    """Fit a photo, and return PSNR in dB and the seconds of start and fit of the fastest repeat."""
    results = [predictor(image, count, iterations) for _ in range(repeats)]
    fastest = min(results, key=lambda result: result.seconds_init + result.seconds_fit)
    return {
        "psnr": round(fastest.psnr, 4),
        "seconds_init": round(fastest.seconds_init, 4),
        "seconds_fit": round(fastest.seconds_fit, 4),
    }


def points(records: list[dict[str, Any]], count: int, init: str) -> list[tuple[int, float, float]]:
    """Return iterations, median seconds and mean PSNR of one start at one K, the shortest run first."""
    chosen = [each for each in records if (each["num_gaussians"], each["init"]) == (count, init)]
    found = []
    for iterations in sorted({each["iterations"] for each in chosen}):
        some = [each for each in chosen if each["iterations"] == iterations]
        seconds = median(each["seconds_init"] + each["seconds_fit"] for each in some)
        found.append((iterations, seconds, fmean(each["psnr"] for each in some)))
    return found


def plot(content: dict[str, Any]) -> Figure:
    """Draw a panel for each K: PSNR over seconds, a line for each start, with the numbers of iterations."""
    from fastgs.evaluation.figures import finish_panels, make_panels, set_title, style

    counts = content["settings"]["num_gaussians"]
    figure, panels = make_panels(len(counts))
    for axes, count in zip(panels, counts, strict=True):
        for name in NAMES:
            iterations, seconds, psnrs = zip(*points(content["records"], count, name), strict=True)
            look = style(NAMES, name)
            axes.plot(seconds, psnrs, label=name, color=look.color, marker=look.marker, linestyle=look.linestyle)
            for steps, x, y in zip(iterations, seconds, psnrs, strict=True):
                axes.annotate(str(steps), (x, y), xytext=(4, -9), textcoords="offset points", fontsize=7)
        axes.set_xscale("log")
        axes.set_xlabel("seconds, start included")
        set_title(axes, f"K = {count:,}; iterations at the points")
    finish_panels(figure, panels, NAMES, "PSNR in dB")
    return figure


def main() -> None:
    """Measure, print the means, and write benchmarks/results/starts.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[10_000, 50_000])
    parser.add_argument("--iterations", nargs="+", type=int, default=[0, 10, 20, 50, 100, 200])
    parser.add_argument("--size", type=int, default=512, help="shorter side in pixels; the centre is cropped")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--name", default="starts", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    photos = {path.name: load_image(path, arguments.size) for path in find_images(arguments.data)}
    predictors = {name: Predictor(name) for name in NAMES}
    for predictor in predictors.values():  # loads the kernels and the networks
        measure(predictor, next(iter(photos.values())), arguments.num_gaussians[0], 60, 1)
    cells = list(product(arguments.num_gaussians, arguments.iterations, photos.items(), NAMES))
    records = []
    for count, iterations, (image, values), name in track(cells, description="fitting"):
        record = {"image": image, "init": name, "num_gaussians": count, "iterations": iterations}
        records.append(record | measure(predictors[name], values, count, iterations, arguments.repeats))
    for count, name in product(arguments.num_gaussians, NAMES):
        line = "  ".join(
            f"{steps}: {seconds:.2f} s {psnr:.2f} dB" for steps, seconds, psnr in points(records, count, name)
        )
        print(f"K={count:<6d} {name:9s} {line}")
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "name")}
    settings["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    run(main)
