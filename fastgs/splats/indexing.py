"""From shards to the index: which image is on which side, and the ranges of the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import get_args

import torch

from fastgs.fitting.parametrization import Attributes
from fastgs.runtime import threads
from fastgs.splats.batches import Item, random_numbers
from fastgs.splats.channels import Normalization, Parameters, grid_shape, to_channels
from fastgs.splats.index import Entry, Index, Split, shard_name
from fastgs.splats.shards import Header, Settings, read_shard
from fastgs.splats.sources import Source

# The ranges of the parameters are those of so many images, which are millions of Gaussians.
MAX_STATISTICS = 2048


@threads.reserved()
def make_index(
    folder: Path,
    settings: Settings,
    sources: Sequence[Source],
    items: Sequence[Sequence[Item]],
    headers: Mapping[int, Header],
) -> Index:
    """The index of the shards in a folder.

    Args:
        folder: where they lie.
        settings: of the dataset.
        sources: what it was to be made of.
        items: what each shard was to have.
        headers: of the shards that are there, by number.
    """
    labels = sorted({source.label for source in sources if source.label is not None})
    splits = draw_splits(sources, settings.seed)
    entries = []
    for number, header in sorted(headers.items()):
        for place, row in enumerate(header.rows):
            item = items[number][row.item]
            label = None if item.source.label is None else labels.index(item.source.label)
            side = splits[item.place]
            entries.append(Entry(item.source.name, *row[1:5], label, row.psnr, side, shard_name(number), place))
    shards = {shard_name(number): header.sha256 for number, header in sorted(headers.items())}
    return Index(settings, labels, entries, _normalizations(folder, settings, entries), shards)


def draw_splits(sources: Sequence[Source], seed: int) -> list[Split]:
    """The side of each source: 4:1:1 into train, val and test.

    Of a dataset that has a test set of its own, that is the test split, and the rest is divided 4:1.
    """
    splits: list[Split] = [source.split or "train" for source in sources]
    numbers = random_numbers(seed, "split")
    free = [place for place, source in enumerate(sources) if source.split is None]
    bound = [place for place, source in enumerate(sources) if source.split == "train"]
    free, bound = (numbers.permutation(places).tolist() for places in (free, bound))
    sixth, fifth = (len(free) + 3) // 6, (len(bound) + 2) // 5
    for place in free[:sixth]:
        splits[place] = "test"
    for place in free[sixth : 2 * sixth] + bound[:fifth]:
        splits[place] = "val"
    return splits


def _normalizations(folder: Path, settings: Settings, entries: Sequence[Entry]) -> dict[Parameters, Normalization]:
    """Of the images to train on, or of some of them at equal distances."""
    train = [entry for entry in entries if entry.split == "train"]
    train = train[:: max(1, -(-len(train) // MAX_STATISTICS))]
    if not train:
        return {}
    kinds = [kind for kind in get_args(Parameters) if kind == "plain" or _anchored(settings, entries)]
    channels: dict[Parameters, list[torch.Tensor]] = {kind: [] for kind in kinds}
    for name, group in groupby(train, key=lambda entry: entry.shard):
        _, content = read_shard(folder / name)
        for entry in group:
            gaussians = Attributes(*(each[entry.row : entry.row + 1] for each in content.attributes))
            for kind in kinds:
                channels[kind].append(to_channels(gaussians, kind, entry.height, entry.width))
    return {kind: Normalization.of(torch.cat(each), kind) for kind, each in channels.items()}


def _anchored(settings: Settings, entries: Sequence[Entry]) -> bool:
    """Whether each Gaussian began in a cell, of one grid for all images."""
    sizes = {(entry.height, entry.width) for entry in entries}
    if settings.initialization != "grid" or len(sizes) > 1:
        return False
    try:
        grid_shape(settings.num_gaussians, *sizes.pop())
    except ValueError:
        return False
    return True
