"""The preset "published": the fits that papers report, beside this project's, and means over images to compare them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from fastgs.evaluation.methods.records import MethodRecord
from fastgs.evaluation.tables import group_by
from fastgs.methods.published import PUBLISHED, Published

# What the methods of others are compared with, at the same numbers of Gaussians.
OURS, OURS_ITERATIONS = "fastgs-curvature", 500


class Configuration(NamedTuple):
    """Fit of any image.

    Attributes:
        method: Name of a method.
        num_gaussians: Number of Gaussians, K.
        iterations: Number of steps.
        size: Size of the images, as in `fastgs.evaluation.records.ImageTask`.
    """

    method: str
    num_gaussians: int
    iterations: int
    size: int | None


Cells = Mapping[Configuration, Sequence[MethodRecord]]


class Estimate(NamedTuple):
    """Mean PSNR over images of which some are not measured.

    Attributes:
        psnr: Mean in dB.
        error: Its standard error in dB; None if one image alone was measured of several.
        measured: Number of images that were measured.
        images: Number of images that the mean is for.
    """

    psnr: float
    error: float | None
    measured: int
    images: int

    def __str__(self) -> str:
        sign = "" if self.measured == self.images else " ± ?" if self.error is None else f" ± {self.error:.2f}"
        return f"{self.psnr:.2f}{sign}"


def published_results(methods: Iterable[str] | None = None) -> dict[Configuration, Published]:
    """Return what papers report for some methods, by default all, in the order of the methods and of K."""
    return {
        Configuration(name, each.num_gaussians, each.iterations, each.size): each
        for name in (PUBLISHED if methods is None else methods)
        for each in PUBLISHED.get(name, ())
    }


def configurations(methods: Iterable[str] | None = None) -> list[Configuration]:
    """Return the fits of the preset, the cheap ones first.

    Args:
        methods: Names of the methods; by default all that papers report results for, and this project's.
    """
    names = None if methods is None else list(methods)
    theirs = list(published_results(names))
    counts = {(each.num_gaussians, each.size): None for each in published_results()}
    ours = [Configuration(OURS, count, OURS_ITERATIONS, size) for count, size in counts]
    chosen = ours + theirs if names is None or OURS in names else theirs
    return sorted(chosen, key=lambda each: each.num_gaussians * each.iterations)


def estimate_mean(psnrs: Mapping[str, float], reference: Mapping[str, float]) -> Estimate:
    """Estimate a mean over images from those that were measured: the mean difference from a reference that knows all.

    What is easy for one method is easy for the other, so the difference varies less than the PSNR does.

    Args:
        psnrs: PSNR in dB of each image that was measured, at least one.
        reference: PSNR in dB of another method, of all images.
    """
    common = [image for image in psnrs if image in reference]
    if len(common) < len(psnrs) or len(psnrs) == len(reference):
        return Estimate(fmean(psnrs.values()), 0.0, len(psnrs), len(psnrs))
    differences = [psnrs[image] - reference[image] for image in common]
    count, total = len(differences), len(reference)
    # The images are all that there are: the more of them are measured, the less is left to err about.
    error = None if count == 1 else stdev(differences) * math.sqrt((1 - count / total) / count)
    return Estimate(fmean(reference.values()) + fmean(differences), error, count, total)


def estimate_configuration(cells: Cells, cell: Configuration) -> Estimate:
    """Estimate the mean PSNR of a configuration over all images that this project has fitted at the same K and size.

    Args:
        cells: Records by configuration.
        cell: One of them.
    """
    return estimate_mean(psnr_by_image(cells[cell]), psnr_by_image(cells.get(reference_of(cell), [])))


def reference_of(cell: Configuration) -> Configuration:
    """Return the fits by this project at the same K and size."""
    return Configuration(OURS, cell.num_gaussians, OURS_ITERATIONS, cell.size)


def by_configuration(records: Iterable[MethodRecord]) -> dict[Configuration, list[MethodRecord]]:
    """Return the records of each configuration, those with a budget of iterations."""
    return group_by([each for each in records if each.budget.iterations is not None], configuration_of)


def configuration_of(record: MethodRecord) -> Configuration:
    """Return the configuration of a record with a budget of iterations."""
    return Configuration(record.method, record.num_gaussians, record.budget.iterations or 0, record.size)


def psnr_by_image(records: Iterable[MethodRecord]) -> dict[str, float]:
    """Return the mean PSNR over seeds in dB of each image, by the SHA-256 of its file."""
    groups = group_by(records, lambda record: record.sha256)
    return {image: fmean(record.psnr for record in members) for image, members in groups.items()}
