"""Benchmark of the GPU: correctness of the kernels, times of everything, and the limits of the card.

    python -m benchmarks.gpu [PHOTO] --fit-photos FOLDER

It takes minutes. A section that fails leaves a record of its error, and the others continue; results are written after
each section. With --interpret, sizes are tiny and Triton's interpreter runs the kernels on the CPU: this tests the
program, and its times mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import secrets
import sys
import time
import traceback
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Module and function of each section. A module is imported when it is needed, so that a missing package stops no other.
SECTIONS = {
    "correctness": ("correctness", "correctness"),
    "rasterizer": ("speed", "rasterizer"),
    "roofline": ("roofline", "roofline"),
    "fit": ("fits", "fits"),
    "batches": ("batches", "batches"),
    "networks": ("networks", "networks"),
    "training": ("networks", "training"),
    "launch_shapes": ("speed", "launch_shapes"),
    "gsplat": ("speed", "gsplat"),
}
MOST_LINES = 60  # lines of a printed table; the file has all records

Record = dict[str, Any]


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, default=ROOT / "assets" / "coffee.png")
    parser.add_argument("--fit-photos", type=Path, metavar="FOLDER", help="folder of more photos to fit")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="file to write; by default benchmarks/results/cuda.json"
    )
    parser.add_argument("--seed", type=int, help="seed of random inputs; by default a new one each time")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument(
        "--interpret", action="store_true", help="test the program at tiny sizes on the CPU; needs --output"
    )
    arguments = parser.parse_args()
    if arguments.interpret and arguments.output is None:
        parser.error("--interpret needs --output: its numbers are not results")
    return arguments


def surroundings() -> Record:
    """Return machine and versions, as far as they are known."""
    import torch
    import triton

    from benchmarks.environment import describe

    try:
        found = describe()
    except (PackageNotFoundError, OSError) as error:  # the package is on the path but not installed, or there is no git
        found = {"incomplete": f"{type(error).__name__}: {error}", "torch": torch.__version__}
    found |= {"triton": triton.__version__, "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        names = ("name", "major", "minor", "multi_processor_count", "total_memory", "L2_cache_size", "clock_rate")
        found["device"] = {name: getattr(properties, name, None) for name in names}
    return found


def gather(name: str, bench: Any) -> list[Record]:
    """Return all records of a section; the last one is the error if one ended it."""
    found: list[Record] = []
    module, function = SECTIONS[name]
    try:
        for record in getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)(bench):
            found.append({"section": name, **record})
    except Exception:  # the other sections are useful whatever went wrong
        found.append({"section": name, "error": traceback.format_exc().splitlines()[-16:]})
    return found


def show(records: list[Record]) -> None:
    """Print records as tables; a new table begins where the names of the columns change."""
    lines: list[list[str]] = []
    columns: list[str] = []
    for record in [*(record for record in records if "error" not in record), {}]:
        if list(record) != columns:
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            for line in lines:
                print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
            columns, lines = list(record), [list(record)]
        if record and len(lines) <= MOST_LINES:
            lines.append([f"{value:.6g}" if isinstance(value, float) else str(value) for value in record.values()])
    print(flush=True)


def failed(record: Record) -> bool:
    """Tell whether a record is an error or a failed check."""
    return "error" in record or record.get("passed") is False


def make_bench(arguments: argparse.Namespace) -> Any:
    """Make the argument of all sections."""
    import torch

    from benchmarks.gpu.scenes import FULL, TOY, Bench
    from benchmarks.gpu.timing import DeviceTimer, HostTimer

    toy = arguments.interpret
    return Bench(
        device=torch.device("cpu") if toy else torch.device("cuda", torch.cuda.current_device()),
        timer=HostTimer() if toy else DeviceTimer(),
        plan=TOY if toy else FULL,
        photo=arguments.photo,
        fit_photos=arguments.fit_photos,
        seed=secrets.randbits(32) if arguments.seed is None else arguments.seed,
    )


def run(arguments: argparse.Namespace) -> list[Record]:
    """Run the selected sections, and write the file after each of them."""
    from benchmarks.environment import RESULTS
    from fastgs.io.files import atomic_write

    bench = make_bench(arguments)
    output = arguments.output or RESULTS / "cuda.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    records: list[Record] = []
    content = {
        "environment": surroundings(),
        "settings": {"photo": arguments.photo.name, "seed": bench.seed, "interpret": arguments.interpret},
        "seconds": seconds,
        "records": records,
    }
    for name in arguments.only:
        start = time.perf_counter()
        found = gather(name, bench)
        seconds[name] = round(time.perf_counter() - start, 2)
        print(f"{name}, {seconds[name]} s")
        show([{key: value for key, value in record.items() if key != "section"} for record in found])
        records += found
        with atomic_write(output) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")
    print(output)
    return records


def main() -> int:
    """Measure, print and write.

    Returns:
        0 if nothing failed, 1 if something did, 2 without a GPU.
    """
    arguments = parse()
    if arguments.interpret:
        os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when kernels are defined
    import torch  # deferred until the environment is set

    if not arguments.interpret and not torch.cuda.is_available():
        print("benchmarks/gpu: needs a CUDA device; --interpret tests the program without one", file=sys.stderr)
        return 2
    wrong = [record for record in run(arguments) if failed(record)]
    for record in wrong:
        print(f"FAILED {record['section']}:", *record.get("error", [record]), sep="\n  ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
