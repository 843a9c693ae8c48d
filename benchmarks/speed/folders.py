"""Wall time of `fastgs predict` on a folder of small photos with several workers, in units of that with one.

python -m benchmarks.speed.folders [PHOTOS] [--workers N] [--repeats N] [--output FILE.json]

The photos are crops of the sample of the repository, or the images of a folder. One worker is one process that has all
cores, by rows; it is also measured with one thread. All commands run once to fill the caches of the disk and of numba;
then they run in turn, so that a busy moment meets all alike, and medians count. The files must be the same.
"""

from __future__ import annotations

import argparse
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

COUNT, SIDE = 24, 256  # crops and their side in pixels
NUM_GAUSSIANS, ITERATIONS = 4000, 200
REPEATS = 3
REPORTS = {"report.json", "jobs.jsonl"}  # which have times
GOAL = 0.55  # largest ratio with two workers that was aimed at


def cut_photos(folder: Path) -> list[Path]:
    """Write crops of the sample, and return their paths."""
    image = load_image(SAMPLE)
    _, height, width = image.shape
    paths = []
    for number in range(COUNT):
        row, column = divmod(number, 6)
        top, left = row * (height - SIDE) // 3, column * (width - SIDE) // 5
        paths.append(folder / f"photo{number:02d}.png")
        save_image(paths[-1], image[:, top : top + SIDE, left : left + SIDE])
    return paths


def predict(photos: Sequence[Path], workers: int, threads: int | None, output: Path) -> float:
    """Run the command, with all threads or so many, and return its seconds from start to end."""
    command = [sys.executable, "-m", "fastgs", "predict", *map(str, photos), "--output", str(output)]
    command += ["--num-gaussians", str(NUM_GAUSSIANS), "--iterations", str(ITERATIONS), "--workers", str(workers)]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the content of the outputs by their names; the report holds times."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in REPORTS}


def measure(photos: Sequence[Path], workers: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Return the record: seconds with one and with several workers, and their ratios."""
    cases = {"several": (workers, None), "one": (1, None), "one_thread": (1, 1)}
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(1 + repeats):
        for name, case in cases.items():
            took = predict(photos, *case, folder / name)
            if number:
                seconds[name].append(took)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    files = [read_files(folder / name) for name in cases]
    return {
        "photos": len(photos),
        "workers": workers,
        "seconds": {name: round(each, 2) for name, each in medians.items()},
        "ratio": round(medians["several"] / medians["one"], 3),
        "ratio_to_one_thread": round(medians["several"] / medians["one_thread"], 3),
        "same_files": all(each == files[0] for each in files),
    }


def main() -> None:
    """Measure, print the record, and write it if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, help="folder of photos (default: crops of the sample)")
    parser.add_argument("--workers", type=int, default=2, help="from 2 up (default: 2)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each command that count (default: 3)")
    parser.add_argument("--output", type=Path, help="JSON file to write (default: none)")
    arguments = parser.parse_args()
    if arguments.workers < 2 or arguments.repeats < 1:
        parser.error("there must be 2 workers and 1 repeat at least")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = cut_photos(folder) if arguments.photos is None else find_images(arguments.photos)
        record = measure(photos, arguments.workers, arguments.repeats, folder)
    if arguments.workers == 2:
        record |= {"goal": GOAL, "met": record["ratio"] <= GOAL}
    print(record)
    if arguments.output is not None:
        settings = {
            "photos": SAMPLE.name if arguments.photos is None else arguments.photos.name,
            "num_gaussians": NUM_GAUSSIANS,
            "iterations": ITERATIONS,
        }
        write_results("folders", settings, [record], arguments.output)


if __name__ == "__main__":
    run(main)
