"""Small images per second: one by one, in processes and in batches; the last two of several sizes, too.

    python -m benchmarks.speed.throughput [PHOTO...] [--images N] [--repeats N] [--output FILE.json]

The small images are crops of the photos. Fits in Python get them from memory; the command gets them as PNG files, and
writes all that it writes, into an empty folder: a file that takes the place of another one is written to disk at once,
which takes as long as a small fit. Start-up does not count: processes begin together once each has fitted an image, and
commands run with few and with all images, of which the differences count. All ways run in turn, so that a busy moment
meets them alike, and medians count. On a machine that does something else, too, what a way is worth shows in core
seconds and in the number of threads that were ready to work: those that ran, and those that waited for nothing but a
core.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import fastgs
from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.io.finding import find_images
from fastgs.io.images import ImageError
from fastgs.runtime import pool

Pixels = NDArray[np.uint8]

IMAGES, REPEATS, WORKERS = 1000, 3, 2
SIDE, NUM_GAUSSIANS, ITERATIONS = 64, 128, 50
BATCH = 250  # images of a batch, and tasks of processes have a tenth
SIDES = 32, 128, 256  # of further images, with as many Gaussians per pixel; there are at most as many images
FEW = 20  # images of a command whose time is mostly start-up


def read_photos(places: Sequence[str | Path]) -> list[Pixels]:
    """Return the (H, W, 3) pixels of photos and of folders of them."""
    photos = []
    for path in find_images(places):
        with Image.open(path) as photo:
            photos.append(np.asarray(photo.convert("RGB")))
    return photos


def cut(photos: Sequence[Pixels], count: int, side: int, seed: int = 0) -> list[Pixels]:
    """Return random square crops of the photos; raise ImageError if one is smaller."""
    least = min(min(photo.shape[:2]) for photo in photos)
    if least < side:
        raise ImageError(f"photos: crops have {side} pixels a side, and one photo only {least}; name larger photos")
    random, crops = np.random.default_rng(seed), []
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (int(random.integers(length - side + 1)) for length in photo.shape[:2])
        crops.append(np.ascontiguousarray(photo[top : top + side, left : left + side]))
    return crops


def choose_count(image: Pixels) -> int:
    """Return K for an image: as many Gaussians per pixel as those of `SIDE` have."""
    height, width, _ = image.shape
    return int(max(1, NUM_GAUSSIANS * height * width // SIDE**2))


def fit_one_by_one(images: Sequence[Pixels]) -> None:
    """Fit images, each by a call of its own."""
    predictor = fastgs.Predictor()
    for image in images:
        predictor(image, choose_count(image), ITERATIONS)


def fit_in_batches(images: Sequence[Pixels]) -> None:
    """Fit images in batches."""
    predictor = fastgs.Predictor()
    for first in range(0, len(images), BATCH):
        predictor.batch(images[first : first + BATCH], choose_count(images[0]), ITERATIONS)


class Times(NamedTuple):
    """Times of some images.

    Attributes:
        seconds: Wall clock in seconds.
        core_seconds: Seconds of all cores that worked on them.
        ready_seconds: Seconds of all threads that ran or waited for a core only; None if they are not known.
    """

    seconds: float
    core_seconds: float
    ready_seconds: float | None = None


def read_ready() -> float | None:
    """Return the seconds in which the threads of this process ran or waited for a core; None if that is not known."""
    try:
        texts = [path.read_text(encoding="ascii") for path in Path("/proc/self/task").glob("*/schedstat")]
    except OSError:
        return None
    return sum(int(part) for text in texts for part in text.split()[:2]) / 1e9 if texts else None


def time_here(work: Callable[[], None]) -> Times:
    """Return the times of a call in this process."""
    ready, start, cores = read_ready(), time.perf_counter(), time.process_time()
    work()
    seconds, cores, now = time.perf_counter() - start, time.process_time() - cores, read_ready()
    return Times(seconds, cores, None if ready is None or now is None else now - ready)


class _Way(NamedTuple):
    """Way to fit images.

    Attributes:
        name: Name in tables.
        first: Name of the way that it is compared with.
        images: Number of images.
        run: Callable that fits them, and returns the times.
    """

    name: str
    first: str
    images: int
    run: Callable[[], Times]


def _work(folder: Path, images: Sequence[Pixels]) -> tuple[float, Times]:
    """Fit images in a process, which first waits until all are ready; return when it began, and the times."""
    ready = folder / str(os.getpid())
    if not ready.exists():
        fit_one_by_one(images[:1])
        ready.touch()
        while len(list(folder.iterdir())) < WORKERS:
            time.sleep(0.001)
    begin = time.perf_counter()  # the clock of all processes
    return begin, time_here(partial(fit_one_by_one, images))


def time_processes(images: Sequence[Pixels]) -> Times:
    """Return the times of fits in processes, from when all are ready."""
    size = BATCH // 10
    tasks = deque(images[first : first + size] for first in range(0, len(images), size))
    with tempfile.TemporaryDirectory() as folder:
        times = [outcome() for _, outcome in pool.outcomes(tasks, partial(_work, Path(folder)), WORKERS)]
    seconds = max(begin + each.seconds for begin, each in times) - min(begin for begin, _ in times)
    ready = [each.ready_seconds for _, each in times]
    known = [each for each in ready if each is not None]
    return Times(seconds, sum(each.core_seconds for _, each in times), sum(known) if len(known) == len(ready) else None)


def time_call(work: Callable[[Sequence[Pixels]], None], images: Sequence[Pixels]) -> Times:
    """Return the times of fits in this process."""
    work(images[:2])
    return time_here(lambda: work(images))


def run_command(name: str, images: Sequence[Path], options: Sequence[str], output: Path) -> Times:
    """Run a command on images; return its times, with those of its processes."""
    listed = output.with_suffix(".txt")
    listed.write_text("\n".join(map(str, images)), encoding="utf-8")
    command = [sys.executable, "-m", "fastgs", name, "--from", str(listed), "--output", str(output), *options]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Times(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def time_command(options: Sequence[str], images: Sequence[Path], output: Path) -> Times:
    """Return the times of `fastgs predict` on images, without its start."""
    options = ["-k", str(NUM_GAUSSIANS), "--iterations", str(ITERATIONS), *options]
    times = []
    for some in (images[:FEW], images):
        shutil.rmtree(output, ignore_errors=True)
        times.append(run_command("predict", some, options, output))
    few, many = times
    share = len(images) / (len(images) - FEW)
    return Times((many.seconds - few.seconds) * share, (many.core_seconds - few.core_seconds) * share)


def measure(photos: Sequence[Pixels], count: int, repeats: int, folder: Path) -> list[dict[str, Any]]:
    """Return the record of each way: images per second, their ratio to the first of its kind, and what they took.

    Args:
        photos: (H, W, 3) photos.
        count: Number of images.
        repeats: Number of rounds.
        folder: Folder for files.
    """
    images = cut(photos, count, SIDE)
    files = save(images, folder / "small")
    one_by_one, in_command = "Predictor, one by one", "fastgs predict --workers 1 --batch 1"
    ways = [
        _Way(one_by_one, one_by_one, count, lambda: time_call(fit_one_by_one, images)),
        _Way(f"Predictor, {WORKERS} processes", one_by_one, count, lambda: time_processes(images)),
        _Way(f"Predictor.batch of {BATCH}", one_by_one, count, lambda: time_call(fit_in_batches, images)),
    ]
    for side in SIDES:
        others = cut(photos, max(2, min(count, count * SIDE**2 // (2 * side**2))), side)
        for name, work in (("one by one", fit_one_by_one), ("in batches", fit_in_batches)):
            first = f"Predictor, {side} x {side}, one by one"
            ways.append(
                _Way(f"Predictor, {side} x {side}, {name}", first, len(others), partial(time_call, work, others))
            )
    for options in ("--workers 1 --batch 1", "--workers 1", f"--workers {WORKERS}", f"--workers 1 --batch {BATCH}"):
        run_it = partial(time_command, options.split(), files, folder / "out")
        ways.append(_Way(f"fastgs predict {options}", in_command, count, run_it))
    times: dict[str, list[Times]] = {way.name: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            times[way.name].append(way.run())
            speed = way.images / times[way.name][-1].seconds
            print(f"{way.name}: {speed:.1f} images per second", file=sys.stderr, flush=True)
    speeds = {way.name: way.images / statistics.median(each.seconds for each in times[way.name]) for way in ways}
    records = []
    for way in ways:
        found = times[way.name]
        core_seconds = statistics.median(each.core_seconds for each in found)
        ready = [each.ready_seconds / each.seconds for each in found if each.ready_seconds is not None]
        records.append(
            {
                "way": way.name,
                "images_per_second": round(speeds[way.name], 1),
                "ratio": round(speeds[way.name] / speeds[way.first], 2),
                "core_milliseconds": round(1000 * core_seconds / way.images, 2),
                "ready_threads": round(statistics.median(ready), 2) if ready else None,
            }
        )
    return records


def save(images: Sequence[Pixels], folder: Path) -> list[Path]:
    """Write images as PNG files."""
    folder.mkdir()
    paths = [folder / f"{number:04}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


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
    photos, load = read_photos(arguments.photos), round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as name:
        records = measure(photos, arguments.images, arguments.repeats, Path(name))
    for record in records:
        print(record)
    settings: dict[str, Any] = {"photos": len(photos), "images": arguments.images, "side": SIDE, "load": load}
    settings |= {"num_gaussians": NUM_GAUSSIANS, "iterations": ITERATIONS}
    write_results("throughput", settings, records, arguments.output)


if __name__ == "__main__":
    run(main)
