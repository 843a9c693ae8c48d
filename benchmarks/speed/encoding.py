"""Time of the encoder and PSNR at equal bytes: by effort, or of the default effort and of earlier commits.

    python -m benchmarks.speed.encoding [PHOTO ...] --bpp 0.2 0.5 --efforts 1 5 9
    python -m benchmarks.speed.encoding [PHOTO ...] --bpp 0.2 0.5 --against COMMIT --against COMMIT

Seconds are those of all threads of the process (CPU) and of the clock on the wall; OMP_NUM_THREADS=1 in the environment
makes it one thread. Each photo is encoded in all ways, one after the other, so that ratios of times mean something on a
machine that does other work, too.

Ratios of efforts are over the default effort. An effort means other settings in each version, so what a version gains
is seen with `--against`: the package of the commit and that of the working tree each encode at their default, in
processes of their own, in turns. Medians of the rounds count; files do not change from one to the next. A ratio is that
of the time of the working tree over the time of the commit.

Files have 97 to 100 % of the bytes that are asked for. The PSNR is that of the decoded image, restored if the file asks
for it. At equal bytes it is that of a file plus what the missing bytes would give, at the slope between the rates of
the same photo and encoder.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.environment import run, write_results
from benchmarks.speed import earlier
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.codec import decode, decode_image, encode
from fastgs.codec.effort import DEFAULT_EFFORT, EFFORTS
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr

USUAL_SLOPE = 3.0  # dB of twice the bytes, where there is one rate only
SCRIPT = Path(__file__).with_name("encoding_script.py")
ROUNDS = 3  # encodings that count of each photo, rate and commit
TIMES = ("cpu_seconds", "seconds")
TODAY = "working tree"  # in place of the name of a commit

Record = dict[str, Any]


def measure(image: Tensor, bpp: float, effort: int) -> Record:
    """Return a record of one file of a (C, H, W) image."""
    wall, cpu = time.perf_counter(), time.process_time()
    data = encode(image, bpp=bpp, effort=effort).data
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "bpp": bpp,
        "effort": effort,
        "cpu_seconds": round(cpu, 2),
        "seconds": round(wall, 2),
        "bytes": len(data),
        "target_bytes": int(bpp * image[0].numel() / 8),
        "num_gaussians": len(decode(data)),
        "psnr": round(psnr(decode_image(data), image), 3),
    }


def add_psnr_at_target(records: list[Record]) -> None:
    """Add the PSNR at equal bytes to the records of one photo and one encoder, at one or more rates."""
    own = sorted(records, key=lambda each: each["bytes"])
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


def add_comparisons(records: list[Record]) -> None:
    """Add the PSNR at equal bytes and the ratio of CPU times to the records of one photo by effort."""
    reference = {each["bpp"]: each["cpu_seconds"] for each in records if each["effort"] == DEFAULT_EFFORT}
    for effort in {each["effort"] for each in records}:
        add_psnr_at_target([each for each in records if each["effort"] == effort])
    for record in records:
        if record["bpp"] in reference:
            record["time_ratio"] = round(record["cpu_seconds"] / reference[record["bpp"]], 3)


def measure_photo(path: Path, size: int | None, rates: list[float], efforts: list[int]) -> list[Record]:
    """Return the records of one photo by effort, which are printed on the way."""
    image = load_image(path, size)
    encode(image, bpp=min(rates), effort=min(EFFORTS), iterations=20)  # compiles the kernels
    records = []
    for bpp in rates:
        for effort in efforts:
            records.append({"photo": path.name, **measure(image, bpp, effort)})
            print(records[-1], flush=True)
    add_comparisons(records)
    return records


def compare(
    paths: Sequence[Path], size: int | None, rates: list[float], commits: Sequence[str], rounds: int = ROUNDS
) -> list[Record]:
    """Encode photos with earlier commits and with the working tree, in turns, and print the records on the way.

    Args:
        paths: Photos.
        size: Side of the crop in pixels; None for whole photos.
        rates: Bits per pixel.
        commits: Names of commits, see `earlier.resolve`.
        rounds: Number of encodings that count, at least 1; one more, of the first photo, compiles the kernels.

    Returns:
        A record for each photo, commit and rate; those of commits have the ratios, and what the working tree gains.

    Raises:
        UnavailableError: A commit cannot be checked out or run; one line.
    """
    hashes = {commit: earlier.resolve(commit) for commit in commits}
    images = [load_image(path, size) for path in paths]
    records = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        roots = {TODAY: earlier.ROOT}
        roots |= {commit: stack.enter_context(earlier.checked_out(name)) for commit, name in hashes.items()}
        askers = {commit: stack.enter_context(earlier.started(SCRIPT, root)) for commit, root in roots.items()}
        take_turns(images[0], min(rates), askers, folder, rounds=1)
        for path, image in zip(paths, images, strict=True):
            own = []
            for bpp in rates:
                for commit, record in take_turns(image, bpp, askers, folder, rounds).items():
                    own.append({"photo": path.name, "commit": commit, "hash": hashes.get(commit), "bpp": bpp, **record})
                    print(own[-1], flush=True)
            add_gains(own)
            records += own
    return records


def take_turns(
    image: Tensor, bpp: float, askers: Mapping[str, earlier.Ask], folder: Path, rounds: int
) -> dict[str, Record]:
    """Encode a (C, H, W) image in all processes, in turns; return the record of each, with medians of times."""
    request = {"image": str(folder / "image.npy"), "decoded": str(folder / "decoded.npy"), "bpp": bpp}
    np.save(folder / "image.npy", image.numpy())
    answers: dict[str, list[Record]] = {name: [] for name in askers}
    records: dict[str, Record] = {}
    for _ in range(rounds):
        for name, ask in askers.items():
            answers[name].append(ask(request))
            decoded = torch.from_numpy(np.load(folder / "decoded.npy"))
            records[name] = {
                **{key: round(statistics.median(each[key] for each in answers[name]), 3) for key in TIMES},
                **{key: value for key, value in answers[name][-1].items() if key not in TIMES},
                "target_bytes": int(bpp * image[0].numel() / 8),
                "psnr": round(psnr(decoded, image), 3),
            }
    return records


def add_gains(records: list[Record]) -> None:
    """Add the PSNR at equal bytes to the records of one photo, and what the working tree gains over each commit."""
    for commit in {each["commit"] for each in records}:
        add_psnr_at_target([each for each in records if each["commit"] == commit])
    today = {each["bpp"]: each for each in records if each["commit"] == TODAY}
    for record in records:
        if record["commit"] != TODAY:
            now = today[record["bpp"]]
            record["time_ratio"] = round(now["cpu_seconds"] / record["cpu_seconds"], 3)
            record["wall_ratio"] = round(now["seconds"] / record["seconds"], 3)
            record["psnr_gain"] = round(now["psnr_at_target"] - record["psnr_at_target"], 3)


def main() -> None:
    """Measure, print the records, and write them.

    They go to benchmarks/results/encoding.json, with `--against` to encoding_against.json there, or where `--output`
    says.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, default=[SAMPLE])
    parser.add_argument("--bpp", nargs="+", type=float, default=[0.2, 0.5])
    parser.add_argument("--efforts", nargs="+", type=int, choices=EFFORTS, help="efforts to compare (default: all)")
    parser.add_argument("--against", action="append", default=[], metavar="COMMIT", help="commit to compare with")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of --against (default: {ROUNDS})")
    parser.add_argument("--size", type=int, help="side of the crop in pixels (default: the whole photo)")
    parser.add_argument("--output", type=Path, help="JSON file to write instead")
    arguments = parser.parse_args()
    if arguments.against and arguments.efforts is not None:
        parser.error("argument --efforts: not allowed with argument --against, which compares defaults")
    if arguments.rounds < 1:
        parser.error(f"argument --rounds: must be at least 1, got {arguments.rounds}")
    rates = sorted(set(arguments.bpp))
    settings: Record = {"photos": [path.name for path in arguments.photos], "size": arguments.size}
    if arguments.against:
        records = compare(arguments.photos, arguments.size, rates, arguments.against, arguments.rounds)
        settings |= {"rounds": arguments.rounds, "effort": DEFAULT_EFFORT}
        print(write_results("encoding_against", settings, records, arguments.output))
        return
    records = []
    for path in arguments.photos:
        records += measure_photo(path, arguments.size, rates, sorted(set(arguments.efforts or EFFORTS)))
    settings["reference"] = DEFAULT_EFFORT
    print(write_results("encoding", settings, records, arguments.output))


if __name__ == "__main__":
    run(main)
