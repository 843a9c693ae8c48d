"""Fit with a loss of your own: errors at edges weigh more.

python examples/own_loss.py assets/coffee.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import Tensor

import fastgs
from fastgs.fitting.losses import LOSSES


@LOSSES.registered("edges")
def edge_loss(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of (C, H, W) images and of their differences between neighbouring pixels."""
    error = image - target
    across, down = error.diff(dim=2), error.diff(dim=1)
    return error.square().mean() + across.square().mean() + down.square().mean()


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--num-gaussians", type=int, default=5_000)
    parser.add_argument("--iterations", type=int, default=100)
    arguments = parser.parse_args()

    predictor = fastgs.Predictor()
    for loss in ("mse", "edges"):  # a registered name, or the function itself
        result = predictor(arguments.photo, arguments.num_gaussians, arguments.iterations, loss=loss)
        error = result.image - result.target
        edges = error.diff(dim=2).square().mean() + error.diff(dim=1).square().mean()
        print(f"{loss}: {result.psnr:.2f} dB, squared error of differences {float(edges):.2e}")


if __name__ == "__main__":
    main()
