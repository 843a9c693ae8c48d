"""Datasets of Gaussians on the disk: DIR/index.json beside DIR/shard-00000.safetensors, ..., and how to read them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import torch
from torch import Tensor

from fastgs.fitting.parametrization import Attributes
from fastgs.io.files import atomic_write, parse_json
from fastgs.splats.channels import Channels, Normalization, Parameters
from fastgs.splats.kinds import Split as Split
from fastgs.splats.shards import FORMAT, VERSION, VERSIONS, Row, Settings, attribute_shapes, read_shard

INDEX = "index.json"

_logger = logging.getLogger(__name__)


def shard_name(number: int) -> str:
    """Return the name of the file of a shard."""
    return f"shard-{number:05}.safetensors"


class Entry(NamedTuple):
    """An image of a dataset.

    Attributes:
        source: File of the image relative to the folder in which it was found, or "cifar10/train/123".
        top: First row of the image in the source, in pixels of the resized source if it was resized.
        left: First column of the image in the source, likewise.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        label: Index into `Index.labels`; None without classes.
        psnr: PSNR of the fit in dB.
        split: Split of the image; all images of a source are in the same.
        shard: Name of the file of the shard.
        row: Position in the tensors of the shard.
    """

    source: str
    top: int
    left: int
    height: int
    width: int
    label: int | None
    psnr: float
    split: Split
    shard: str
    row: int


_TYPES = get_type_hints(Entry) | {"split": str}


@dataclass(frozen=True)
class Index:
    """Description of a dataset and all its images.

    Attributes:
        settings: Settings with which the dataset was made.
        labels: Names of the classes; empty without classes.
        entries: The images.
        normalizations: Ranges of the parameters over the train split; of "anchored" ones only where fits started from
            a grid and all images have one size.
        shards: SHA-256 of each shard, by the name of its file.
    """

    settings: Settings
    labels: list[str]
    entries: list[Entry]
    normalizations: dict[Parameters, Normalization]
    shards: dict[str, str]

    @property
    def num_gaussians(self) -> int:
        """Number of Gaussians of each image."""
        return self.settings.num_gaussians

    @property
    def initialization(self) -> str:
        """Initialization of the fits: "grid", "random" or "nearest"."""
        return self.settings.initialization

    @property
    def iterations(self) -> int:
        """Number of steps of each fit."""
        return self.settings.iterations

    @property
    def seed(self) -> int:
        """Random seed of everything random, the splits included."""
        return self.settings.seed

    @property
    def channels(self) -> Channels:
        """Channels of the images, a name in `fastgs.splats.channels.COLORS`."""
        return self.settings.channels

    @property
    def size(self) -> int | None:
        """Side of all images in pixels; None if they differ in size or are not square."""
        sizes = {side for entry in self.entries for side in (entry.height, entry.width)}
        return sizes.pop() if len(sizes) == 1 else None


class Splats(NamedTuple):
    """Images and their Gaussians, in the order of the index.

    Attributes:
        attributes: Attributes of shapes (N, K, 2), (N, K, 2), (N, K) and (N, K, C), float32, in the units of
            `Gaussians`.
        pixels: (N, C, H, W) uint8, or a list of (C, h, w) where the sizes differ; with alpha, colours are multiplied by
            it.
        entries: Entries of the images in the index.
    """

    attributes: Attributes
    pixels: Tensor | list[Tensor]
    entries: list[Entry]


def write_index(folder: Path, index: Index) -> None:
    """Write DIR/index.json, one image per line; it is written completely or not at all.

    Raises:
        OSError: The folder is not writable, or the disk is full.
    """
    head = {
        "format": FORMAT,
        "version": index.settings.version,
        "settings": index.settings.as_json(),
        "labels": index.labels,
        "normalizations": {name: each.as_json() for name, each in index.normalizations.items()},
        "shards": index.shards,
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in head.items()]
    entries = ",\n".join(json.dumps(entry._asdict(), allow_nan=False) for entry in index.entries)
    with atomic_write(folder / INDEX) as temporary:
        temporary.write_bytes(("{\n" + ",\n".join([*lines, f'"entries": [\n{entries}\n]']) + "\n}\n").encode())


def read_index(folder: str | Path) -> Index:
    """Read the index of a dataset.

    Messages are one line that begins with the path.

    Args:
        folder: Folder of the dataset.

    Raises:
        FileNotFoundError: The folder has no index.
        ValueError: The index is damaged, or of another format or version.
    """
    path = Path(folder) / INDEX
    try:
        item = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: no such file; make the dataset with `fastgs splats make`, or once more if that was broken off"
        ) from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: is damaged or no JSON ({error}); delete it, and make the dataset again") from error
    if not isinstance(item, dict) or item.get("format") != FORMAT:
        raise ValueError(f"{path}: is no index of a dataset (not written by fastgs); name another folder")
    if item.get("version") not in VERSIONS:
        raise ValueError(
            f"{path}: is of version {item.get('version')!r}, and this fastgs reads up to version {VERSION!r}; make the "
            "dataset again"
        )
    try:
        return _parse_index(item)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = str(error) if type(error) is ValueError else "has other fields than this version writes"
        raise ValueError(f"{path}: {reason}; delete it, and make the dataset again") from error


def _parse_index(item: dict[str, Any]) -> Index:
    """Return the index of its JSON.

    Raises:
        ValueError: A field has an improper value.
        KeyError: A field is missing.
        TypeError: A field has another type, or is unknown.
        AttributeError: A field has another type.
    """
    labels, shards = item["labels"], item["shards"]
    if not all(isinstance(text, str) for text in (*labels, *shards, *shards.values())):
        raise ValueError("has improper labels or shards")
    normalizations = {name: Normalization.from_json(name, each) for name, each in item["normalizations"].items()}
    entries = [Entry(**each) for each in item["entries"]]
    for number, entry in enumerate(entries, start=1):
        if (
            not all(isinstance(value, _TYPES[name]) for name, value in entry._asdict().items())
            or entry.split not in get_args(Split)
            or entry.shard not in shards
            or (entry.label is not None and not 0 <= entry.label < len(labels))
            or min(entry.row, entry.height - 1, entry.width - 1) < 0
        ):
            raise ValueError(f"entry {number} is improper")
    settings = Settings.from_json(item["settings"], item["version"])
    if any(each.colors != settings.colors for each in normalizations.values()):
        raise ValueError(f"has normalizations of other channels than {settings.channels}")
    return Index(settings, labels, entries, normalizations, shards)


def load_splats(folder: str | Path, split: Split | None = None) -> Splats:
    """Read all images of a dataset, or those of a split.

    A shard that is missing or damaged is named in a warning of the log, and its images are left out.

    Args:
        folder: Folder of the dataset.
        split: Name of the split; None for all images.

    Raises:
        FileNotFoundError: The folder has no index.
        ValueError: The index cannot be read, see `read_index`; or the split has no images, or none that can be read.
    """
    index = read_index(folder)
    wanted = [entry for entry in index.entries if split in (None, entry.split)]
    if not wanted:
        raise ValueError(f"{folder}: has no images for {split or 'anything'}; make the dataset of more images")
    # The tensors are filled shard by shard, so that at most one shard is in memory twice.
    attributes = Attributes(*(torch.empty(each) for each in attribute_shapes(len(wanted), index.settings)))
    pixels: list[Tensor] = []
    entries: list[Entry] = []
    for name, group in groupby(wanted, key=lambda entry: entry.shard):
        members = list(group)
        try:
            found, images = _read_entries(Path(folder) / name, members, index)
        except (OSError, ValueError) as error:
            _logger.warning(
                "skipping %s; %d images are left out; repeat `fastgs splats make` to mend it", error, len(members)
            )
            continue
        for target, source in zip(attributes, found, strict=True):
            target[len(entries) : len(entries) + len(members)] = source
        pixels += images
        entries += members
    if not entries:
        raise ValueError(f"{folder}: none of the shards can be read, see the warnings; make the dataset again")
    count = len(entries)
    agree = len({image.shape for image in pixels}) == 1
    return Splats(Attributes(*(each[:count] for each in attributes)), torch.stack(pixels) if agree else pixels, entries)


def _read_entries(path: Path, entries: Sequence[Entry], index: Index) -> tuple[list[Tensor], list[Tensor]]:
    """Read the attributes and the pixels of entries of one shard.

    Raises:
        FileNotFoundError: The shard does not exist.
        ValueError: The shard is damaged, or not the one that the index describes.
    """
    header, content = read_shard(path)
    fits = header.sha256 == index.shards[path.name] and header.settings == index.settings
    if not fits or any(not _matches(entry, header.rows) for entry in entries):
        raise ValueError(f"{path}: is not the file that {INDEX} describes")
    rows = [entry.row for entry in entries]
    images = content.images(header.rows)
    return [each[rows] for each in content.attributes], [images[row] for row in rows]


def _matches(entry: Entry, rows: list[Row]) -> bool:
    """Return True if the row of the shard describes the same part of a source as the entry."""
    return entry.row < len(rows) and rows[entry.row][1:5] == entry[1:5]
