"""Errors and cost of fits to a PSNR, on photos and pictures that the model was not trained on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.counts.drawn import HELD_OUT
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Blend
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.images import load_image
from fastgs.io.pixels import ImageWarning
from fastgs.methods.count_model import most_gaussians
from fastgs.methods.fastgs import make_method
from fastgs.methods.wish import fit_to_psnr

FIRST_SEED = 10_000_000  # training takes none above


def pictures(photos: Sequence[Path], size: int, seeds: int) -> Iterator[tuple[str, str, Tensor]]:
    """Yield kind, name and image of photos, and of pictures from generators and seeds that training did not see."""
    for path in photos:
        yield "photos", path.name, load_image(path, size)
    for kind, makers in HELD_OUT.items():
        for (name, make), seed in product(makers.items(), range(seeds)):
            pixels = np.round(255 * make(np.random.default_rng(FIRST_SEED + seed), size, size)) / 255
            yield kind, f"{name}-{seed}", torch.from_numpy(pixels.transpose(2, 0, 1)).float().contiguous()


def measure(
    images: Iterator[tuple[str, str, Tensor]], targets: Sequence[float], iterations: int, blend: Blend, compare: bool
) -> Iterator[dict[str, Any]]:
    """Fit images to PSNRs, and yield what was reached and what it took, in fits of the final number of Gaussians.

    Args:
        images: Kind, name and image of each.
        targets: PSNRs in dB.
        iterations: Number of steps of a fit.
        blend: Blend rule.
        compare: True to also fit the final number of Gaussians in the usual way.
    """
    method = make_method(INITIALIZERS[DEFAULT], blend)
    for (kind, name, image), target in product(images, targets):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageWarning)
            result = fit_to_psnr(method, image, FitOptions(iterations, target_psnr=target))
        count, first = len(result.gaussians), result.trials[0]
        record = {
            **{"kind": kind, "image": name, "size": image.shape[1], "target_psnr": target, "num_gaussians": count},
            # Beyond these limits no number of Gaussians could be nearer.
            "reachable": 1 < count < most_gaussians(image[0].numel()),
            "error_first": round(first.psnr - target, 4),
            "error": round(result.psnr - target, 4),
            "fits_first": round(first.work / (iterations * count), 3),
            "fits": round(sum(trial.work for trial in result.trials) / (iterations * count), 3),
            "rounds": len(result.trials) - 1,
        }
        if compare:
            record["error_plain"] = round(method(image, count, FitOptions(iterations)).psnr - target, 4)
        yield record


def summarize(records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield means over the wishes that can be reached, by kind and size and over all."""
    reachable = [record for record in records if record["reachable"]]
    keys = sorted({(record["kind"], record["size"]) for record in reachable})
    groups = [(f"{kind} {size}", [each for each in reachable if (each["kind"], each["size"]) == (kind, size)])
              for kind, size in keys]  # fmt: skip
    for name, group in [*groups, ("all", reachable)]:
        first, last = (np.abs([each[key] for each in group]) for key in ("error_first", "error"))
        yield {
            **{"summary": name, "wishes": len(group), "mean_error_first": round(float(first.mean()), 3)},
            **{"mean_error": round(float(last.mean()), 3), "most_error": round(float(last.max()), 3)},
            "mean_fits": round(float(np.mean([each["fits"] for each in group])), 2),
            "most_fits": round(max(each["fits"] for each in group), 2),
            **(
                {"mean_gain_plain": round(float(np.mean([each["error_plain"] - each["error"] for each in group])), 3)}
                if "error_plain" in group[0]
                else {}
            ),
        }
