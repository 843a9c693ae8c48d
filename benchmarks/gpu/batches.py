"""Section `batches`: images a second when many small ones are fitted at once, and one by one."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

import torch
from torch import Tensor

from benchmarks.gpu.scenes import Bench, Record, initialize
from fastgs.fitting.batch import fit_batch
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.io.images import load_image

ITERATIONS = 50
MOST_ALONE = 64  # images that are fitted one by one
AGREEMENT = 0.1  # dB that the mean PSNR of both ways may differ by


def cut(bench: Bench, side: int, number: int) -> list[Tensor]:
    """Return so many square crops (3, side, side) of the photo at random places, on the device."""
    photo = load_image(bench.photo)
    random = torch.Generator().manual_seed(0)
    rows, columns = (torch.randint(size - side + 1, (number,), generator=random).tolist() for size in photo.shape[1:])
    places = zip(rows, columns, strict=True)
    return [photo[:, top : top + side, left : left + side].contiguous().to(bench.device) for top, left in places]


def compare(bench: Bench, targets: list[Tensor], num_gaussians: int) -> Record:
    """Return images a second and mean PSNR of images that are fitted together, and of the first ones alone."""
    starts = [initialize(each.cpu(), num_gaussians).to(bench.device) for each in targets]
    together, alone = list[float](), list[float]()

    def fit_together() -> None:
        together[:] = fit_batch(targets, starts, ITERATIONS).psnrs

    def fit_alone(most: int) -> None:
        some = zip(targets[:most], starts[:most], strict=True)
        alone[:] = [fit(target, start, FitOptions(ITERATIONS)).history[-1].psnr for target, start in some]

    fit_together()  # compiles the kernels
    fit_alone(1)
    milliseconds = bench.timer.wall(fit_together, 1)
    milliseconds_alone = bench.timer.wall(lambda: fit_alone(MOST_ALONE), 1)
    psnr, psnr_alone = fmean(together[: len(alone)]), fmean(alone)
    return {
        "images_per_second": round(1e3 * len(together) / milliseconds, 1),
        "images_per_second_alone": round(1e3 * len(alone) / milliseconds_alone, 1),
        "psnr": round(psnr, 3),
        "psnr_alone": round(psnr_alone, 3),
        "passed": abs(psnr - psnr_alone) <= AGREEMENT,
    }


def batches(bench: Bench) -> Iterator[Record]:
    """Yield the comparison for each side, K and number of images."""
    for side, num_gaussians, number in bench.plan.batches:
        kind: Record = {"size": side, "num_gaussians": num_gaussians, "images": number}
        yield {**kind, **compare(bench, cut(bench, side, number), num_gaussians)}
