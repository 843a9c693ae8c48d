"""Small images per second one by one, in processes and in batches, and core seconds of a photo of a megapixel.

    python -m benchmarks.speed.throughput [PHOTO...] [--images N] [--repeats N] [--output FILE.json]

The small images are crops of the photos. Fits in Python get them from memory; the command gets them as PNG files, and
writes all that it writes. Start-up does not count: processes begin together once each has fitted an image, and commands
run with few and with all images, of which the differences count. All ways run in turn, so that a busy moment meets them
alike, and medians count. The large photos are mosaics of four crops. docs/guides/jobs.md says what follows for a
million of them.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import fastgs
import fastgs.codec
from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.io.finding import find_images
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.runtime import pool, threads

Pixels = NDArray[np.uint8]

IMAGES, REPEATS, WORKERS = 1000, 3, 2
SIDE, NUM_GAUSSIANS, ITERATIONS = 64, 128, 50
BATCH = 250  # images of a batch, and tasks of processes have a tenth
FEW = 20  # images of a command whose time is mostly start-up
LARGE_SIDE, LARGE_NUM_GAUSSIANS, LARGE_ITERATIONS = 1024, 20_000, 200
LARGE_IMAGES = 3
# Files that commands write for each image.
SUFFIXES = {"predict": (".safetensors", ".png"), "encode": (".fgs",)}


def cut(photos: Sequence[Pixels], count: int, side: int, seed: int = 0) -> list[Pixels]:
    """Return random square crops of the photos."""
    random, crops = np.random.default_rng(seed), []
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (int(random.integers(length - side + 1)) for length in photo.shape[:2])
        crops.append(np.ascontiguousarray(photo[top : top + side, left : left + side]))
    return crops


def fit_one_by_one(images: Sequence[Pixels]) -> None:
    """Fit images, each by a call of its own."""
    predictor = fastgs.Predictor()
    for image in images:
        predictor(image, NUM_GAUSSIANS, ITERATIONS)


def fit_in_batches(images: Sequence[Pixels]) -> None:
    """Fit images in batches."""
    predictor = fastgs.Predictor()
    for first in range(0, len(images), BATCH):
        predictor.batch(images[first : first + BATCH], NUM_GAUSSIANS, ITERATIONS)


def _work(folder: Path, images: Sequence[Pixels]) -> tuple[float, float]:
    """Fit images in a process, which first waits until all are ready; return when it began and when it ended."""
    ready = folder / str(os.getpid())
    if not ready.exists():
        fit_one_by_one(images[:1])
        ready.touch()
        while len(list(folder.iterdir())) < WORKERS:
            time.sleep(0.001)
    begin = time.perf_counter()  # the clock of all processes
    fit_one_by_one(images)
    return begin, time.perf_counter()


def time_processes(images: Sequence[Pixels]) -> float:
    """Return the seconds of fits in processes, from when all are ready."""
    size = BATCH // 10
    tasks = [images[first : first + size] for first in range(0, len(images), size)]
    with tempfile.TemporaryDirectory() as folder:
        times = [outcome() for _, outcome in pool.outcomes(tasks, partial(_work, Path(folder)), WORKERS)]
    return max(end for _, end in times) - min(begin for begin, _ in times)


def time_call(work: Callable[[Sequence[Pixels]], None], images: Sequence[Pixels]) -> float:
    """Return the seconds of fits in this process."""
    work(images[:2])
    start = time.perf_counter()
    work(images)
    return time.perf_counter() - start


def run_command(name: str, images: Sequence[Path], options: Sequence[str], output: Path) -> tuple[float, float]:
    """Run a command on images; return its seconds, and the core seconds that it and its processes took."""
    listed = output.with_suffix(".txt")
    listed.write_text("\n".join(map(str, images)), encoding="utf-8")
    command = [sys.executable, "-m", "fastgs", name, "--from", str(listed), "--output", str(output), *options]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def time_command(options: Sequence[str], images: Sequence[Path], output: Path) -> float:
    """Return the seconds of `fastgs predict` on images, without its start."""
    options = ["-k", str(NUM_GAUSSIANS), "--iterations", str(ITERATIONS), *options]
    few, _ = run_command("predict", images[:FEW], options, output)
    many, _ = run_command("predict", images, options, output)
    return (many - few) * len(images) / (len(images) - FEW)


def measure_small(photos: Sequence[Pixels], count: int, repeats: int, folder: Path) -> list[dict[str, Any]]:
    """Return the records of small images: for each way, the images per second, and the ratio to the first of its kind.

    Args:
        photos: (H, W, 3) photos.
        count: Number of images.
        repeats: Number of rounds.
        folder: Folder for files.
    """
    images = cut(photos, count, SIDE)
    files = save(images, folder / "small")
    ways: dict[str, Callable[[], float]] = {
        "Predictor, one by one": lambda: time_call(fit_one_by_one, images),
        f"Predictor, {WORKERS} processes": lambda: time_processes(images),
        f"Predictor.batch of {BATCH}": lambda: time_call(fit_in_batches, images),
    }
    commands = {"--workers 1": ["--workers", "1"], f"--workers {WORKERS}": ["--workers", str(WORKERS)]}
    commands[f"--workers 1 --batch {BATCH}"] = ["--workers", "1", "--batch", str(BATCH)]
    for name, options in commands.items():
        ways[f"fastgs predict {name}"] = partial(time_command, options, files, folder / "out")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name].append(way())
            print(f"{name}: {count / seconds[name][-1]:.1f} images per second", file=sys.stderr, flush=True)
    speeds = {name: count / statistics.median(each) for name, each in seconds.items()}
    firsts = {"Predictor": "Predictor, one by one", "fastgs": "fastgs predict --workers 1"}
    return [
        {"way": name, "images_per_second": round(speed, 1), "ratio": round(speed / speeds[_first(name, firsts)], 2)}
        for name, speed in speeds.items()
    ]


def _first(name: str, firsts: dict[str, str]) -> str:
    """Return the way that a way is compared with."""
    return next(first for start, first in firsts.items() if name.startswith(start))


def save(images: Sequence[Pixels], folder: Path) -> list[Path]:
    """Write images as PNG files."""
    folder.mkdir()
    paths = [folder / f"{number:04}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def draw(path: Path) -> Tensor:
    """Return the image of a file that a command wrote."""
    if path.suffix == ".fgs":
        return fastgs.codec.decode_image(path.read_bytes())
    return fastgs.render(fastgs.Gaussians.load(path))


def measure_large(photos: Sequence[Pixels], folder: Path) -> list[dict[str, Any]]:
    """Return the records of photos of a megapixel: core seconds and bytes of each, and the PSNR."""
    crops = cut(photos, 4 * LARGE_IMAGES, LARGE_SIDE // 2)
    rows = [np.concatenate(crops[number : number + 2], axis=1) for number in range(0, len(crops), 2)]
    mosaics = [np.concatenate(rows[number : number + 2]) for number in range(0, len(rows), 2)]
    files = save(mosaics, folder / "large")
    records = []
    fit = ["--iterations", str(LARGE_ITERATIONS)]
    for name, options in (("predict", fit), ("encode", [])):
        options = ["-k", str(LARGE_NUM_GAUSSIANS), "--workers", "1", *options]
        output = folder / name
        run_command(name, files[:1], options, output)  # compiles kernels, and fills the caches of the disk
        _, few = run_command(name, files[:1], options, output)
        _, many = run_command(name, files, options, output)
        suffixes = SUFFIXES[name]
        written = {suffix: sum(each.stat().st_size for each in output.glob(f"*{suffix}")) for suffix in suffixes}
        drawn = [draw(each) for each in sorted(output.glob(f"*{suffixes[0]}"))]
        psnrs = [psnr(image, load_image(file)) for image, file in zip(drawn, files, strict=True)]
        records.append(
            {
                "command": name,
                "core_seconds": round((many - few) / (LARGE_IMAGES - 1), 2),
                "psnr": round(statistics.fmean(psnrs), 2),
                "bytes_read": sum(each.stat().st_size for each in files) // LARGE_IMAGES,
                "bytes_written": {suffix: size // LARGE_IMAGES for suffix, size in written.items()},
            }
        )
    return records


def main() -> None:
    """Measure, print the records, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", default=[SAMPLE], metavar="PHOTO", help="photos, or a folder of them")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"small images (default: {IMAGES})")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"rounds (default: {REPEATS})")
    parser.add_argument("--output", type=Path, help="JSON file (default: benchmarks/results/throughput.json)")
    arguments = parser.parse_args()
    if arguments.images <= FEW or arguments.repeats < 1:
        parser.error(f"there must be more than {FEW} images, and 1 round at least")
    paths = find_images(arguments.photos)
    photos = []
    for path in paths:
        with Image.open(path) as photo:
            photos.append(np.asarray(photo.convert("RGB")))
    load = round(os.getloadavg()[0], 1)  # other programs on this machine
    with tempfile.TemporaryDirectory() as name:
        records = measure_large(photos, Path(name))
        records += measure_small(photos, arguments.images, arguments.repeats, Path(name))
    for record in records:
        print(record)
    settings = {
        "photos": len(paths),
        "small": {"images": arguments.images, "side": SIDE, "num_gaussians": NUM_GAUSSIANS, "iterations": ITERATIONS},
        "large": {
            "images": LARGE_IMAGES,
            "side": LARGE_SIDE,
            "num_gaussians": LARGE_NUM_GAUSSIANS,
            "iterations": LARGE_ITERATIONS,
        },
        "threads": threads.num_threads(),
        "load": load,
    }
    write_results("throughput", settings, records, arguments.output)


if __name__ == "__main__":
    run(main)
