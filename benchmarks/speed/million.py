"""Core seconds and bytes of a photo of a megapixel, from which docs/guides/jobs.md reckons those of a million.

    python -m benchmarks.speed.million [PHOTO...] [--output FILE.json]

The photos are mosaics of four crops of those given. Each command runs once to compile its kernels, then on one photo
and on all; the differences count, so that start-up does not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import fastgs
import fastgs.codec
from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from benchmarks.speed.throughput import Pixels, cut, read_photos, run_command, save
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr

SIDE, NUM_GAUSSIANS, ITERATIONS = 1024, 20_000, 200
IMAGES = 3
# Files that commands write for each image.
SUFFIXES = {"predict": (".safetensors", ".png"), "encode": (".fgs",)}


def draw(path: Path) -> Tensor:
    """Return the image of a file that a command wrote."""
    if path.suffix == ".fgs":
        return fastgs.codec.decode_image(path.read_bytes())
    return fastgs.render(fastgs.Gaussians.load(path))


def measure(photos: Sequence[Pixels], folder: Path) -> list[dict[str, Any]]:
    """Return the record of each command: core seconds and bytes of each photo, and the PSNR."""
    crops = cut(photos, 4 * IMAGES, SIDE // 2)
    rows = [np.concatenate(crops[number : number + 2], axis=1) for number in range(0, len(crops), 2)]
    mosaics = [np.concatenate(rows[number : number + 2]) for number in range(0, len(rows), 2)]
    files = save(mosaics, folder / "photos")
    records = []
    for name, iterations in (("predict", ["--iterations", str(ITERATIONS)]), ("encode", [])):
        options = ["-k", str(NUM_GAUSSIANS), "--workers", "1", *iterations]
        output = folder / name
        run_command(name, files[:1], [*options, "--iterations", "20"], output)  # the last number counts
        one = run_command(name, files[:1], options, output).core_seconds
        all_of_them = run_command(name, files, options, output).core_seconds
        suffixes = SUFFIXES[name]
        drawn = [draw(each) for each in sorted(output.glob(f"*{suffixes[0]}"))]
        psnrs = [psnr(image, load_image(file)) for image, file in zip(drawn, files, strict=True)]
        records.append(
            {
                "command": name,
                "core_seconds": round((all_of_them - one) / (IMAGES - 1), 2),
                "psnr": round(statistics.fmean(psnrs), 2),
                "bytes_read": _mean_size(files),
                "bytes_written": {suffix: _mean_size(list(output.glob(f"*{suffix}"))) for suffix in suffixes},
            }
        )
    return records


def _mean_size(files: Sequence[Path]) -> int:
    """Return the mean size of files in bytes."""
    return sum(each.stat().st_size for each in files) // len(files)


def main() -> None:
    """Measure, print the records, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", default=[SAMPLE], metavar="PHOTO", help="photos, or a folder of them")
    parser.add_argument("--output", type=Path, help="JSON file (default: benchmarks/results/million.json)")
    arguments = parser.parse_args()
    photos, load = read_photos(arguments.photos), round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as name:
        records = measure(photos, Path(name))
    for record in records:
        print(record)
    settings: dict[str, Any] = {"photos": len(photos), "images": IMAGES, "side": SIDE, "load": load}
    settings |= {"num_gaussians": NUM_GAUSSIANS, "iterations": ITERATIONS}
    write_results("million", settings, records, arguments.output)


if __name__ == "__main__":
    run(main)
