"""Start from positions of your own: more Gaussians towards the centre of the photo.

python examples/own_initializer.py assets/coffee.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import fastgs
from fastgs.initializers import INITIALIZERS
from fastgs.initializers.from_density import gaussians_from_density


@INITIALIZERS.registered("center")
def initialize(image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> fastgs.Gaussians:
    """Place exactly K Gaussians by a density that falls from the centre of a (C, H, W) image to its corners.

    Scales, rotations and colours follow from the image and the density, as with the initializers of fastgs.
    """
    _, height, width = image.shape
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)[None, :]
    density = torch.exp(-(x.square() + y.square())).to(image.device)
    return gaussians_from_density(image, density, num_gaussians, generator)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--num-gaussians", type=int, default=5_000)
    parser.add_argument("--iterations", type=int, default=100)
    arguments = parser.parse_args()

    for init in ("center", "grid", "curvature"):
        result = fastgs.Predictor(init=init)(arguments.photo, arguments.num_gaussians, arguments.iterations)
        print(f"{init}: {result.psnr_init:.2f} dB at first, {result.psnr:.2f} dB after {arguments.iterations}")


if __name__ == "__main__":
    main()
