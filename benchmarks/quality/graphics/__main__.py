"""Command line of the measurement of pictures that are no photos."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.environment import run, write_results
from benchmarks.quality.graphics import pictures, verdicts
from benchmarks.quality.graphics.measuring import CODECS, measure, measure_lossless


def main() -> None:
    """Measure, print, and write benchmarks/results/graphics.json, after each picture with those that are done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.graphics", description=__doc__)
    parser.add_argument("--pictures", nargs="+", choices=pictures.NAMES, default=list(pictures.NAMES), metavar="NAME")
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.3, 1.0], help="bits per pixel")
    parser.add_argument("--side", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--iterations", type=int, help="number of steps of each fit, by default that of the effort")
    parser.add_argument("--seed", type=int, default=0, help="number of the pictures, and seed of fits")
    parser.add_argument("--keep", type=Path, help="existing folder for the pictures as PNG files")
    parser.add_argument("--name", default="graphics", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()
    settings = {key: value for key, value in vars(arguments).items() if key not in ("keep", "name")}
    records: list[dict[str, Any]] = []
    for number, name in enumerate(arguments.pictures, start=1):
        image = pictures.draw(name, arguments.side, arguments.seed)
        if arguments.keep is not None:
            image.save(arguments.keep / f"{name.replace(' ', '-')}.png")
        mine = list(measure_lossless(name, image))
        for record in measure(name, image, arguments.bpp, CODECS, arguments.iterations, arguments.seed):
            mine.append(record)
            print(json.dumps(record), flush=True)
        print(f"{name}: {verdicts.describe(verdicts.compare(mine))}", flush=True)
        records += mine
        path = write_results(arguments.name, settings | {"pictures": arguments.pictures[:number]}, records)
    print(path)


if __name__ == "__main__":
    run(main)
