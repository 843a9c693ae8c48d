"""Peak memory of a whole prediction for a small and a very large photo.

python -m benchmarks.speed.memory [PHOTO]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.io.images import load_image, save_image

ROOT = Path(__file__).parents[2]
CASES = [(512, 512, 100_000), (4000, 6000, 200_000), (4000, 6000, 1_000_000)]  # height, width, K
ITERATIONS = 10


def measure(photo: Path, height: int, width: int, num_gaussians: int) -> dict[str, Any]:
    """Resize the photo, predict its Gaussians in a process of its own, and return the peak memory of that process."""
    with tempfile.TemporaryDirectory() as folder:
        image = torch.nn.functional.interpolate(load_image(photo)[None], size=(height, width), mode="bicubic")[0]
        path = Path(folder) / "photo.png"
        save_image(path, image)
        command = [sys.executable, str(ROOT / "infer.py"), str(path), "--output", folder + "/out"]
        command += ["--num-gaussians", str(num_gaussians), "--iterations", str(ITERATIONS), "--plots"]
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    # The unit of ru_maxrss is a kilobyte on Linux.
    return {
        "height": height,
        "width": width,
        "num_gaussians": num_gaussians,
        "peak_gigabytes": round(usage.ru_maxrss / 1e6, 3),
    }


def main() -> None:
    """Measure, print the records, and write benchmarks/results/memory.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLE)
    arguments = parser.parse_args()
    records = [measure(arguments.photo, *case) for case in CASES]
    for record in records:
        print(record)
    print(write_results("memory", {"photo": arguments.photo.name, "iterations": ITERATIONS, "plots": True}, records))


if __name__ == "__main__":
    main()
