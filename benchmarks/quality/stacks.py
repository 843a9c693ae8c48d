"""Stacks of textures: one set of Gaussians with all channels, against one set for each texture, at equal parameters.

    python -m benchmarks.quality.stacks PHOTOS --num-gaussians 20000

The textures of a material are made of a photo, as tools for materials do: its colours (albedo); the normals of a
surface whose height is the blurred brightness; and occlusion, roughness and height, each a function of the brightness
and of the height around. These 9 channels share their edges. A Gaussian of the stack has 5 numbers for its shape and 9
for its colours; three fits of 3 channels get as many Gaussians as have the same number of parameters in all.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.environment import run, write_results
from fastgs import Predictor
from fastgs.initializers.filters import smooth
from fastgs.io.images import find_images, load_image
from fastgs.metrics.quality import psnr

SHAPE = 5  # parameters of a Gaussian beside its colours
TEXTURES = {"albedo": slice(0, 3), "normal": slice(3, 6), "occlusion, roughness, height": slice(6, 9)}
BUMP = 8.0  # steepness of the surface


def make_material(photo: Tensor) -> Tensor:
    """Return the (9, H, W) textures of a material in [0, 1], made of a (3, H, W) photo."""
    height = smooth(photo.mean(0), 1.0)
    padded = functional.pad(height[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    slope_x, slope_y = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    normals = functional.normalize(torch.stack([-BUMP * slope_x, -BUMP * slope_y, torch.ones_like(height)]), dim=0)
    occlusion = (1 - 4 * (smooth(height, 8.0) - height)).clamp(0, 1)
    roughness = (0.9 - 0.6 * photo.mean(0)).clamp(0, 1)
    return torch.cat([photo, 0.5 + 0.5 * normals, torch.stack([occlusion, roughness, height])])


def main() -> None:
    """Measure, print, and write benchmarks/results/stacks.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="photos and folders of photos")
    parser.add_argument("--num-gaussians", type=int, default=20_000, help="number of Gaussians of the stack")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--size", type=int, default=512, help="side of the crops in pixels")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    predictor = Predictor()
    records: list[dict[str, Any]] = []
    for path in find_images(arguments.data):
        material = make_material(load_image(path, arguments.size))
        channels = len(material)
        parameters = arguments.num_gaussians * (SHAPE + channels)
        alone = parameters // sum(SHAPE + part.stop - part.start for part in TEXTURES.values())
        together = predictor(material, arguments.num_gaussians, arguments.iterations, seed=arguments.seed)
        parts = [
            predictor(material[part], alone, arguments.iterations, seed=arguments.seed) for part in TEXTURES.values()
        ]
        separate = torch.cat([part.image for part in parts])
        record: dict[str, Any] = {
            "image": path.name,
            "parameters": parameters,
            "num_gaussians": {"stack": arguments.num_gaussians, "each": alone},
            "psnr": {"stack": round(together.psnr, 4), "separate": round(psnr(separate, material), 4)},
            "seconds_fit": {
                "stack": round(together.seconds_fit, 3),
                "separate": round(sum(part.seconds_fit for part in parts), 3),
            },
        }
        for name, part in TEXTURES.items():
            record[f"psnr of {name}"] = {
                "stack": round(psnr(together.image[part], material[part]), 4),
                "separate": round(psnr(separate[part], material[part]), 4),
            }
        records.append(record)
        print(record, flush=True)
    settings = {key: value for key, value in vars(arguments).items() if key != "data"}
    print(write_results("stacks", settings, records))


if __name__ == "__main__":
    run(main)
