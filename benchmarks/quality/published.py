"""Published results: records of long runs as one file, and tables of how far the presets are from the papers.

    fastgs evaluate kodak --preset published --output published.json
    python -m benchmarks.quality.published published.json ...

The second command merges the records of the files into benchmarks/results/published.json, with fewer entries of each
history.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.environment import RESULTS
from fastgs.evaluation.methods.published import (
    OURS,
    OURS_ITERATIONS,
    Cells,
    Configuration,
    Estimate,
    by_configuration,
    estimate_configuration,
    psnr_by_image,
    published_results,
    reference_of,
)
from fastgs.evaluation.methods.records import MethodRecord
from fastgs.evaluation.records import load_records, save_records
from fastgs.evaluation.tables import MISSING, Table

ENTRIES = 500  # most entries of a history that are kept

# PSNR in dB of OURS after OURS_ITERATIONS by size and K, the mean of all 24 photos, of which the results are of 12; at
# 512 x 512 from the mean of the other 12, 38.24 and 51.97. Measured once: benchmarks/LOG.md, "Published lengths".
ALL_PHOTOS = {
    None: {5_000: 33.17, 10_000: 36.40, 50_000: 47.48},
    512: {10_000: 38.31, 50_000: 51.79},
}

# PSNR in dB after so many seconds on a GPU that is not named, at 512 x 512 (arXiv 2512.12774).
CUTS = {
    ("fast-2dgs", 10_000): {5: 33.79},
    ("fast-2dgs", 50_000): {1: 38.14, 2: 40.05, 5: 41.85, 10: 43.13},
    ("fast-2dgs", 100_000): {5: 43.01},
    ("gaussianimage-rs", 50_000): {1: 29.31, 2: 35.82, 5: 38.86, 10: 39.62},
    ("image-gs-gradient", 50_000): {1: 31.12, 2: 33.08, 5: 34.12, 10: 36.19},
}

# Steps that Image-GS is also published with (arXiv 2407.01866); its public code makes the same steps in longer runs.
HALF_METHOD, HALF = "image-gs-gradient", 5_000

# What the presets have from the public code, and not from the paper; benchmarks/LOG.md, section "Published lengths".
CAUSE = (
    "The presets of GaussianImage count the gradient of the mixed entry of covariances twice, as public kernels do. "
    "With the true one (`python -m benchmarks.quality.switches`) they are worse where Gaussians are small: LOG.md has "
    "by how much."
)


def merge(paths: Sequence[Path]) -> list[MethodRecord]:
    """Return the records of several files, each once, by method, K and image, with thinned histories."""
    records: dict[object, MethodRecord] = {}
    for path in paths:
        for record in load_records(path, MethodRecord):
            step = -(-len(record.history) // ENTRIES)
            history = [*record.history[:-1:step], record.history[-1]]
            image = f"data/kodak/{Path(record.image).name}"
            moved = replace(record, image=image, picture=None, history=history)
            known = records.get(moved.task)
            if known is None or known.psnr_8bit is None:
                records[moved.task] = moved
    return sorted(records.values(), key=lambda each: (each.method, each.num_gaussians, str(each.size), each.image))


def shifts(cells: Cells, size: int | None) -> dict[int, float]:
    """Return by how many dB the photos that were fitted are easier than all 24 for this project, by K."""
    mine = {count: Configuration(OURS, count, OURS_ITERATIONS, size) for count in ALL_PHOTOS[size]}
    return {
        count: fmean(psnr_by_image(cells[cell]).values()) - ALL_PHOTOS[size][count]
        for count, cell in mine.items()
        if cell in cells
    }


def _estimate(cells: Cells, cell: Configuration) -> Estimate:
    """Return the mean over all 24 photos, as estimated from those that were fitted; shifts are linear in log K."""
    known = shifts(cells, cell.size)
    shift = np.interp(math.log(cell.num_gaussians), [math.log(count) for count in known], list(known.values()))
    estimate = estimate_configuration(cells, cell)
    return estimate._replace(psnr=estimate.psnr - float(shift))


def differences_table(records: Sequence[MethodRecord]) -> Table:
    """Return how far each preset is from its paper, and this project above it."""
    cells = by_configuration(records)
    rows, leads = [], dict[Configuration, float]()
    for cell, reported in published_results().items():
        theirs, mine = (_estimate(cells, each) if each in cells else None for each in (cell, reference_of(cell)))
        if mine is not None:
            leads[cell] = mine.psnr - reported.psnr
        rows.append([
            cell.method,
            f"{cell.num_gaussians:,}",
            _name_size(cell.size),
            MISSING if theirs is None else str(theirs.measured),
            MISSING if theirs is None else str(theirs),
            f"{reported.psnr:.2f}" + (f" ({reported.time})" if reported.is_cut else ""),
            MISSING if theirs is None else f"{theirs.psnr - reported.psnr:+.2f}",
            MISSING if mine is None else f"{mine.psnr:.2f}",
            f"{leads[cell]:+.2f}" if cell in leads else MISSING,
        ])  # fmt: skip
    least = min(leads, key=leads.__getitem__)
    place = "above" if leads[least] > 0 else "not above"
    note = (
        f"After {OURS_ITERATIONS} iterations, {OURS} is {place} every published mean at the same K where it was "
        f"measured; the least difference is {leads[least]:+.2f} dB, from {least.method} at K = {least.num_gaussians:,}."
    )
    title = (
        "Presets and papers: PSNR in dB at the published length, and of this project without networks after "
        f"{OURS_ITERATIONS} iterations, as means of all 24 photos, estimated from those that were fitted"
    )
    easier = [
        f"{psnr:+.2f} dB at K = {count:,} on {_name_size(size)} photos"
        for size in ALL_PHOTOS
        for count, psnr in shifts(cells, size).items()
    ]
    basis = (
        f"The 12 photos here differ from all 24 for {OURS} by {', '.join(easier)}: that is taken off, interpolated "
        "over log K."
    )
    headings = ["method", "K", "photos", "fitted", "preset", "paper", "difference", OURS, "above the paper"]
    return Table(title, headings, rows, "lrlrrrrrr", [basis, note, CAUSE, *_describe_half(cells)])


def _describe_half(cells: Cells) -> list[str]:
    """Say what Image-GS reaches after the steps that its paper also reports, which are the first ones of its run."""
    lines = []
    for cell in published_results([HALF_METHOD]):
        if cell in cells:
            halves = [next(psnr for step, _, psnr in each.history if step >= HALF) for each in cells[cell]]
            loss = fmean(record.psnr for record in cells[cell]) - fmean(halves)
            lines.append(
                f"After {HALF:,} of its {cell.iterations:,} steps, where its paper also reports results (on other "
                f"images), {HALF_METHOD} at K = {cell.num_gaussians:,} is {loss:.2f} dB below its end."
            )
    return lines


def _name_size(size: int | None) -> str:
    return "whole" if size is None else f"{size} × {size}"


def cuts_table(records: Sequence[MethodRecord]) -> Table:
    """Return after how many iterations the presets pass what a paper reports after some seconds."""
    cells = by_configuration(records)
    rows = []
    for cell in cells:
        for seconds, psnr in CUTS.get((cell.method, cell.num_gaussians), {}).items():
            if cell.size != 512 or cell not in published_results():
                continue
            step = _first_above(cells[cell], psnr - _estimate(cells, cell).psnr)
            rows.append([
                cell.method,
                f"{cell.num_gaussians:,}",
                f"{seconds} s",
                f"{psnr:.2f}",
                MISSING if step is None else f"{step:,} of {cell.iterations:,}",
                MISSING if step is None else f"{step / seconds:.0f}",
            ])  # fmt: skip
    title = (
        "Results that a paper (arXiv 2512.12774) cuts by time, on a GPU that it does not name: iteration in which the "
        "mean course of the preset first passes them, and iterations per second that this would take"
    )
    return Table(title, ["method", "K", "after", "PSNR", "passed in iteration", "per second"], rows, "lrrrrr")


def _first_above(records: Sequence[MethodRecord], relative: float) -> int | None:
    """Return the first iteration whose mean PSNR is above that of the end plus `relative` dB; None if none is."""
    courses = [{iteration: psnr for iteration, _, psnr in record.history} for record in records]
    limit = fmean(record.psnr for record in records) + relative
    for iteration in sorted(set.intersection(*map(set, courses))):
        if fmean(course[iteration] for course in courses) > limit:
            return iteration
    return None


def main() -> None:
    """Merge records into benchmarks/results/published.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    save_records(RESULTS / "published.json", merge(parser.parse_args().files))


if __name__ == "__main__":
    main()
