"""Making of the index from the shards: the split of each image, and the ranges of the parameters."""

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

# Number of images whose Gaussians, millions of them, determine the ranges of the parameters.
MAX_STATISTICS = 2048


@threads.reserved()
def make_index(
    folder: Path,
    settings: Settings,
    sources: Sequence[Source],
    items: Sequence[Sequence[Item]],
    headers: Mapping[int, Header],
) -> Index:
    """Return the index of the shards in a folder.

    Args:
        folder: Folder of the dataset.
        settings: Settings of the dataset.
        sources: Sources of the dataset.
        items: Planned images of each shard.
        headers: Headers of the existing shards, by number.
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
    return Index(settings, labels, entries, _measure_ranges(folder, settings, entries), shards)


def draw_splits(sources: Sequence[Source], seed: int) -> list[Split]:
    """Draw the split of each source, in the proportion 4:1:1 for train, val and test.

    The test set of a dataset that has its own is the test split; its training set is divided 4:1 into train and val.
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


def _measure_ranges(folder: Path, settings: Settings, entries: Sequence[Entry]) -> dict[Parameters, Normalization]:
    """Return the ranges over the train split, or over evenly spaced images of it if it is large."""
    train = [entry for entry in entries if entry.split == "train"]
    train = train[:: max(1, -(-len(train) // MAX_STATISTICS))]
    if not train:
        return {}
    kinds = [kind for kind in get_args(Parameters) if kind == "plain" or _is_anchored(settings, entries)]
    channels: dict[Parameters, list[torch.Tensor]] = {kind: [] for kind in kinds}
    for name, group in groupby(train, key=lambda entry: entry.shard):
        _, content = read_shard(folder / name)
        for entry in group:
            gaussians = Attributes(*(each[entry.row : entry.row + 1] for each in content.attributes))
            for kind in kinds:
                channels[kind].append(to_channels(gaussians, kind, entry.height, entry.width))
    return {kind: Normalization.from_values(torch.cat(each), kind) for kind, each in channels.items()}


def _is_anchored(settings: Settings, entries: Sequence[Entry]) -> bool:
    """Return True if the Gaussians of all images began in the cells of one grid."""
    sizes = {(entry.height, entry.width) for entry in entries}
    if settings.initialization != "grid" or len(sizes) > 1:
        return False
    try:
        grid_shape(settings.num_gaussians, *sizes.pop())
    except ValueError:
        return False
    return True
