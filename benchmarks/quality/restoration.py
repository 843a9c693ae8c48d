"""What restoration is worth: files of photos at equal sizes, with it and without.

    python -m benchmarks.quality.restoration kodak

Each photo is encoded twice at each rate, by an encoder that knows the network and by one that does not. PSNR is that of
the images before they are rounded to 8 bits. Times are those of the network alone, beside the drawing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.environment import run, write_results
from fastgs.codec import decode, decode_image, read_restoration
from fastgs.codec.fastgs import Fastgs
from fastgs.codec.rate import encode_to_size
from fastgs.codec.restoration import correct
from fastgs.io.images import find_images, load_image
from fastgs.metrics.quality import psnr
from fastgs.render import render
from fastgs.render.cpu_arrays import render as draw

RATES = (0.1, 0.2, 0.3, 0.5, 1.0)
REPEATS = 7  # of a drawing, for its median time


def measure(image: Tensor, bpp: float, effort: int) -> dict[str, Any]:
    """Return sizes and PSNR of both files at a rate, and the milliseconds that restoration takes."""
    size = int(bpp * image[0].numel() / 8)
    plain, restored = (
        encode_to_size(Fastgs(effort=effort, restores=restores), image, size) for restores in (False, True)
    )
    gaussians = decode(restored.data)
    entry = read_restoration(restored.data)
    arrays = gaussians.arrays()
    drawing = _milliseconds(lambda: draw(arrays, arrays.height, arrays.width))
    return {
        "bytes": [len(plain.data), len(restored.data)],
        "num_gaussians": [len(plain.gaussians), len(gaussians)],
        "psnr": round(psnr(render(plain.gaussians), image), 3),
        "psnr_restored": round(psnr(decode_image(restored.data), image), 3),
        "psnr_drawn": round(psnr(render(gaussians), image), 3),
        "gains": entry and list(entry.gains),
        "milliseconds": round(_milliseconds(lambda: correct(arrays)) - drawing, 1),
    }


def _milliseconds(call: Any) -> float:
    """Return the median time of a call after a first one."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def main() -> None:
    """Measure, print, and write benchmarks/results/restoration.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of RGB photos")
    parser.add_argument("--bpp", type=float, nargs="+", default=RATES, help="bits per pixel")
    parser.add_argument("--effort", type=int, default=5, help="effort of the encoder")
    parser.add_argument("--name", default="restoration", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()
    records: list[dict[str, Any]] = []
    for bpp in arguments.bpp:
        for path in find_images(arguments.data):
            records.append({"image": path.stem, "bpp": bpp, **measure(load_image(path), bpp, arguments.effort)})
            print(records[-1], flush=True)
        here = [record for record in records if record["bpp"] == bpp]
        before, after = (fmean(record[name] for record in here) for name in ("psnr", "psnr_restored"))
        print(f"{bpp:g} bpp: {before:.2f} dB, restored {after:.2f} dB ({after - before:+.3f})", flush=True)
    settings = {"bpp": list(arguments.bpp), "effort": arguments.effort}
    print(write_results(arguments.name, settings, records))


if __name__ == "__main__":
    run(main)
