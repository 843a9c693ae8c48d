"""Measurement of restoration: files of photos with it and without.

    python -m benchmarks.quality.restoration kodak

PSNR is that of images before they are rounded to 8 bits. Times are those of the processor that restoration takes more
than a drawing. Files are kept in a folder, and taken from there if they are in it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from benchmarks.environment import run, write_results
from fastgs.codec import decode_arrays
from fastgs.codec.fastgs import Fastgs
from fastgs.codec.fastgs_encoder import RESTORATION_ROOM
from fastgs.codec.rate import encode_to_size
from fastgs.codec.restoration import add, choose, correct
from fastgs.io.files import atomic_write
from fastgs.io.images import find_images, load_image
from fastgs.metrics.quality import psnr
from fastgs.render.cpu_arrays import render as draw

RATES = (0.1, 0.2, 0.3, 0.5, 1.0)
REPEATS = 7  # of a drawing, for its median time


def measure(path: Path, bpp: float, effort: int, files: Path) -> dict[str, Any]:
    """Return size and PSNR of the file of a photo at a rate, and the milliseconds of the processor that restoration takes."""
    image = load_image(path)
    file = files / f"{path.stem}-{bpp:g}.fgs"
    if not file.exists():
        encoded = encode_to_size(Fastgs(effort=effort, restores=False), image, int(bpp * image[0].numel() / 8))
        with atomic_write(file) as temporary:
            temporary.write_bytes(encoded.data)
    data = file.read_bytes()
    gaussians = decode_arrays(data)
    corrected = correct(gaussians)
    entry = choose(corrected, image.numpy())
    restored = corrected.drawn if entry is None else add(corrected, entry)
    drawing = _milliseconds(lambda: draw(gaussians, gaussians.height, gaussians.width))
    return {
        "bytes": len(data) + (0 if entry is None else RESTORATION_ROOM),
        "num_gaussians": len(gaussians),
        "psnr": round(psnr(torch.from_numpy(corrected.drawn), image), 4),
        "psnr_restored": round(psnr(torch.from_numpy(restored), image), 4),
        "gains": entry and list(entry.gains),
        "milliseconds": round(_milliseconds(lambda: correct(gaussians)) - drawing, 1),
    }


def _milliseconds(call: Any) -> float:
    """Return the median processor time of a call, of all cores together, after a first one."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(1000 * (time.process_time() - start))
    return float(np.median(times))


def main() -> None:
    """Measure, print, and write benchmarks/results/restoration.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of RGB photos")
    parser.add_argument("--bpp", type=float, nargs="+", default=RATES, help="bits per pixel")
    parser.add_argument("--effort", type=int, default=5, help="effort of the encoder")
    parser.add_argument("--files", type=Path, default=Path("output/restored"), help="folder that keeps the files")
    parser.add_argument("--name", default="restoration", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()
    records: list[dict[str, Any]] = []
    arguments.files.mkdir(parents=True, exist_ok=True)
    for bpp in arguments.bpp:
        for path in find_images(arguments.data):
            measured = measure(path, bpp, arguments.effort, arguments.files)
            records.append({"image": path.stem, "bpp": bpp, **measured})
            print(records[-1], flush=True)
        here = [record for record in records if record["bpp"] == bpp]
        before, after = (fmean(record[name] for record in here) for name in ("psnr", "psnr_restored"))
        print(f"{bpp:g} bpp: {before:.3f} dB, restored {after:.3f} ({after - before:+.3f})", flush=True)
        # After each rate, since all of them take hours on a slow machine.
        print(write_results(arguments.name, {"effort": arguments.effort}, records), flush=True)


if __name__ == "__main__":
    run(main)
