"""Autoencoder x split of a dataset of splats: what goes in, through the code, and out again as an image."""

from __future__ import annotations

import hashlib
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgs.evaluation.autoencoders.coders import Coder, pixels
from fastgs.evaluation.autoencoders.linear_probe import Probe, Samples, probe
from fastgs.evaluation.autoencoders.records import AutoencoderRecord, AutoencoderTask
from fastgs.fitting.parametrization import Attributes
from fastgs.io.version import installed_version
from fastgs.metrics.quality import MIN_SSIM_SIZE, psnr, ssim
from fastgs.runtime import threads
from fastgs.splats.channels import CHANNELS
from fastgs.splats.index import INDEX, Splats, Split, load_splats, read_index

BATCH = 256  # images at a time
NUMBER = 4  # bytes of a float32

_logger = logging.getLogger(__name__)


class Dataset:
    """A split to measure on, and the others as the probe needs them.

    Args:
        folder: of the dataset.
        split: to measure on.

    Attributes:
        folder, split: those above.
        index: what the folder says it is.
        sha256: of the index, which has those of all shards, in hexadecimal.
        splats: the images of the split.
        height, width: of all of them, in pixels.

    Raises:
        FileNotFoundError, ValueError: there is no such dataset, none of the images can be read, or their sizes differ;
            one line.
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
        """A split, read once."""
        if split == self.split:
            return self.splats
        if split not in self._others:
            self._others[split] = load_splats(self.folder, split)
        return self._others[split]

    @property
    def name(self) -> str:
        """That of the folder."""
        return self.folder.resolve().name

    def task(self, coder: Coder) -> AutoencoderTask:
        """What a coder is to do."""
        count = len(self.splats.entries)
        return AutoencoderTask(self.name, self.sha256, self.split, count, coder.name, coder.sha256)


@torch.no_grad()
def measure(
    dataset: Dataset, coder: Coder, callback: Callable[[float], None] = lambda share: None
) -> AutoencoderRecord:
    """Code all images of the split, and measure what comes out and what the codes tell.

    Args:
        dataset: the images.
        coder: what codes them.
        callback: called often with the share of the images that are done.

    Raises:
        ValueError: what comes out holds NaN.
    """
    scores = _scores(dataset, coder, callback)
    if any(map(math.isnan, scores.psnrs)):
        raise ValueError("what comes out holds NaN; train it again")
    found = _probe(dataset, coder)
    count = dataset.index.num_gaussians
    return AutoencoderRecord(
        **vars(dataset.task(coder)),
        **coder.facts,
        **_sizes(coder.facts["latent"], count, dataset.height, dataset.width),
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
    """Of every image, no SSIM where they are too small for it; and the seconds of all."""

    psnrs: list[float] = field(default_factory=list)
    ssims: list[float] = field(default_factory=list)
    seconds_encode: float = 0.0
    seconds_decode: float = 0.0


def _scores(dataset: Dataset, coder: Coder, callback: Callable[[float], None]) -> _Scores:
    """What becomes of the images of the split."""
    scores, splats = _Scores(), dataset.splats
    coder.decode(coder.encode(next(batches(splats, size=1))))  # loads what it needs
    for batch in batches(splats):
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
        callback(len(scores.psnrs) / len(splats.entries))
    return scores


def _sizes(latent: int | None, num_gaussians: int, height: int, width: int) -> dict[str, Any]:
    """Bytes and their ratios, as a record has them."""
    splats, image = NUMBER * len(CHANNELS["plain"]) * num_gaussians, 3 * height * width
    sizes: dict[str, Any] = {"bytes_latent": None, "compression_image": None, "compression_splats": None}
    if latent is not None:
        code = NUMBER * latent
        sizes = {"bytes_latent": code, "compression_image": image / code, "compression_splats": splats / code}
    return {**sizes, "bytes_splats": splats, "bytes_image": image}


def batches(splats: Splats, size: int = BATCH) -> Iterator[Splats]:
    """Images, so many at a time."""
    for start in range(0, len(splats.entries), size):
        part = slice(start, start + size)
        yield Splats(Attributes(*(each[part] for each in splats.attributes)), splats.pixels[part], splats.entries[part])


def _probe(dataset: Dataset, coder: Coder) -> Probe | None:
    """What a classifier makes of the codes; None where there are no classes, or, with a warning, it cannot be."""
    if not dataset.index.labels:
        return None
    try:
        return probe(*(_samples(dataset.load(split), coder) for split in ("train", "val", "test")))
    except ValueError as error:
        _logger.warning("%s: %s: no probe of the classes: %s", dataset.folder, coder.name, error)
        return None


def _samples(splats: Splats, coder: Coder) -> Samples:
    """The codes of the images that have a class."""
    labels = torch.tensor([-1 if entry.label is None else entry.label for entry in splats.entries])
    codes = torch.cat([coder.encode(batch) for batch in batches(splats)])
    return Samples(codes[labels >= 0], labels[labels >= 0])
