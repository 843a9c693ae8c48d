"""Section `fit`: time and iterations to reach a quality, and the quality of short fits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.gpu.scenes import Bench, Record, initialize, photos, scene
from fastgs.fitting.fit import HistoryEntry, fit
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import DEFAULT
from fastgs.methods import LEARNED, WEIGHTS

LEVELS = (30, 35, 40, 45)  # dB
AGREEMENT = 0.1  # dB that two backends may differ by
Start = Callable[[Tensor, int], Gaussians]


def learned_start(device: torch.device) -> Start:
    """Return an initializer with the default networks on the device."""
    from fastgs.models.pretrained import load_weights  # deferred, so that other records do not depend on it

    networks = load_weights(WEIGHTS).to(device)
    return lambda target, count: networks.initialize(target.to(device), count, torch.Generator().manual_seed(0))


def reached(history: list[HistoryEntry]) -> Record:
    """Return the iteration and the seconds at which each level was first reached; None if never."""
    record: Record = {}
    for level in LEVELS:
        entry = next((entry for entry in history if entry.psnr >= level), None)
        record[f"iterations_{level}"] = entry and entry.iteration
        record[f"seconds_{level}"] = entry and round(entry.seconds, 5)
    return record


def fitted(bench: Bench, target: Tensor, count: int, start: Start) -> Record:
    """Fit a photo: return the quality of the start, of a long fit, and of short fits."""
    placed = target.to(bench.device)
    began = time.perf_counter()
    gaussians = start(target, count).to(bench.device)
    torch.isfinite(gaussians.means).all().item()  # waits for the device
    seconds = time.perf_counter() - began
    long = fit(placed, gaussians, FitOptions(bench.plan.iterations, target_psnr=LEVELS[-1])).history
    record: Record = {"seconds_init": round(seconds, 5), "psnr_init": round(long[0].psnr, 3), **reached(long)}
    record["milliseconds_per_iteration"] = round(1e3 * long[-1].seconds / max(1, long[-1].iteration), 4)
    for length in bench.plan.lengths:
        short = fit(placed, gaussians, FitOptions(length)).history[-1]
        record |= {f"psnr_after_{length}": round(short.psnr, 3), f"seconds_of_{length}": round(short.seconds, 5)}
    return record


def middle(records: list[Record]) -> Record:
    """Return medians over photos, without levels that some have not reached, and the number of photos."""
    columns = {key: [record[key] for record in records] for key in records[0]}
    medians = {key: statistics.median(values) for key, values in columns.items() if None not in values}
    return {**medians, "photos": len(records)}


def on_cpu(bench: Bench, start: Start) -> Record:
    """Compare the shortest fit of the first photo with that of the CPU backend."""
    name, target = photos(bench)[0]
    count, length = bench.plan.counts[0], bench.plan.lengths[0]
    gaussians = start(target, count).to("cpu")
    cpu = fit(target, gaussians, FitOptions(length)).history[-1].psnr
    here = fit(target.to(bench.device), gaussians.to(bench.device), FitOptions(length)).history[-1].psnr
    found = {"photo": name, "num_gaussians": count, "iterations": length, "psnr_cpu": round(cpu, 3)}
    return {**found, "psnr": round(here, 3), "passed": abs(cpu - here) <= AGREEMENT}


def cells(bench: Bench) -> Iterator[tuple[int, int, list[tuple[str, Tensor]]]]:
    """Yield size, K and photos of each cell: all photos at the usual size and K, the first one in the other scenes."""
    usual = [(bench.plan.side, count) for count in bench.plan.counts]
    for side, count in usual:
        yield side, count, photos(bench)
    for side, count in bench.plan.scenes:
        if (side, count) not in usual:
            yield side, count, [(bench.photo.name, scene(bench, side, count).target.cpu())]


def fits(bench: Bench) -> Iterator[Record]:
    """Yield iterations and seconds to each level, by initializer, size, K and photo; seconds are of the steps alone."""
    yield on_cpu(bench, initialize)
    for init, start in ((DEFAULT, initialize), (LEARNED, learned_start(bench.device))):
        for side, count, targets in cells(bench):
            kind: Record = {"init": init, "size": side, "num_gaussians": count}
            fitted(bench, targets[0][1], count, start)  # compiles the kernels for these shapes
            records = []
            for name, target in targets:
                records.append(fitted(bench, target, count, start))
                yield {**kind, "photo": name, **records[-1]}
            if len(records) > 1:
                yield {**kind, "photo": "median", **middle(records)}
