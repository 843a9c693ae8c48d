"""Networks on images larger than those of their training: one large image against its parts, at the same density.

    python -m benchmarks.quality.sizes PHOTOS --num-gaussians 10000

Centre crops of `--size` pixels, of `--rows` times `--columns` photos at a time, are put together to one image. It is
predicted and fitted whole with as many Gaussians as the crops have together, and then the crops one by one. PSNR is
over all pixels of the image in both cases. The whole may spend its Gaussians where they are needed, so it should win.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmarks.environment import run, write_results
from fastgs import Predictor
from fastgs.io.images import find_images, load_image
from fastgs.metrics.quality import psnr

Item = TypeVar("Item")


def reconstruct(
    predictor: Predictor, image: Tensor, count: int, iterations: Sequence[int], seed: int
) -> dict[int, Tensor]:
    """Return the reconstruction after each number of iterations."""
    return {steps: predictor(image, count, steps, seed=seed).image for steps in iterations}


def main() -> None:
    """Measure, print, and write benchmarks/results/sizes.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument("--weights", default="base", help="a name in checkpoints/, or a path")
    parser.add_argument(
        "--num-gaussians", nargs="+", type=int, default=[10_000, 50_000], help="number of Gaussians of each crop"
    )
    parser.add_argument("--iterations", nargs="+", type=int, default=[0, 20])
    parser.add_argument("--size", type=int, default=512, help="side of the crops in pixels")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--columns", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="sizes", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()

    predictor = Predictor.from_pretrained(arguments.weights)
    rows, columns = arguments.rows, arguments.columns
    records: list[dict[str, Any]] = []
    for paths, count in product(split(find_images(arguments.data), rows * columns), arguments.num_gaussians):
        crops = [load_image(path, arguments.size) for path in paths]
        images: dict[str, dict[int, Tensor]] = {}
        whole = join(crops, columns)
        images["whole"] = reconstruct(predictor, whole, count * len(crops), arguments.iterations, arguments.seed)
        parts = [reconstruct(predictor, crop, count, arguments.iterations, arguments.seed) for crop in crops]
        images["crops"] = {steps: join([each[steps] for each in parts], columns) for steps in arguments.iterations}
        for name, steps in product(images, arguments.iterations):
            record = {
                "images": [path.name for path in paths],
                "predicted": name,
                "height": whole.shape[1],
                "width": whole.shape[2],
                "num_gaussians": count * len(crops),
                "iterations": steps,
                "psnr": round(psnr(images[name][steps], whole), 4),
            }
            records.append(record)
            print({key: value for key, value in record.items() if key != "images"}, flush=True)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "name")}
    print(write_results(arguments.name, settings, records))


def split(items: Sequence[Item], length: int) -> list[Sequence[Item]]:
    """Return consecutive parts of a length, without what is left at the end."""
    return [items[first : first + length] for first in range(0, len(items) - length + 1, length)]


def join(images: Sequence[Tensor], columns: int) -> Tensor:
    """Join images of one size, row by row, to one."""
    return torch.cat([torch.cat(list(row), dim=2) for row in split(images, columns)], dim=1)


if __name__ == "__main__":
    run(main)
