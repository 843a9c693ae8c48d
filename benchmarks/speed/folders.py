"""Wall time of `fastgs predict` on folders of small photos with several workers, in units of that with one.

    python -m benchmarks.speed.folders [--sides N ...] [--workers N] [--repeats N] [--output FILE.json]
    python -m benchmarks.speed.folders PHOTOS

The photos are crops of the sample of the repository, or the images of a folder as they are. First, 24 crops of
192 x 192 are fitted as the command does by default. Then, for each side in turn, there are 24 crops of 256 x 256 with
K = 4000, and as many pixels and Gaussians of smaller ones, 384 of 64 x 64 with K = 250; in these runs of a few seconds
the start of the commands counts.

What to expect: one worker uses all cores, too. Of images of up to 192 x 192 pixels (`MOST_ALONE` in fitting/fit.py)
it fits several at once, each by one thread; larger ones are shared by rows. So the unit is one worker with one thread,
and the ratio to one worker with all threads is recorded beside it: what a process more brings where one is not idle.

All commands run once to fill the caches of the disk and of numba; then they run in turn, so that a busy moment meets
all alike, and medians count. The files must be the same.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.io.finding import find_images
from fastgs.io.images import load_image, save_image

COUNT, SIDE = 24, 256  # crops of the largest side, in pixels
SIDES = (64, 128, 192, SIDE)
SMALLEST = 32  # 1536 crops
USUAL_SIDE = 192  # of the crops that are fitted by the settings that the command has by default
NUM_GAUSSIANS, ITERATIONS = 4000, 200  # of that side
REPEATS = 3
REPORTS = {"report.json", "jobs.jsonl"}  # which have times
GOAL = 0.55  # largest ratio with two workers that was aimed at


def scale(side: int) -> tuple[int, int]:
    """Return the number of crops of a side, and K of each: as many pixels and Gaussians as there are of side SIDE."""
    pixels = (side / SIDE) ** 2
    return max(2, round(COUNT / pixels)), max(1, round(NUM_GAUSSIANS * pixels))


def cut_photos(folder: Path, count: int, side: int) -> list[Path]:
    """Write square crops of the sample, evenly spread, and return their paths."""
    image = load_image(SAMPLE)
    _, height, width = image.shape
    columns = math.ceil(math.sqrt(1.5 * count))  # as the sample is about 1.5 times as wide as high
    rows = math.ceil(count / columns)
    paths = []
    for number in range(count):
        row, column = divmod(number, columns)
        top, left = row * (height - side) // max(1, rows - 1), column * (width - side) // max(1, columns - 1)
        paths.append(folder / f"photo{number:03d}.png")
        save_image(paths[-1], image[:, top : top + side, left : left + side])
    return paths


def predict(
    photos: Sequence[Path], num_gaussians: int | None, workers: int, threads: int | None, output: Path
) -> float:
    """Run the command, with all threads or so many, and return its seconds from start to end."""
    command = [sys.executable, "-m", "fastgs", "predict", *map(str, photos), "--output", str(output)]
    command += ["--workers", str(workers)]
    if num_gaussians is not None:
        command += ["--num-gaussians", str(num_gaussians), "--iterations", str(ITERATIONS)]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the content of the outputs by their names; the report holds times."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in REPORTS}


def measure_usual(workers: int, repeats: int) -> dict[str, Any]:
    """Return the record of COUNT small crops with the settings that the command has by default."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = measure(cut_photos(folder, COUNT, USUAL_SIDE), None, workers, repeats, folder)
    return {"side": USUAL_SIDE, **record}


def measure_side(side: int, workers: int, repeats: int) -> dict[str, Any]:
    """Return the record of crops of a side, with the goal that two workers have."""
    count, num_gaussians = scale(side)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = measure(cut_photos(folder, count, side), num_gaussians, workers, repeats, folder)
    return {"side": side, **record}


def measure(
    photos: Sequence[Path], num_gaussians: int | None, workers: int, repeats: int, folder: Path
) -> dict[str, Any]:
    """Return the record: seconds with one and with several workers, and their ratios; outputs go to a folder.

    No number of Gaussians stands for all settings that the command has by default.
    """
    cases = {"several": (workers, None), "one": (1, None), "one_thread": (1, 1)}
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(1 + repeats):
        for name, case in cases.items():
            took = predict(photos, num_gaussians, *case, folder / name)
            if number:
                seconds[name].append(took)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    files = [read_files(folder / name) for name in cases]
    ratio = round(medians["several"] / medians["one_thread"], 3)
    return {
        "photos": len(photos),
        "num_gaussians": num_gaussians,
        "workers": workers,
        "seconds": {name: round(each, 2) for name, each in medians.items()},
        "ratio": ratio,
        "ratio_to_all_threads": round(medians["several"] / medians["one"], 3),
        "same_files": all(each == files[0] for each in files),
        **({"goal": GOAL, "met": ratio <= GOAL} if workers == 2 else {}),
    }


def main() -> None:
    """Measure, print the records, and write them if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, help="folder of photos (default: crops of the sample)")
    parser.add_argument("--sides", nargs="+", type=int, metavar="N", help="sides of crops (default: 64 128 192 256)")
    parser.add_argument("--workers", type=int, default=2, help="from 2 up (default: 2)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each command that count (default: 3)")
    parser.add_argument("--output", type=Path, help="JSON file to write (default: none)")
    arguments = parser.parse_args()
    if arguments.workers < 2 or arguments.repeats < 1:
        parser.error("there must be 2 workers and 1 repeat at least")
    sides = sorted(set(arguments.sides or SIDES))
    largest = min(load_image(SAMPLE).shape[1:])
    for side in sides:
        if not SMALLEST <= side <= largest:
            parser.error(f"argument --sides: must be from {SMALLEST} to {largest}, got {side}")
    records = []
    if arguments.photos is None:
        if arguments.sides is None:
            records.append(measure_usual(arguments.workers, arguments.repeats))
            print(records[-1], flush=True)
        for side in sides:
            records.append(measure_side(side, arguments.workers, arguments.repeats))
            print(records[-1], flush=True)
    elif arguments.sides is not None:
        parser.error("argument --sides: is for crops of the sample; leave out the folder of photos")
    else:
        photos = find_images(arguments.photos)
        with tempfile.TemporaryDirectory() as name:
            records.append(measure(photos, NUM_GAUSSIANS, arguments.workers, arguments.repeats, Path(name)))
        print(records[-1])
    if arguments.output is not None:
        sample = SAMPLE.name if arguments.photos is None else arguments.photos.name
        write_results("folders", {"photos": sample, "iterations": ITERATIONS}, records, arguments.output)


if __name__ == "__main__":
    run(main)
