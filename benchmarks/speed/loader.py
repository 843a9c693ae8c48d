"""Crops per second that training gets from a folder of PNG files, decoded in every epoch or kept on disk.

    python -m benchmarks.speed.loader [PHOTOS] [--crop N] [--epochs N] [--output FILE.json]

The photos are those of a folder, or eight copies of the sample, enlarged to 2040 x 1356 pixels as those of DIV2K are.
Random crops are loaded without a cache in memory, by 1 and by 2 workers. The first epoch, which starts processes, warms
the caches of the system and fills that of decoded images, does not count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.data import EpochSampler, ImageFolder
from fastgs.data.folder import collate
from fastgs.io.images import load_image, save_image

COPIES, HEIGHT, WIDTH = 8, 1356, 2040  # photos, and their size in pixels
BATCH_SIZE = 8


def make_photos(folder: Path) -> None:
    """Write copies of the sample at the size of the photos of DIV2K, each turned in another way."""
    image = torch.nn.functional.interpolate(load_image(SAMPLE)[None], (HEIGHT, WIDTH), mode="bicubic")[0].clamp(0, 1)
    for number in range(COPIES):
        save_image(folder / f"{number}.png", image.roll(100 * number, 2))


def measure(folder: Path, crop: int, workers: int, epochs: int, cache: Path | None) -> float:
    """Return the crops per second."""
    dataset = ImageFolder(folder, crop=crop, random_crop=True, flip=True, cache_megabytes=0, disk_cache=cache)
    sampler = EpochSampler(dataset, repeat=max(1, 64 // len(dataset)))
    loader = DataLoader(
        dataset,
        BATCH_SIZE,
        sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=True,
        multiprocessing_context="forkserver",
    )
    count, start = 0, 0.0
    for epoch in range(1 + epochs):
        sampler.set_epoch(epoch)
        if epoch == 1:
            start = time.perf_counter()
        for batch in loader:
            count += len(batch.images) if epoch else 0
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure, print the records, and write them if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, help="folder of photos (default: copies of the sample)")
    parser.add_argument("--crop", type=int, default=256, help="side in pixels (default: 256)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs that count (default: 2)")
    parser.add_argument("--output", type=Path, help="JSON file to write (default: none)")
    arguments = parser.parse_args()
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        photos, cache = Path(name) / "photos", Path(name) / "cache"
        photos.mkdir()
        if arguments.photos is None:
            make_photos(photos)
        for workers in (1, 2):
            for place in (None, cache):
                speed = measure(arguments.photos or photos, arguments.crop, workers, arguments.epochs, place)
                records.append(
                    {"workers": workers, "disk_cache": place is not None, "crops_per_second": round(speed, 1)}
                )
                print(records[-1])
    if arguments.output is not None:
        settings = {"photos": SAMPLE.name if arguments.photos is None else arguments.photos.name}
        write_results("loader", settings | {"crop": arguments.crop}, records, arguments.output)


if __name__ == "__main__":
    run(main)
