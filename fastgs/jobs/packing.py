"""Shards of results: the files of many images in one, a tar archive or a safetensors file of their Gaussians.

Which images share a shard follows from their order alone. Until all images of a shard are done or have failed, their
files wait in a folder of the outputs, where a job that was killed finds them again.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from fastgs.io.places import Place
from fastgs.jobs.journal import Journal, Line, Part, Shard

Kind = Literal["safetensors", "tar"]
DEFAULT_SIZE = 1000  # images in a shard
WAITING = ".parts"  # folder of the files that wait


class Packer:
    """Packs the files of images into shards.

    Args:
        place: Folder of the shards.
        journal: Journal of the job, which knows the shards that there are.
        names: Names of all images, in order.
        size: Number of images in a shard.
        kind: Kind of the shards.
        part: Part of a job, which the names of its shards tell.

    Attributes:
        waiting: Folder of the files of images whose shard is not complete.
        packed: Names of the images in shards that are there as they were written.
    """

    def __init__(self, place: Place, journal: Journal, names: Sequence[str], size: int, kind: Kind, part: Part) -> None:
        self.waiting = place.child(f"{WAITING}{part.name('', '')}")
        self.packed = {name for each in journal.shards if place.holds(each.file) for name in each.images}
        self._place = place
        self._journal = journal
        self._kind = kind
        self._prefix = part.name("shard", "")
        self._groups = [range(first, min(first + size, len(names))) for first in range(0, len(names), size)]
        self._size = size
        self._names = names
        self._lines: dict[int, Line | None] = {}
        self._is_new: set[int] = set()  # groups with an image that is not in their shard

    def open(self) -> None:
        """Remove what an earlier run has left in the folder of waiting files and no line of the journal knows."""
        if not self.waiting.is_local:
            return
        known = {output.name for lines in self._journal.lines.values() for line in lines for output in line.outputs}
        for path in Path(self.waiting.location).iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in known:
                path.unlink()

    def add(self, number: int, line: Line | None) -> None:
        """Take note of an image that is done or has failed; the last one of a shard writes it.

        Args:
            number: Place of the image in the names.
            line: Its files; None if it failed.

        Raises:
            OSError: The disk is full, or the folder cannot be written to.
            ValueError: A shard that has to be written again is damaged.
        """
        self._lines[number] = line
        group = number // self._size
        if line is not None and self._names[number] not in self.packed:
            self._is_new.add(group)
        if all(each in self._lines for each in self._groups[group]):
            self._finish(group)

    def close(self) -> None:
        """Remove the folder of waiting files, if none waits."""
        if self.waiting.is_local:
            path = Path(self.waiting.location)
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def _finish(self, group: int) -> None:
        """Write the shard of a group, unless it is there, and remove the files that waited."""
        lines = [self._lines.pop(each) for each in self._groups[group]]
        done = [line for line in lines if line is not None]
        if group in self._is_new:
            name = f"{self._prefix}-{group:05}.{self._kind}"
            with tempfile.TemporaryDirectory(dir=self.waiting.location if self.waiting.is_local else None) as folder:
                old = None
                if any(line.name in self.packed for line in done):  # it is written again, with what is new
                    old = Path(folder) / f"old.{self._kind}"
                    old.write_bytes(self._place.read(name))
                file = Path(folder) / name
                file.write_bytes((_pack_archive if self._kind == "tar" else _pack_gaussians)(self.waiting, done, old))
                (written,) = self._place.put([file])
            self._journal.add_shard(Shard(written, tuple(line.name for line in done)))
        for line in done:
            for each in line.outputs:
                self.waiting.remove(each.name)


def _files(waiting: Place, lines: Iterable[Line]) -> Iterable[tuple[str, bytes | None]]:
    """Yield the files of images, with their content if they wait; the others are in the shard that was there."""
    for line in lines:
        is_waiting = all(waiting.holds(each) for each in line.outputs)
        for each in line.outputs:
            yield each.name, waiting.read(each.name) if is_waiting else None


def _pack_archive(waiting: Place, lines: Sequence[Line], old: Path | None) -> bytes:
    """Return a tar archive of all files of some images."""
    stream, before = io.BytesIO(), dict[str, bytes]()
    if old is not None:
        with tarfile.open(old) as archive:
            files = {each.name: archive.extractfile(each) for each in archive}
            before = {name: file.read() for name, file in files.items() if file is not None}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in _files(waiting, lines):
            content = before[name] if data is None else data
            member = tarfile.TarInfo(name)  # of no user and no time: equal files give equal archives
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _pack_gaussians(waiting: Place, lines: Sequence[Line], old: Path | None) -> bytes:
    """Return a shard of the Gaussians of some images."""
    from fastgs.data.fitted import FittedImage, pack, read_shard  # deferred: the archives need no torch
    from fastgs.gaussians import Gaussians

    before = {image.name: image for image in read_shard(old)} if old is not None else {}
    images = []
    for name, data in _files(waiting, lines):
        stem = PurePosixPath(name).stem
        images.append(before[stem] if data is None else FittedImage(stem, Gaussians.from_bytes(data, name)))
    return pack(images)
