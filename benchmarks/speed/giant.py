"""Time, peak memory and seams of fits in tiles, with a kill in the middle of the first.

    python -m benchmarks.speed.giant [PHOTO...]

The pictures are mosaics of the photos, made on disk. benchmarks/results/giant.json is written after every case.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.io.finding import find_images
from fastgs.io.pixels import Floats
from fastgs.io.samples import Samples
from fastgs.io.strips import TILE, write_strips

ROOT = Path(__file__).parents[2]


class Case(NamedTuple):
    """Fit to measure.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
        num_gaussians: K.
        iterations: Number of steps.
        tile: Side of the tiles in pixels.
        killed: True to kill the process in the middle, and start it again.
    """

    height: int
    width: int
    num_gaussians: int
    iterations: int
    tile: int
    killed: bool


CASES = (Case(4000, 6000, 1_000_000, 100, 2048, False), Case(20_000, 20_000, 200_000, 30, 2048, True))


def write_mosaic(path: Path, photos: Sequence[NDArray[np.uint8]], height: int, width: int) -> None:
    """Write a picture of photos side by side, as TIFF in tiles, without having it in memory."""
    down, across = (min(photo.shape[axis] for photo in photos) for axis in (0, 1))

    def row(number: int) -> NDArray[np.uint8]:
        cells = (photos[(5 * number + column) % len(photos)] for column in range(-(-width // across)))
        return np.concatenate([cell[:down, :across] for cell in cells], axis=1)[:, :width]

    def strips() -> Iterator[Floats]:
        for top in range(0, height, TILE):
            end = min(top + TILE, height)
            rows = np.concatenate([row(number) for number in range(top // down, (end - 1) // down + 1)])
            first = top // down * down
            yield rows[top - first : end - first].transpose(2, 0, 1).astype(np.float32) / np.float32(255)

    write_strips(path, strips(), Samples(np.zeros((3, 1, 1), np.float32)), height, width)


def measure(case: Case, photos: Sequence[NDArray[np.uint8]], folder: Path) -> dict[str, Any]:
    """Fit a mosaic in a process of its own, and return its peak memory, time and quality."""
    picture, output = folder / "mosaic.tif", folder / "out"
    write_mosaic(picture, photos, case.height, case.width)
    command = [sys.executable, "-m", "fastgs", "predict", str(picture), "--output", str(output)]
    command += ["--num-gaussians", str(case.num_gaussians), "--iterations", str(case.iterations)]
    command += ["--tile", str(case.tile), "--pyramid"]
    runs = []
    if case.killed:
        count = -(-case.height // case.tile) * -(-case.width // case.tile)
        runs.append(_run(command, output / "mosaic.tiles" / f"tile-{count // 2:06}.safetensors"))
    runs.append(_run(command))
    (record,) = json.loads((output / "report.json").read_text(encoding="utf-8"))
    names = (
        "tiles",
        "tiles_resumed",
        "psnr_init",
        "psnr",
        "psnr_borders",
        "psnr_inside",
        "seconds_init",
        "seconds_fit",
    )
    return {
        **case._asdict(),
        **{name: record[name] for name in names},
        "seconds": round(sum(each["seconds"] for each in runs), 1),
        "peak_gigabytes": max(each["peak_gigabytes"] for each in runs),
        "longest_silence": max(each["silence"] for each in runs),
        "bytes": {each.suffix: each.stat().st_size for each in sorted(output.glob("mosaic.*"))},
    }


def _run(command: list[str], until: Path | None = None) -> dict[str, float]:
    """Run a command, to its end or until a file is there; return its time, peak memory, and longest silence."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    said = [start]

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(time.perf_counter())
            print(line, end="", flush=True)

    thread = Thread(target=listen, daemon=True)
    thread.start()
    if until is not None:
        while not until.exists() and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    thread.join()
    if process.returncode != (0 if until is None else -9):
        raise SystemExit(f"{' '.join(command)} failed")
    said.append(time.perf_counter())
    return {
        "seconds": time.perf_counter() - start,
        "peak_gigabytes": round(usage.ru_maxrss / 1e6, 3),  # its unit is a kilobyte on Linux
        "silence": round(max(after - before for before, after in pairwise(said)), 1),
    }


def main() -> None:
    """Measure, print the records, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", default=[SAMPLE], metavar="PHOTO", help="photos, or a folder of them")
    parser.add_argument("--folder", type=Path, help="folder for the pictures (default: that for temporary files)")
    parser.add_argument("--output", type=Path, help="JSON file (default: benchmarks/results/giant.json)")
    arguments = parser.parse_args()
    photos = []
    for path in find_images(arguments.photos):
        with Image.open(path) as photo:
            pixels = np.asarray(photo.convert("RGB"))
            photos.append(pixels if pixels.shape[1] >= pixels.shape[0] else pixels.transpose(1, 0, 2))
    records = []
    for case in CASES:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            records.append(measure(case, photos, Path(folder)))
        print(records[-1], flush=True)
        write_results("giant", {"photos": len(photos)}, records, arguments.output)


if __name__ == "__main__":
    run(main)
