"""Time of a forward pass of the learned start, from an image to Gaussians, by precision and by way of computing it.

python -m benchmarks.speed.networks [PHOTO]

The ways are "dense", the networks as they are trained, and "fast", `fastgs.models.inference`. All configurations take
turns within every round, so that what else the machine does meanwhile meets all of them. The time of the processor,
summed over threads, is beside that of the clock: on a busy machine compare that, with one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.gaussians import Gaussians
from fastgs.io.images import load_image
from fastgs.methods import WEIGHTS
from fastgs.metrics.quality import psnr
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.pretrained import load_weights
from fastgs.render import render

CONFIGURATIONS = [
    (precision, way) for precision in (torch.float32, torch.bfloat16) for way in ("dense", "fast")
]  # what `LearnedInitializer.initialize` takes where the processor has bfloat16 is the last


def predict(networks: LearnedInitializer, image: Tensor, count: int, precision: torch.dtype, way: str) -> Gaussians:
    """Make K Gaussians of a (3, H, W) image."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        gaussians: Gaussians = networks(image[None], [count], [source], fast=way == "fast")[0]
    return gaussians


def measure(networks: LearnedInitializer, image: Tensor, count: int, rounds: int) -> list[dict[str, Any]]:
    """Return a record for each configuration."""
    # The first calls compile kernels and prepare weights. Those are kept for one precision at a time, so that a call
    # that does not count comes before each that does.
    psnrs = [psnr(render(predict(networks, image, count, *each)), image) for each in CONFIGURATIONS]
    clock: list[list[float]] = [[] for _ in CONFIGURATIONS]
    processor: list[list[float]] = [[] for _ in CONFIGURATIONS]
    for _ in range(rounds):
        for index, each in enumerate(CONFIGURATIONS):
            predict(networks, image, count, *each)
            begin, begin_processor = time.perf_counter(), time.process_time()
            predict(networks, image, count, *each)
            clock[index].append(time.perf_counter() - begin)
            processor[index].append(time.process_time() - begin_processor)
    return [
        {
            "num_gaussians": count,
            "precision": str(precision).removeprefix("torch."),
            "way": way,
            "seconds": round(median(clock[index]), 4),
            "least_seconds": round(min(clock[index]), 4),
            "processor_seconds": round(median(processor[index]), 4),
            "least_processor_seconds": round(min(processor[index]), 4),
            "psnr": round(psnrs[index], 3),
        }
        for index, (precision, way) in enumerate(CONFIGURATIONS)
    ]


def main() -> None:
    """Measure, print the records, and write them: to benchmarks/results/networks.json, or where `--output` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--weights", default=WEIGHTS, help="name in checkpoints/, or a path")
    parser.add_argument("--num-gaussians", nargs="+", type=int, default=[10_000])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--size", type=int, default=512, help="side of the crop in pixels")
    parser.add_argument("--threads", type=int, help="number of threads; by default that of torch")
    parser.add_argument("--output", type=Path, help="JSON file to write instead")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    image, networks = load_image(arguments.photo, arguments.size), load_weights(arguments.weights)
    records = []
    for count in arguments.num_gaussians:
        for record in measure(networks, image, count, arguments.rounds):
            records.append(record)
            print(record, flush=True)
    settings = {name: getattr(arguments, name) for name in ("weights", "rounds", "size")}
    settings["photo"] = arguments.photo.name
    print(write_results("networks", settings, records, arguments.output))


if __name__ == "__main__":
    run(main)
