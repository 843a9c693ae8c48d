"""Making of a dataset from sources, shard by shard, so that a run that was broken off continues where it stopped.

A shard depends on the settings and its sources alone, not on the number of processes: every image has random generators
of its own, from the seed and its place, and images are divided into batches by their place.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict, deque
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
from fastgs.io.checked import DamagedError
from fastgs.runtime.pool import outcomes
from fastgs.splats.batches import Batch, Item, Part, fit_items, plan_batches
from fastgs.splats.index import INDEX, Index, read_index, shard_name, write_index
from fastgs.splats.indexing import make_index
from fastgs.splats.shards import (
    Content,
    Failure,
    Header,
    Row,
    Settings,
    read_header,
    read_shard,
    write_shard,
)
from fastgs.splats.sources import Source


class Progress(NamedTuple):
    """State of a dataset that is being made.

    Attributes:
        done: Number of images that are done or left out.
        total: Number of all images.
        fitted: Number of images that this run has fitted.
        seconds: Seconds that these fits took.
        psnr: Mean PSNR of all images that are done, in dB; NaN if there are none.
    """

    done: int
    total: int
    fitted: int
    seconds: float
    psnr: float


def check_folder(folder: Path, settings: Settings) -> None:
    """Check that a folder holds no other dataset.

    Raises:
        ValueError: The folder holds another dataset, or one that this version cannot read; one line.
    """
    for path in sorted(folder.glob("shard-*.safetensors")):
        with suppress(DamagedError):  # the shard will be made again
            _check_settings(folder, read_header(path).settings, settings)
    if (folder / INDEX).exists():
        _check_settings(folder, read_index(folder).settings, settings)


def _check_settings(folder: Path, found: Settings, settings: Settings) -> None:
    """Check that settings found in a folder are the same.

    Raises:
        ValueError: A setting differs.
    """
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

    Existing shards are kept if they are undamaged and have the same settings and sources.

    Args:
        sources: The images.
        settings: Settings of the dataset; its `sources` are `listing(sources)`.
        folder: Existing folder that holds no other dataset, see `check_folder`.
        workers: Number of processes.
        advance: Callback for the progress, called often.
        warn: Callback that is called once for each source that is left out, with the reason.

    Raises:
        ValueError: None of the images can be read, or a fit diverged.
        OSError: The folder is not writable, or the disk is full.
        BrokenExecutor: A process died.
    """
    batches = plan_batches(sources, settings)
    items = [[item for batch in shard for item in batch.items] for shard in batches]
    reporter = _Reporter(items, advance, warn)
    headers: dict[int, Header] = {}
    for number, here in enumerate(items):
        header = _read_reusable(folder / shard_name(number), settings, here)
        if header is not None:
            headers[number] = header
            reporter.add(number, header.rows, header.failures, kept=True)
    reporter.begin()
    missing = {number: shard for number, shard in enumerate(batches) if number not in headers}
    for number, parts in _fit_shards(missing, settings, workers, reporter):
        path = folder / shard_name(number)
        if any(part.fitted for part in parts):
            headers[number] = _write_parts(path, settings, parts)
        else:
            path.unlink(missing_ok=True)  # from an earlier run that could read its images
    if not headers:
        raise ValueError(f"{folder}: none of the {len(sources)} images can be read")
    index = make_index(folder, settings, sources, items, headers)
    write_index(folder, index)
    return index


def _fit_shards(
    shards: Mapping[int, Sequence[Batch]], settings: Settings, workers: int, reporter: _Reporter
) -> Iterator[tuple[int, list[Part]]]:
    """Yield the number and the parts of each shard, once all its parts are done."""
    pending = deque(batch for shard in shards.values() for batch in shard)
    done: dict[int, dict[int, Part]] = defaultdict(dict)
    for batch, outcome in outcomes(pending, partial(fit_items, settings), max(1, min(workers, len(pending)))):
        parts = done[batch.shard]
        part = parts[batch.first] = outcome()
        reporter.add(batch.shard, [each.row for each in part.fitted], part.failures)
        if len(parts) == len(shards[batch.shard]):
            yield batch.shard, [part for _, part in sorted(done.pop(batch.shard).items())]


class _Reporter:
    """Reports progress, and the sources that are left out.

    Args:
        items: Planned images of each shard.
        advance: Callback for the progress.
        warn: Callback for sources that are left out.
    """

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
        self._reported: set[int] = set()  # places of sources that are left out
        self._failed = self._kept = 0
        self._begin = time.perf_counter()

    def begin(self) -> None:
        """Start the clock of the fits."""
        self._begin = time.perf_counter()

    def add(self, shard: int, rows: Sequence[Row], failures: Sequence[Failure], kept: bool = False) -> None:
        """Report images of a shard that are done or left out.

        Args:
            shard: Number of the shard.
            rows: Images that are done.
            failures: Images that are left out.
            kept: True if the images existed before this run.
        """
        for number, reason in failures:
            item = self._items[shard][number]
            if item.place not in self._reported:
                self._reported.add(item.place)
                self._warn(item.source, reason)
        self._failed += len(failures)
        self._kept += len(rows) if kept else 0
        self._psnrs += [row.psnr for row in rows]
        count, total = len(self._psnrs), sum(map(len, self._items))
        psnr = fmean(self._psnrs) if self._psnrs else math.nan
        seconds = time.perf_counter() - self._begin
        self._advance(Progress(count + self._failed, total, count - self._kept, seconds, psnr))


def _read_reusable(path: Path, settings: Settings, items: Sequence[Item]) -> Header | None:
    """Return the header of a shard that need not be made again; None if it must be made."""
    try:
        header, _ = read_shard(path)
    except (FileNotFoundError, DamagedError):
        return None
    hashes = {item.place: item.source.sha256() for item in {item.place: item for item in items}.values()}
    same = header.settings == settings and header.contents == _hash_sources(hashes[item.place] for item in items)
    return header if same else None


def _hash_sources(hashes: Iterable[str]) -> str:
    """Return the SHA-256 of the hashes of the sources of a shard."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _write_parts(path: Path, settings: Settings, parts: Sequence[Part]) -> Header:
    """Write a shard from its parts in order."""
    fitted = [each for part in parts for each in part.fitted]
    failures = [failure for part in parts for failure in part.failures]
    tensors = (torch.from_numpy(np.stack([each.arrays[name] for each in fitted])) for name in Attributes._fields)
    pixels = torch.from_numpy(np.concatenate([each.arrays["pixels"] for each in fitted]))
    contents = _hash_sources(digest for part in parts for digest in part.hashes)
    rows = [each.row for each in fitted]
    return write_shard(path, settings, contents, rows, failures, Content(Attributes(*tensors), pixels))
