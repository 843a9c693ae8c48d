"""Upper bounds of initializations: fits that begin with what a long fit of the same image knows, and fits that do not.

    python -m benchmarks.quality.oracles PHOTOS --num-gaussians 10000 50000

An initialization is worth what a fit of so many iterations makes of it. The long fit starts from the heuristic and
relocates Gaussians. From the Gaussians at its end, "density" takes their projected density, averaged with the
heuristic's, and samples it again; "positions" takes their exact means; "shapes" takes their exact means, scales and
rotations. All else is the heuristic's. So "density" bounds what a position network can learn, and "shapes" what a
network can learn that also predicts geometry.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from benchmarks.environment import run, write_results
from fastgs import Predictor
from fastgs.fitting.densification import relocation
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature
from fastgs.initializers.from_density import gaussians_at, gaussians_from_density
from fastgs.initializers.sampling import project
from fastgs.io.images import find_images, load_image

# Standard deviation of the projection in units of the mean spacing of Gaussians. It is of a single set of Gaussians, so
# it is wider than where many sets are averaged.
SIGMA = 0.5


def starts(image: Tensor, count: int, teacher_iterations: int, seed: int) -> tuple[float, dict[str, Gaussians]]:
    """Return the PSNR of the long fit in dB, and the initializations by name."""

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    _, height, width = image.shape
    heuristic = curvature.initialize(image, count, seeded())
    teacher = fit(image, heuristic, FitOptions(teacher_iterations), densification=relocation(heuristic, seeded()))
    end = teacher.gaussians
    projected = project(end.means, height, width, SIGMA)
    density = 0.5 * (projected + curvature.density(image, count))
    inside = torch.minimum(end.means.clamp(min=0), torch.tensor([width, height]) - 1e-3)
    positions = gaussians_at(inside, image, projected)
    known = {
        "curvature": heuristic,
        "density": gaussians_from_density(image, density, count, seeded()),
        "positions": positions,
        "shapes": replace(end, colors=positions.colors),
    }
    return teacher.history[-1].psnr, known


def main() -> None:
    """Measure, print the means, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument(
        "--weights", default="base", help="weights of the learned start: a name in checkpoints/, or a path"
    )
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[10_000, 50_000])
    parser.add_argument("--iterations", nargs="+", type=int, default=[20, 100, 500])
    parser.add_argument("--teacher-iterations", type=int, default=1000, help="number of iterations of the long fit")
    parser.add_argument("--size", type=int, default=512, help="shorter side in pixels; the centre is cropped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="oracles", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    photos = {path: load_image(path, arguments.size) for path in find_images(arguments.data)}
    learned = Predictor.from_pretrained(arguments.weights)
    records: list[dict[str, Any]] = []
    for path, image in track(photos.items(), description="fitting", total=len(photos)):
        for count in arguments.num_gaussians:
            teacher, known = starts(image, count, arguments.teacher_iterations, arguments.seed)
            known["networks"] = learned(image, count, 0, seed=arguments.seed).initial
            for name, start in known.items():
                record = {"image": path.name, "num_gaussians": count, "variant": name}
                record |= {"psnr_teacher": round(teacher, 4), **measure(image, start, arguments)}
                records.append(record)
    print_means(records, arguments)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "name")}
    print(write_results(arguments.name, settings, records))


def measure(image: Tensor, start: Gaussians, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit an image from one start for each number of iterations, and return PSNR before and after."""
    generator = torch.Generator().manual_seed(arguments.seed)
    histories = {
        steps: fit(image, start, FitOptions(steps), densification=relocation(start, generator)).history
        for steps in arguments.iterations
    }
    return {
        "psnr_init": round(next(iter(histories.values()))[0].psnr, 4),
        "psnr": {str(steps): round(history[-1].psnr, 4) for steps, history in histories.items()},
    }


def print_means(records: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Print a line with the means of each K and start."""
    for count in arguments.num_gaussians:
        for name in dict.fromkeys(each["variant"] for each in records):
            chosen = [each for each in records if (each["variant"], each["num_gaussians"]) == (name, count)]
            cells = [
                f"{sum(each['psnr'][str(steps)] for each in chosen) / len(chosen):.2f} dB at {steps}"
                for steps in arguments.iterations
            ]
            print(f"K={count:<6d} {name:9s} {'  '.join(cells)}")


if __name__ == "__main__":
    run(main)
