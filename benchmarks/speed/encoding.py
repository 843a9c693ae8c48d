"""Time of the encoder and PSNR at equal bytes, by effort.

    python -m benchmarks.speed.encoding [PHOTO ...] --bpp 0.2 0.5 --efforts 1 5 9

Seconds are those of all threads of the process (CPU) and of the clock on the wall. Each photo is encoded at all
efforts, one after the other, so that ratios of times mean something on a machine that does other work, too. Ratios are
over effort 7, which has the 1000 steps and ten sweeps that were the only ones before there were efforts. Times over an
earlier commit are in benchmarks/LOG.md, section "Effort": a process holds one commit.

Files have 97 to 100 % of the bytes that are asked for. The PSNR at equal bytes is that of a file plus what the missing
bytes would give, at the slope between the rates of the same photo and effort.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.environment import run, write_results
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.codec import decode, encode
from fastgs.codec.effort import EFFORTS
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.render import render

USUAL_SLOPE = 3.0  # dB of twice the bytes, where there is one rate only
REFERENCE = 7  # effort that ratios of times are over


def measure(image: Tensor, bpp: float, effort: int) -> dict[str, Any]:
    """Return a record of one file of a (C, H, W) image."""
    wall, cpu = time.perf_counter(), time.process_time()
    data = encode(image, bpp=bpp, effort=effort).data
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    gaussians = decode(data)
    return {
        "bpp": bpp,
        "effort": effort,
        "cpu_seconds": round(cpu, 2),
        "seconds": round(wall, 2),
        "bytes": len(data),
        "target_bytes": int(bpp * image[0].numel() / 8),
        "num_gaussians": len(gaussians),
        "psnr": round(psnr(render(gaussians), image), 3),
    }


def add_comparisons(records: list[dict[str, Any]]) -> None:
    """Add the PSNR at equal bytes and the ratio of CPU times to the records of one photo."""
    reference = {each["bpp"]: each["cpu_seconds"] for each in records if each["effort"] == REFERENCE}
    for effort in {each["effort"] for each in records}:
        own = sorted((each for each in records if each["effort"] == effort), key=lambda each: each["bytes"])
        slopes = [
            (more["psnr"] - less["psnr"]) / math.log2(more["bytes"] / less["bytes"])
            for less, more in pairwise(own)
            if more["bytes"] > less["bytes"]
        ] or [USUAL_SLOPE]
        for number, record in enumerate(own):
            slope = slopes[min(number, len(slopes) - 1)]
            record["psnr_at_target"] = round(
                record["psnr"] + slope * math.log2(record["target_bytes"] / record["bytes"]), 3
            )
            if record["bpp"] in reference:
                record["time_ratio"] = round(record["cpu_seconds"] / reference[record["bpp"]], 3)


def measure_photo(path: Path, size: int | None, rates: list[float], efforts: list[int]) -> list[dict[str, Any]]:
    """Return the records of one photo, which are printed on the way."""
    image = load_image(path, size)
    encode(image, bpp=min(rates), effort=min(EFFORTS), iterations=20)  # compiles the kernels
    records = []
    for bpp in rates:
        for effort in efforts:
            records.append({"photo": path.name, **measure(image, bpp, effort)})
            print(records[-1], flush=True)
    add_comparisons(records)
    return records


def main() -> None:
    """Measure, print the records, and write them: to benchmarks/results/encoding.json, or where `--output` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, default=[SAMPLE])
    parser.add_argument("--bpp", nargs="+", type=float, default=[0.2, 0.5])
    parser.add_argument("--efforts", nargs="+", type=int, choices=EFFORTS, default=[*EFFORTS])
    parser.add_argument("--size", type=int, help="side of the crop in pixels (default: the whole photo)")
    parser.add_argument("--output", type=Path, help="JSON file to write instead")
    arguments = parser.parse_args()
    rates, efforts = sorted(set(arguments.bpp)), sorted(set(arguments.efforts))
    records = []
    for path in arguments.photos:
        records += measure_photo(path, arguments.size, rates, efforts)
    settings = {"photos": [path.name for path in arguments.photos], "size": arguments.size, "reference": REFERENCE}
    print(write_results("encoding", settings, records, arguments.output))


if __name__ == "__main__":
    run(main)
