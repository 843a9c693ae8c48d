"""What restoration is worth: files of photos at equal sizes, with it and without.

    python -m benchmarks.quality.restoration kodak

Each photo is encoded twice at each rate, by an encoder that knows the network and by one that does not, whose file is
also restored. PSNR is that of images before they are rounded to 8 bits. Times are those that restoration takes more
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
from fastgs.codec import decode, decode_image, read_restoration
from fastgs.codec.fastgs import Fastgs
from fastgs.codec.rate import encode_to_size
from fastgs.codec.restoration import add, choose, correct
from fastgs.io.files import atomic_write
from fastgs.io.images import find_images, load_image
from fastgs.metrics.quality import psnr
from fastgs.render import render
from fastgs.render.cpu_arrays import render as draw

RATES = (0.1, 0.2, 0.3, 0.5, 1.0)
REPEATS = 7  # of a drawing, for its median time


def measure(path: Path, bpp: float, effort: int, files: Path) -> dict[str, Any]:
    """Return sizes and PSNR of both files at a rate, and the milliseconds that restoration takes."""
    image = load_image(path)
    size = int(bpp * image[0].numel() / 8)
    contents = []
    for name, restores in (("plain", False), ("restored", True)):
        file = files / f"{path.stem}-{bpp:g}-{name}.fgs"
        if not file.exists():
            encoded = encode_to_size(Fastgs(effort=effort, restores=restores), image, size)
            with atomic_write(file) as temporary:
                temporary.write_bytes(encoded.data)
        contents.append(file.read_bytes())
    plain, restored = contents
    before, gaussians, entry = decode(plain), decode(restored), read_restoration(restored)
    corrected = correct(before.arrays())
    behind = choose(corrected, image.numpy())
    drawn = corrected.drawn if behind is None else add(corrected, behind)
    arrays = gaussians.arrays()
    drawing = _milliseconds(lambda: draw(arrays, arrays.height, arrays.width))
    return {
        "bytes": [len(plain), len(restored)],
        "num_gaussians": [len(before), len(gaussians)],
        "psnr": round(psnr(render(before), image), 3),
        "psnr_behind": round(psnr(torch.from_numpy(drawn), image), 3),
        "psnr_restored": round(psnr(decode_image(restored), image), 3),
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
        means = [fmean(record[name] for record in here) for name in ("psnr", "psnr_behind", "psnr_restored")]
        print(
            f"{bpp:g} bpp: {means[0]:.3f} dB, restored behind {means[1]:.3f}, known before {means[2]:.3f}", flush=True
        )
        # After each rate, since all of them take hours on a slow machine.
        print(write_results(arguments.name, {"effort": arguments.effort}, records), flush=True)


if __name__ == "__main__":
    run(main)
