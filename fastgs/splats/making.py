"""Sources to a dataset: shard by shard, so that a run that was broken off goes on where it stopped.

What a shard is depends on the settings and its sources alone, not on the number of processes: every image has
generators of its own, from the seed and its place, and batches are cut by place.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch

from fastgs.fitting.parametrization import Attributes
from fastgs.runtime.pool import outcomes
from fastgs.splats.batches import Batch, Item, Part, fit, plan
from fastgs.splats.index import INDEX, Index, read_index, shard_name, write_index
from fastgs.splats.indexing import make_index
from fastgs.splats.shards import (
    Content,
    DamagedError,
    Failure,
    Header,
    Row,
    Settings,
    read_header,
    read_shard,
    write_shard,
)
from fastgs.splats.sources import Source

INITS = ("grid", "random", "nearest")
ITERATIONS = 20  # from a grid, 80 dB with a Gaussian for each pixel and 45 dB with one for four
SHARD_SIZE = 1024


class Progress(NamedTuple):
    """How far a dataset is.

    Attributes:
        done: number of images that are done or left out.
        total: number of all.
        fitted: number of those that this run has fitted.
        seconds: that it took for them.
        psnr: mean of all that are done, in dB; NaN if none is.
    """

    done: int
    total: int
    fitted: int
    seconds: float
    psnr: float


def check_folder(folder: Path, settings: Settings) -> None:
    """See that a folder holds no other dataset.

    Raises:
        ValueError: it does, or it holds a file of ours that this version cannot read; one line.
    """
    for path in sorted(folder.glob("shard-*.safetensors")):
        with suppress(DamagedError):  # will be made again
            _check_settings(folder, read_header(path).settings, settings)
    if (folder / INDEX).exists():
        _check_settings(folder, read_index(folder).settings, settings)


def _check_settings(folder: Path, found: Settings, settings: Settings) -> None:
    for (name, there), here in zip(asdict(found).items(), asdict(settings).values(), strict=True):
        if there != here:
            reason = "other images" if name == "sources" else f"{name} {there}, not {here}"
            raise ValueError(f"{folder}: holds another dataset ({reason}); choose another folder, or delete that one")


def make(
    sources: Sequence[Source],
    settings: Settings,
    folder: Path,
    workers: int = 1,
    advance: Callable[[Progress], None] = lambda progress: None,
    warn: Callable[[Source, str], None] = lambda source, reason: None,
) -> Index:
    """Fit all images that can be read, and write them to a folder.

    Shards that are there already are kept if they are whole, and of the same settings and sources.

    Args:
        sources: the images.
        settings: of the dataset; its `sources` are their `listing`.
        folder: exists, and holds no other dataset (see `check_folder`).
        workers: number of processes.
        advance: called often.
        warn: called once for each source that is left out, with the reason.

    Raises:
        ValueError: none of the images can be read, or a fit diverged.
        OSError: the folder is not writable, or the disk is full.
        BrokenExecutor: a process died.
    """
    batches = plan(sources, settings)
    items = [[item for batch in shard for item in batch.items] for shard in batches]
    watch = _Watch(items, advance, warn)
    headers: dict[int, Header] = {}
    for number, here in enumerate(items):
        header = _kept(folder / shard_name(number), settings, here)
        if header is not None:
            headers[number] = header
            watch.add(number, header.rows, header.failures, kept=True)
    watch.begin()
    missing = {number: shard for number, shard in enumerate(batches) if number not in headers}
    for number, parts in _fitted(missing, settings, workers, watch):
        path = folder / shard_name(number)
        if any(part.fitted for part in parts):
            headers[number] = _write(path, settings, parts)
        else:
            path.unlink(missing_ok=True)  # of when its images could be read
    if not headers:
        raise ValueError(f"{folder}: none of the {len(sources)} images can be read")
    index = make_index(folder, settings, sources, items, headers)
    write_index(folder, index)
    return index


def _fitted(
    shards: Mapping[int, Sequence[Batch]], settings: Settings, workers: int, watch: _Watch
) -> Iterator[tuple[int, list[Part]]]:
    """Shards by number, each once all its parts are done."""
    pending = [batch for shard in shards.values() for batch in shard]
    done: dict[int, dict[int, Part]] = defaultdict(dict)
    for batch, outcome in outcomes(pending, partial(fit, settings), max(1, min(workers, len(pending)))):
        parts = done[batch.shard]
        part = parts[batch.first] = outcome()
        watch.add(batch.shard, [each.row for each in part.fitted], part.failures)
        if len(parts) == len(shards[batch.shard]):
            yield batch.shard, [part for _, part in sorted(done.pop(batch.shard).items())]


class _Watch:
    """Tells how far it is, and what is left out."""

    def __init__(
        self,
        items: Sequence[Sequence[Item]],
        advance: Callable[[Progress], None],
        warn: Callable[[Source, str], None],
    ) -> None:
        self._items = items
        self._advance = advance
        self._warn = warn
        self._psnrs: list[float] = []
        self._told: set[int] = set()  # places of sources that are left out
        self._failed = self._kept = 0
        self._begin = time.perf_counter()

    def begin(self) -> None:
        """From now on, images are fitted."""
        self._begin = time.perf_counter()

    def add(self, shard: int, rows: Sequence[Row], failures: Sequence[Failure], kept: bool = False) -> None:
        """Images of a shard that are done or left out; kept ones were there already."""
        for number, reason in failures:
            item = self._items[shard][number]
            if item.place not in self._told:
                self._told.add(item.place)
                self._warn(item.source, reason)
        self._failed += len(failures)
        self._kept += len(rows) if kept else 0
        self._psnrs += [row.psnr for row in rows]
        count, total = len(self._psnrs), sum(map(len, self._items))
        psnr = fmean(self._psnrs) if self._psnrs else math.nan
        seconds = time.perf_counter() - self._begin
        self._advance(Progress(count + self._failed, total, count - self._kept, seconds, psnr))


def _kept(path: Path, settings: Settings, items: Sequence[Item]) -> Header | None:
    """The header of a shard that need not be made again."""
    try:
        header, _ = read_shard(path)
    except (FileNotFoundError, DamagedError):
        return None
    hashes = {item.place: item.source.sha256() for item in {item.place: item for item in items}.values()}
    same = header.settings == settings and header.contents == _contents(hashes[item.place] for item in items)
    return header if same else None


def _contents(hashes: Iterable[str]) -> str:
    """SHA-256 of the sources of a shard."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _write(path: Path, settings: Settings, parts: Sequence[Part]) -> Header:
    """A shard from its parts in their order."""
    fitted = [each for part in parts for each in part.fitted]
    failures = [failure for part in parts for failure in part.failures]
    tensors = (torch.from_numpy(np.stack([each.arrays[name] for each in fitted])) for name in Attributes._fields)
    pixels = torch.from_numpy(np.concatenate([each.arrays["pixels"] for each in fitted]))
    contents = _contents(digest for part in parts for digest in part.hashes)
    rows = [each.row for each in fitted]
    return write_shard(path, settings, contents, rows, failures, Content(Attributes(*tensors), pixels))
