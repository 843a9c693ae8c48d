"""All that speed was aimed at, as ratios within one run, with the goal of each.

    python -m benchmarks.speed [PHOTO] [--only NAME ...]

Each section is a program of this folder, which says how it measures; run them on a machine that does nothing else. The
table is printed as it grows, and written to benchmarks/results/speed.json. Comparisons with earlier commits are left
out, with a line that says so, where the history of the repository is missing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.environment import UnavailableError, run, write_results
from benchmarks.speed import encoding, folders, memory, networks, rasterizer, relocation, startup
from benchmarks.speed.rasterizer import SAMPLE
from fastgs.io.images import load_image
from fastgs.methods import WEIGHTS
from fastgs.models.pretrained import load_weights

SIDE = 512


class Earlier(NamedTuple):
    """Commit that the encoder is compared with.

    Attributes:
        commit: Full hash.
        following: What came after it.
        goal: Largest ratio of times that was aimed at.
    """

    commit: str
    following: str
    goal: float


EARLIER = (
    Earlier("ae1e267fbbc5fd4df3d718b667634726010579e2", "efforts", 0.33),
    Earlier("d5449101038a57c82febea97f2098fce9e892873", "learned probabilities and restoration", 1.0),
)


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        what: What is measured.
        value: Result, the smaller the better.
        unit: What the result is a multiple of.
        goal: Largest result that was aimed at.
    """

    what: str
    value: float
    unit: str
    goal: float


def iteration(photo: Path) -> Iterator[Row]:
    """Yield the time of one iteration of a fit."""
    goals = {10_000: 0.90, 50_000: 0.75, 100_000: 0.70}
    for num_gaussians, goal in goals.items():
        times = rasterizer.measure(load_image(photo), SIDE, num_gaussians, "cpu")["milliseconds"]
        what = f"one iteration, {SIDE} x {SIDE}, K = {num_gaussians:,}"
        yield Row(what, times["iteration_over_yardstick"], "C++ yardstick and Adam", goal)


def moves(photo: Path) -> Iterator[Row]:
    """Yield the time of a fit with relocation."""
    record = relocation.measure(load_image(photo, SIDE), 10_000, 200, rounds=7)
    yield Row("200 iterations with relocation, K = 10,000", record["ratio"], "the same without", 1.1)


def commands(photo: Path) -> Iterator[Row]:
    """Yield the time of commands from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = startup.measure(startup.list_commands(photo, Path(folder)), startup.REPEATS)
    for record in startup.make_records(seconds):
        if "goal" in record:
            unit = record["goal"]["unit"]
            yield Row(record["command"], record["ratios"][unit], unit, record["goal"]["ratio"])


def encoder(photo: Path) -> Iterator[Row]:
    """Yield the time of the encoder at its default effort over those of earlier commits, as far as they are there."""
    for commit, following, goal in EARLIER:
        try:
            *_, record = encoding.compare([photo], None, [0.2], [commit])
        except UnavailableError as error:
            print(f"left out: fastgs encode over the commit before {following}: {error}")
        else:
            yield Row("fastgs encode, 0.2 bpp, CPU time", record["time_ratio"], f"the commit before {following}", goal)


def many_images(_photo: Path) -> Iterator[Row]:
    """Yield the time of a folder of small photos by default, and of folders whose runs are short, of each side."""
    record, side = folders.measure_usual(2, folders.REPEATS), folders.USUAL_SIDE
    what = f"{record['photos']} photos of {side} x {side} by default with two workers"
    yield Row(what, record["ratio"], "one worker, one thread", folders.GOAL)
    for side in folders.SIDES:
        record = folders.measure_side(side, 2, folders.REPEATS)
        what = f"{record['photos']} photos of {side} x {side} with two workers"
        yield Row(what, record["ratio"], "one worker, one thread", folders.GOAL)


def large_image(photo: Path) -> Iterator[Row]:
    """Yield the peak memory of a large fit."""
    record = memory.measure(photo, 4000, 6000, 1_000_000)
    yield Row("memory of 6000 x 4000, K = 1,000,000", record["peak_gigabytes"], "gigabyte", 4.0)


def learned_start(photo: Path) -> Iterator[Row]:
    """Yield the time of a forward pass of the networks, as `LearnedInitializer.initialize` runs them here."""
    *_, record = networks.measure(load_weights(WEIGHTS), load_image(photo, SIDE), 10_000, rounds=7)
    yield Row("learned start, K = 10,000", record["seconds"], "second", 0.25)


SECTIONS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "iteration": iteration,
    "relocation": moves,
    "commands": commands,
    "encoder": encoder,
    "folders": many_images,
    "networks": learned_start,
    "memory": large_image,
}


def main() -> None:
    """Measure all sections, or those that are named."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME")
    arguments = parser.parse_args()
    records: list[dict[str, Any]] = []
    table = Table("what", "result", "times", "goal", "met")
    for name in arguments.only:
        for row in SECTIONS[name](arguments.photo):
            records.append({"section": name, **row._asdict(), "met": row.value <= row.goal})
            table.add_row(
                row.what, f"{row.value:.2f}", row.unit, f"{row.goal:g}", "yes" if row.value <= row.goal else "no"
            )
            Console().print(table)
    if arguments.only == list(SECTIONS):
        print(write_results("speed", {"photo": arguments.photo.name}, records))


if __name__ == "__main__":
    run(main)
