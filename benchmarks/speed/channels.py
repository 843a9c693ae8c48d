"""Time of an iteration of a fit by the number of channels: gray, RGB, RGBA and stacks, side by side.

python -m benchmarks.speed.channels [PHOTO]

Every round fits each number of channels once; the time is that of the fastest round.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.images import load_image


def main() -> None:
    """Measure, print the records, and write benchmarks/results/channels.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--channels", nargs="+", type=int, default=[1, 2, 3, 4, 9])
    parser.add_argument("--num-gaussians", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--size", type=int, default=512, help="side of the crop in pixels")
    arguments = parser.parse_args()

    photo = load_image(arguments.photo, arguments.size)
    starts = {}
    for channels in arguments.channels:
        gray = photo.mean(0, keepdim=True)
        image = gray if channels == 1 else torch.cat([photo] * -(-channels // 3))[:channels].contiguous()
        start = INITIALIZERS[DEFAULT](image, arguments.num_gaussians, torch.Generator().manual_seed(0))
        fit(image, start, FitOptions(3))  # compiles the kernels
        starts[channels] = image, start
    fastest = dict.fromkeys(arguments.channels, float("inf"))
    for _ in range(arguments.rounds):
        for channels, (image, start) in starts.items():
            seconds = fit(image, start, FitOptions(arguments.iterations)).history[-1].seconds
            fastest[channels] = min(fastest[channels], seconds / arguments.iterations)
    records: list[dict[str, Any]] = [
        {
            "channels": channels,
            "milliseconds": round(1000 * seconds, 3),
            "relative_to_rgb": round(seconds / fastest[3], 3),
        }
        for channels, seconds in fastest.items()
    ]
    for record in records:
        print(record)
    settings = {key: str(value) if key == "photo" else value for key, value in vars(arguments).items()}
    print(write_results("channels", settings | {"photo": arguments.photo.name}, records))


if __name__ == "__main__":
    run(main)
