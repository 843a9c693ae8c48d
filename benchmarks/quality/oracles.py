"""How good could a start be? Fits that begin with what a long fit of the same image knows, beside starts that do not.

    python -m benchmarks.quality.oracles PHOTOS --num-gaussians 10000 50000

A start is worth what a fit of so many iterations makes of it. Of the Gaussians at the end of a long fit with relocation
from the heuristic start, "density" is their projected density averaged with the heuristic's, sampled again; "positions"
are their exact means; "shapes" are their exact means, scales and rotations. What is not named is the heuristic's. So
"density" bounds what a position network can teach, and "shapes" what one that also predicts geometry can.
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

# Of the projection, in units of the mean spacing: of a single set, so wider than where many are averaged.
SIGMA = 0.5


def starts(image: Tensor, count: int, teacher_iterations: int, seed: int) -> tuple[float, dict[str, Gaussians]]:
    """PSNR of the long fit in dB, and what to start from, by name."""

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
    """Measure, print the means, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument("--weights", default="base", help="of the learned start: a name in checkpoints/, or a path")
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[10_000, 50_000])
    parser.add_argument("--iterations", nargs="+", type=int, default=[20, 100, 500])
    parser.add_argument("--teacher-iterations", type=int, default=1000, help="of the long fit")
    parser.add_argument("--size", type=int, default=512, help="shorter side; centre crop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="oracles", help="of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    learned = Predictor.from_pretrained(arguments.weights)
    records: list[dict[str, Any]] = []
    for path in track(find_images(arguments.data), description="fitting"):
        image = load_image(path, arguments.size)
        for count in arguments.num_gaussians:
            teacher, known = starts(image, count, arguments.teacher_iterations, arguments.seed)
            known["networks"] = learned(image, count, 0, seed=arguments.seed).initial
            for name, start in known.items():
                generator = torch.Generator().manual_seed(arguments.seed)
                fits = {
                    steps: fit(image, start, FitOptions(steps), densification=relocation(start, generator))
                    for steps in arguments.iterations
                }
                records.append(
                    {
                        "image": path.name,
                        "num_gaussians": count,
                        "variant": name,
                        "psnr_teacher": round(teacher, 4),
                        "psnr_init": round(next(iter(fits.values())).history[0].psnr, 4),
                        "psnr": {str(steps): round(each.history[-1].psnr, 4) for steps, each in fits.items()},
                    }
                )
    for count in arguments.num_gaussians:
        for name in dict.fromkeys(each["variant"] for each in records):
            chosen = [each for each in records if (each["variant"], each["num_gaussians"]) == (name, count)]
            cells = [
                f"{sum(each['psnr'][str(steps)] for each in chosen) / len(chosen):.2f} dB at {steps}"
                for steps in arguments.iterations
            ]
            print(f"K={count:<6d} {name:9s} {'  '.join(cells)}")
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "name")}
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    run(main)
