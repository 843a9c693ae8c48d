"""What the position network adds by itself: its density against the heuristic's, with the attributes of the heuristic.

    python benchmarks/density.py DATA --weights base

For each photo and K: the entropy of each density, less that of the uniform one (0: uniform; the lower, the more
concentrated), and the PSNR of fits that start from a sample of it.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from environment import write_results
from rich.progress import track
from torch import Tensor

from fastgs.fitting import fit
from fastgs.images import find_images, load_image
from fastgs.initializers import curvature
from fastgs.initializers.attributes import gaussians_from_density
from fastgs.weights import load_weights


def relative_entropy(density: Tensor) -> float:
    """Entropy of (H, W), in nats, less that of the uniform density."""
    density = density.double()
    return -float((density * (density * density.numel()).log()).sum())


def main() -> None:
    """Measure, print the means, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument("--weights", default="base", help="a name in checkpoints/, or a path")
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[2_500, 10_000, 25_000, 50_000, 100_000])
    parser.add_argument("--iterations", nargs="+", type=int, default=[20, 200])
    parser.add_argument("--size", type=int, default=512, help="shorter side; centre crop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="density", help="of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    networks = load_weights(arguments.weights)
    records: list[dict[str, Any]] = []
    for path in track(find_images(arguments.data), description="fitting"):
        image = load_image(path, arguments.size)
        for count in arguments.num_gaussians:
            with torch.no_grad():
                learned = networks.log_densities(image[None], [count])[0].exp()
            for name, density in (("curvature", curvature.density(image, count)), ("learned", learned)):
                start = gaussians_from_density(image, density, count, torch.Generator().manual_seed(arguments.seed))
                fits = [fit(image, start, iterations=iterations) for iterations in arguments.iterations]
                records.append(
                    {
                        "image": path.name,
                        "density": name,
                        "num_gaussians": count,
                        "entropy": round(relative_entropy(density), 4),
                        "psnr_init": round(fits[0].history[0].psnr, 4),
                        "psnr": {
                            str(iterations): round(each.history[-1].psnr, 4)
                            for iterations, each in zip(arguments.iterations, fits, strict=True)
                        },
                    }
                )
    for count in arguments.num_gaussians:
        for name in ("curvature", "learned"):
            chosen = [each for each in records if (each["density"], each["num_gaussians"]) == (name, count)]
            entropy = sum(each["entropy"] for each in chosen) / len(chosen)
            cells = [
                f"{sum(each['psnr'][str(iterations)] for each in chosen) / len(chosen):.2f} dB at {iterations}"
                for iterations in arguments.iterations
            ]
            print(f"K={count:<6d} {name:9s} entropy {entropy:6.3f}  {'  '.join(cells)}")
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "name")}
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    main()
