"""Measurement of one autoencoder on one split of a dataset of Gaussians: into a code, and out again as images."""

from __future__ import annotations

import hashlib
import logging
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgs.evaluation.autoencoders.coders import Coder, pixels
from fastgs.evaluation.autoencoders.linear_probe import Probe, Samples, probe
from fastgs.evaluation.autoencoders.records import AutoencoderRecord, AutoencoderTask
from fastgs.evaluation.harness import Progress
from fastgs.fitting.parametrization import Attributes
from fastgs.io.version import installed_version
from fastgs.metrics.quality import MIN_SSIM_SIZE, psnr, ssim
from fastgs.runtime import threads
from fastgs.splats.channels import GEOMETRY_CHANNELS
from fastgs.splats.index import INDEX, Splats, Split, load_splats, read_index

BATCH = 256  # images that are coded at a time
_FLOAT32 = 4  # bytes of a number in a code

_logger = logging.getLogger(__name__)


class Dataset:
    """Dataset of Gaussians with one split to measure on, and the others as the probe needs them.

    Args:
        folder: Folder of the dataset.
        split: Split to measure on.

    Attributes:
        folder: Folder of the dataset.
        split: Split to measure on.
        index: Index of the dataset.
        sha256: SHA-256 of the index, which contains those of all shards, in hexadecimal.
        splats: Images of the split.
        height: Height of all images in pixels.
        width: Width of all images in pixels.

    Raises:
        FileNotFoundError: There is no such dataset.
        ValueError: None of the images can be read, or their sizes differ; one line.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        self.folder, self.split = folder, split
        self.index = read_index(folder)
        self.sha256 = hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()
        self.splats = load_splats(folder, split)
        if not isinstance(self.splats.pixels, Tensor):
            raise ValueError(
                f"{folder}: holds images of several sizes, and autoencoders are for one; make one with `fastgs splats "
                "make --size`"
            )
        self.height, self.width = self.splats.pixels.shape[2:]
        self._others: dict[Split, Splats] = {}

    def load(self, split: Split) -> Splats:
        """Return a split, which is read once."""
        if split == self.split:
            return self.splats
        if split not in self._others:
            self._others[split] = load_splats(self.folder, split)
        return self._others[split]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    def task(self, coder: Coder) -> AutoencoderTask:
        """Return the task of a coder on this split."""
        return AutoencoderTask(
            dataset=self.name,
            dataset_sha256=self.sha256,
            split=self.split,
            images=len(self.splats.entries),
            autoencoder=coder.name,
            sha256=coder.sha256,
        )


@torch.no_grad()
def measure(dataset: Dataset, coder: Coder, progress: Progress | None = None) -> AutoencoderRecord:
    """Code all images of the split, and measure what comes out and how well the codes separate the classes.

    Args:
        dataset: Dataset of the images.
        coder: Coder to measure.
        progress: Function that is called after each batch.

    Raises:
        ValueError: The reconstructions hold NaN.
    """
    scores = _score(dataset, coder, progress)
    if any(map(math.isnan, scores.psnrs)):
        raise ValueError("the reconstructions hold NaN; train the autoencoder again")
    found = _probe_classes(dataset, coder)
    count = dataset.index.num_gaussians
    return AutoencoderRecord(
        **vars(dataset.task(coder)),
        **coder.facts,
        **_count_bytes(dataset, coder.facts["latent"]),
        num_gaussians=count,
        psnr=statistics.fmean(scores.psnrs),
        psnr_std=statistics.pstdev(scores.psnrs),
        ssim=statistics.fmean(scores.ssims) if scores.ssims else None,
        seconds_encode=None if coder.sha256 is None else scores.seconds_encode / len(scores.psnrs),
        seconds_decode=scores.seconds_decode / len(scores.psnrs),
        probe_accuracy=None if found is None else found.accuracy,
        chance=None if found is None else found.chance,
        threads=threads.num_threads(),
        fastgs=installed_version(),
    )


@dataclass
class _Scores:
    """Scores of every image, and the seconds of all.

    Attributes:
        psnrs: PSNR of each image in dB.
        ssims: SSIM of each image; empty if they are too small for it.
        seconds_encode: Wall-clock seconds of encoding all images.
        seconds_decode: Wall-clock seconds of decoding all images.
    """

    psnrs: list[float] = field(default_factory=list)
    ssims: list[float] = field(default_factory=list)
    seconds_encode: float = 0.0
    seconds_decode: float = 0.0


def _score(dataset: Dataset, coder: Coder, progress: Progress | None) -> _Scores:
    """Code the images of the split and compare what comes out with the originals."""
    scores, splats = _Scores(), dataset.splats
    coder.decode(coder.encode(next(split_batches(splats, size=1))))  # loads what it needs
    for batch in split_batches(splats):
        start = time.perf_counter()
        codes = coder.encode(batch)
        middle = time.perf_counter()
        images = coder.decode(codes)
        scores.seconds_encode += middle - start
        scores.seconds_decode += time.perf_counter() - middle
        for image, target in zip(images, pixels(batch), strict=True):
            scores.psnrs.append(psnr(image, target))
            if min(dataset.height, dataset.width) >= MIN_SSIM_SIZE:
                scores.ssims.append(ssim(image, target))
        if progress is not None:
            done, total = len(scores.psnrs), len(splats.entries)
            progress(done / total, f"{done:,} of {total:,} images")
    return scores


def _count_bytes(dataset: Dataset, latent: int | None) -> dict[str, Any]:
    """Return the fields of a record with the bytes of code, Gaussians and pixels, and their ratios."""
    colors = dataset.index.settings.colors
    splats = _FLOAT32 * (GEOMETRY_CHANNELS + colors) * dataset.index.num_gaussians
    image = colors * dataset.height * dataset.width
    sizes: dict[str, Any] = {"bytes_latent": None, "compression_image": None, "compression_splats": None}
    if latent is not None:
        code = _FLOAT32 * latent
        sizes = {"bytes_latent": code, "compression_image": image / code, "compression_splats": splats / code}
    return {**sizes, "bytes_splats": splats, "bytes_image": image}


def split_batches(splats: Splats, size: int = BATCH) -> Iterator[Splats]:
    """Yield images in batches of a size, the last of which may be smaller."""
    for start in range(0, len(splats.entries), size):
        part = slice(start, start + size)
        yield Splats(Attributes(*(each[part] for each in splats.attributes)), splats.pixels[part], splats.entries[part])


def _probe_classes(dataset: Dataset, coder: Coder) -> Probe | None:
    """Probe the codes for the classes; return None if there are none, or, with a warning, if that is impossible."""
    if not dataset.index.labels:
        return None
    try:
        return probe(*(_load_samples(dataset.load(split), coder) for split in ("train", "val", "test")))
    except ValueError as error:
        _logger.warning("%s: %s: no probe of the classes: %s", dataset.folder, coder.name, error)
        return None


def _load_samples(splats: Splats, coder: Coder) -> Samples:
    """Return the codes of the images that have a class."""
    labels = torch.tensor([-1 if entry.label is None else entry.label for entry in splats.entries])
    codes = torch.cat([coder.encode(batch) for batch in split_batches(splats)])
    return Samples(codes[labels >= 0], labels[labels >= 0])
