"""Batches of images that are fitted together: their plan, and the fit of one batch in any process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from fastgs.fitting.batch import fit_batch
from fastgs.fitting.parametrization import Attributes
from fastgs.gaussians import Gaussians
from fastgs.initializers import INITIALIZERS
from fastgs.io.images import ImageError
from fastgs.runtime import threads
from fastgs.splats.shards import Failure, Row, Settings
from fastgs.splats.sources import Source, Window, cut_windows

# Most Gaussians and pixels that are fitted in the same steps; more would take more memory and save no time.
MAX_GAUSSIANS = 65_536
MAX_PIXELS = 2**20

Purpose = Literal["crops", "starts", "split"]


@dataclass(frozen=True)
class Item:
    """An image of the dataset that is made.

    Attributes:
        source: Source of the image.
        place: Position of the source in the list of sources.
        crop: Number of the crop among those of the source; 0 without crops.
    """

    source: Source
    place: int
    crop: int


@dataclass(frozen=True)
class Batch:
    """Consecutive images of a shard.

    Attributes:
        shard: Number of the shard.
        first: Position of the first image in the shard.
        items: The images.
    """

    shard: int
    first: int
    items: tuple[Item, ...]


class Fitted(NamedTuple):
    """A fitted image.

    Attributes:
        row: Description of the image in its shard.
        arrays: Arrays of its Gaussians, by the names in `Attributes`, and "pixels", flat. They are arrays and not
            tensors, which would take an open file each between processes.
    """

    row: Row
    arrays: dict[str, NDArray[Any]]


class Part(NamedTuple):
    """Result of a batch.

    Attributes:
        fitted: Images that are fitted.
        failures: Images that could not be read.
        hashes: SHA-256 of the source of each item.
    """

    fitted: list[Fitted]
    failures: list[Failure]
    hashes: list[str]


def random_numbers(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """Return a random generator that depends on the seed, the purpose and the place alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(get_args(Purpose).index(purpose), *place)))


def plan_batches(sources: Sequence[Source], settings: Settings) -> list[list[Batch]]:
    """Return the batches of each shard, in order."""
    crops = range(settings.crops or 1)
    items = [Item(source, place, crop) for place, source in enumerate(sources) for crop in crops]
    length = max(1, MAX_GAUSSIANS // settings.num_gaussians)
    return [
        [
            Batch(number, first, tuple(items[start + first : start + min(first + length, settings.shard_size)]))
            for first in range(0, min(settings.shard_size, len(items) - start), length)
        ]
        for number, start in enumerate(range(0, len(items), settings.shard_size))
    ]


class _Ready(NamedTuple):
    """An image to be fitted.

    Attributes:
        number: Position of the image in the shard.
        item: The image in the plan of the dataset.
        window: Pixels of the image, and their place in the source.
    """

    number: int
    item: Item
    window: Window


@threads.reserved()
def fit_items(settings: Settings, batch: Batch) -> Part:
    """Read, cut and fit the images of a batch; those that cannot be read are left out."""
    part = Part([], [], [])
    ready: list[_Ready] = []
    for place, group in groupby(enumerate(batch.items, batch.first), key=lambda member: member[1].place):
        members = list(group)
        source = members[0][1].source
        part.hashes.extend([source.sha256()] * len(members))
        try:
            numbers = random_numbers(settings.seed, "crops", place)
            image = source.read(settings.channels)
            windows = cut_windows(image, settings.size, settings.crops, numbers, settings.alpha)
        except ImageError as error:
            part.failures.extend(Failure(number, str(error)) for number, _ in members)
        else:
            ready += [_Ready(number, item, windows[item.crop]) for number, item in members]
    for together in _split_by_pixels(ready):
        part.fitted.extend(_fit(settings, together))
    return part


def _split_by_pixels(ready: Sequence[_Ready]) -> Iterator[Sequence[_Ready]]:
    """Yield runs of images that, padded to the largest in the run, have at most `MAX_PIXELS` pixels."""
    start, height, width = 0, 0, 0
    for place, (_, _, window) in enumerate(ready):
        _, rows, columns = window.pixels.shape
        height, width = max(height, rows), max(width, columns)
        if place > start and (place + 1 - start) * height * width > MAX_PIXELS:
            yield ready[start:place]
            start, height, width = place, rows, columns
    if ready:
        yield ready[start:]


def _fit(settings: Settings, ready: Sequence[_Ready]) -> list[Fitted]:
    """Fit images in the same steps."""
    targets = [each.window.pixels / 255 for each in ready]
    starts = []
    for target, (_, item, _) in zip(targets, ready, strict=True):
        seed = int(random_numbers(settings.seed, "starts", item.place, item.crop).integers(2**63))
        generator = torch.Generator().manual_seed(seed)
        start = INITIALIZERS[settings.initialization](target, settings.num_gaussians, generator)
        starts.append(replace(start, alpha=settings.alpha))
    result = fit_batch(targets, starts, settings.iterations)
    return [_describe(*each) for each in zip(ready, result.gaussians, result.psnrs, strict=True)]


def _describe(ready: _Ready, gaussians: Gaussians, psnr: float) -> Fitted:
    """Return the row and the arrays of an image that is fitted."""
    top, left, pixels = ready.window
    arrays = {name: getattr(gaussians, name).numpy() for name in Attributes._fields}
    arrays["pixels"] = pixels.flatten().numpy()
    return Fitted(Row(ready.number, top, left, gaussians.height, gaussians.width, psnr), arrays)
