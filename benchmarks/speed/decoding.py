"""Time to decode and render a .fgs file of a photo.

python -m benchmarks.speed.decoding [PHOTO]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs import codec
from fastgs.io.images import load_image
from fastgs.render import render

HEIGHT, WIDTH = 512, 768
COUNTS = (2_000, 10_000)  # K
ITERATIONS = 200  # of the fit
REPEATS = 30
WARMUP = 3  # calls before those that count


def median_milliseconds(function: Callable[[], object]) -> float:
    """Return the median wall-clock time of a call in milliseconds, after a warm-up."""
    seconds = []
    for _ in range(REPEATS + WARMUP):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return round(1000 * statistics.median(seconds[WARMUP:]), 2)


def measure(photo: torch.Tensor, num_gaussians: int) -> dict[str, Any]:
    """Encode a photo once and decode it many times."""
    data = codec.encode(photo, num_gaussians=num_gaussians, iterations=ITERATIONS).data
    gaussians = codec.decode(data)
    return {
        "num_gaussians": len(gaussians),
        "bytes": len(data),
        "bits_per_gaussian": round(8 * len(data) / len(gaussians), 2),
        "milliseconds": {
            "decode": median_milliseconds(lambda: codec.decode(data)),
            "render": median_milliseconds(lambda: render(gaussians)),
            "both": median_milliseconds(lambda: render(codec.decode(data))),
        },
    }


def main() -> None:
    """Measure, print the records, and write benchmarks/results/decoding.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLE)
    arguments = parser.parse_args()
    resized = torch.nn.functional.interpolate(load_image(arguments.photo)[None], size=(HEIGHT, WIDTH), mode="bicubic")
    records = [measure(resized[0].clamp(0, 1), count) for count in COUNTS]
    for record in records:
        print(record)
    print(write_results("decoding", {"photo": arguments.photo.name, "height": HEIGHT, "width": WIDTH}, records))


if __name__ == "__main__":
    main()
