"""Wall time of commands from start to end, in units of two imports that are measured beside them.

python -m benchmarks.speed.startup [PHOTO] [--output FILE.json]

The photo, by default the sample of the repository, is encoded once for `fastgs decode`, and its centre is cut out for
`fastgs predict`. Every command runs once to fill the caches of the disk and of numba; then all of them run in turn, so
that a busy moment meets all alike, and medians count. Those of FIRST_TIME get an empty cache of kernels every time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs import codec
from fastgs.io.images import load_image, save_image

NUM_GAUSSIANS = 10_000  # K of the encoded photo
SIDE, ITERATIONS = 256, 50  # of the fit
REPEATS = 7
NUMPY, TORCH = "import numpy", "import torch"
FIRST_TIME = "fastgs predict, first time"


class Goal(NamedTuple):
    """Largest time of a command that was aimed at.

    Attributes:
        ratio: Time of the command in units of that of the import.
        unit: Statement that is the unit.
    """

    ratio: float
    unit: str


GOALS = {
    "fastgs --help": Goal(2.0, NUMPY),
    "fastgs decode": Goal(0.8, TORCH),
    "fastgs predict": Goal(1.8, TORCH),
    FIRST_TIME: Goal(3.5, TORCH),
}


def list_commands(photo: Path, folder: Path) -> dict[str, list[str]]:
    """Return the arguments of Python for everything that is measured, by name; inputs are made in a folder."""
    image = load_image(photo)
    file, crop = folder / "photo.fgs", folder / "crop.png"
    file.write_bytes(codec.encode(image, num_gaussians=NUM_GAUSSIANS, iterations=100).data)
    save_image(crop, load_image(photo, SIDE))
    fastgs = ["-m", "fastgs"]
    predict = [*fastgs, "predict", str(crop), "--iterations", str(ITERATIONS), "-o", str(folder / "output")]
    return {
        NUMPY: ["-c", NUMPY],
        TORCH: ["-c", TORCH],
        "import fastgs": ["-c", "import fastgs"],
        "fastgs --help": [*fastgs, "--help"],
        "fastgs predict --help": [*fastgs, "predict", "--help"],
        "fastgs info": [*fastgs, "info", str(file)],
        "fastgs decode": [*fastgs, "decode", str(file), "-o", str(folder / "decoded.png")],
        "fastgs predict": predict,
        FIRST_TIME: predict,
    }


def measure(commands: Mapping[str, list[str]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each command."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(1 + repeats):
        for name, arguments in commands.items():
            with tempfile.TemporaryDirectory() as empty:
                environment = os.environ | ({"NUMBA_CACHE_DIR": empty} if name == FIRST_TIME else {})
                start = time.perf_counter()
                subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
                elapsed = time.perf_counter() - start
            if number:
                seconds[name].append(elapsed)
    return {name: statistics.median(each) for name, each in seconds.items()}


def make_records(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a record for each command: its time, the two ratios, and the goal if it has one."""
    records = []
    for name, each in seconds.items():
        ratios = {unit: round(each / seconds[unit], 3) for unit in (NUMPY, TORCH)}
        goal = GOALS.get(name)
        met = {} if goal is None else {"goal": goal._asdict(), "met": ratios[goal.unit] <= goal.ratio}
        records.append({"command": name, "seconds": round(each, 3), "ratios": ratios, **met})
    return records


def main() -> None:
    """Measure, print the records, and write them if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each command that count (default: 7)")
    parser.add_argument("--output", type=Path, help="JSON file to write (default: none)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(list_commands(arguments.photo, Path(folder)), arguments.repeats)
    records = make_records(seconds)
    for record in records:
        print(f"{record['command']:<26}  {record['seconds']:6.3f} s", end="")
        print("".join(f"  {ratio:6.2f} x {unit}" for unit, ratio in record["ratios"].items()), end="")
        print("" if "met" not in record else f"  {'met' if record['met'] else 'missed'}: {record['goal']['ratio']:g}")
    if arguments.output is not None:
        settings = {"photo": arguments.photo.name, "num_gaussians": NUM_GAUSSIANS, "side": SIDE, "steps": ITERATIONS}
        write_results("startup", settings, records, arguments.output)


if __name__ == "__main__":
    run(main)
