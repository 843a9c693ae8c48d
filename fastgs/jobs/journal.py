"""Journal of a job, `jobs.jsonl` in its output folder: one line for each image, appended when the image is done.

The first line has the settings, the others name, SHA-256 of the input, files with their sizes and SHA-256, and the
record of what was measured, or an error. A job that was killed at any moment is resumed from it: an image counts as
done if a line has the SHA-256 of its content, and the files of that line are there as they were written.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any, NamedTuple

from fastgs.io.files import parse_json
from fastgs.io.places import Place, Written

FORMAT, VERSION = "fastgs.jobs", 1
NAMES = "jobs*.jsonl"  # all journals of an output folder: parts of a job that run on several machines have one each

# Share of the time of a job that may go into the writing of files that have to be written anew as a whole.
SHARE = 0.05


@dataclass(frozen=True)
class Part:
    """Part of a job, for several machines that share the work.

    Attributes:
        number: Number of the part, from 1 to `total`.
        total: Number of parts.
    """

    number: int = 1
    total: int = 1

    def name(self, stem: str, suffix: str) -> str:
        """Return the name of a file that each part has for itself."""
        return f"{stem}{suffix}" if self.total == 1 else f"{stem}-{self.number}-of-{self.total}{suffix}"

    def select(self, count: int) -> range:
        """Return the places of this part in a list of so many items, next to each other as they are in archives."""
        return range(count * (self.number - 1) // self.total, count * self.number // self.total)


class Line(NamedTuple):
    """An image that is done.

    Attributes:
        name: Name of the image.
        sha256: SHA-256 of its content, or of the contents of a stack.
        outputs: Files that were written.
        record: What was measured, as JSON; None if there is no record.
    """

    name: str
    sha256: str
    outputs: tuple[Written, ...]
    record: str | None


class Shard(NamedTuple):
    """A file with the outputs of several images.

    Attributes:
        file: The file.
        images: Names of the images.
    """

    file: Written
    images: tuple[str, ...]


class OtherSettingsError(ValueError):
    """A journal was written with other settings; the message is one line that begins with its name."""


class Throttle:
    """Decides when to write a file anew that grows with a job, so that all the writing takes a small share of time."""

    def __init__(self) -> None:
        self._due = 0.0

    def is_due(self) -> bool:
        """Tell whether enough time has passed."""
        return time.perf_counter() >= self._due

    def wrote(self, seconds: float) -> None:
        """Take note of a write that took so many seconds."""
        self._due = time.perf_counter() + seconds / SHARE


class Journal:
    """The journal of a job, or of its part.

    A local file is appended to. At a URL, where nothing can be appended, it is written anew from time to time, so that
    the last images before a death may be done again, with the same result.

    Args:
        place: Folder of the outputs.
        name: Name of the journal.
        settings: Everything that decides about the results, as JSON holds it.
        resume: True to go on from all journals in the folder; False begins anew.

    Attributes:
        place: Folder of the outputs.
        name: Name of the journal.
        stage: Folder on the same disk where files are made, see `Place.write`.
        lines: Images that are done, by the stem of their name.

    Raises:
        OtherSettingsError: A journal was written with other settings.
        ValueError: A journal is of another format; one line that begins with its name.
        OSError: A journal cannot be read.
    """

    def __init__(self, place: Place, name: str, settings: Mapping[str, Any], resume: bool) -> None:
        self.lines: dict[str, list[Line]] = defaultdict(list)
        self._shards: dict[str, Shard] = {}
        self.place = place
        self.stage = ""
        self.name = name
        self._head = json.dumps({"format": FORMAT, "version": VERSION, "settings": dict(settings)}) + "\n"
        self._stream: IO[bytes] | None = None
        self._content: list[bytes] | None = None
        self._throttle = Throttle()
        self._old = b""
        for each in place.names(NAMES) if resume else []:
            content = self._load(each)
            if each == name:
                self._old = content

    @property
    def shards(self) -> list[Shard]:
        """Shards that were written, the last one of each name."""
        return list(self._shards.values())

    def find(self, stem: str) -> list[Line]:
        """Return the lines of images with a name of this stem."""
        return self.lines.get(stem, [])

    def add(self, line: Line) -> None:
        """Append an image that is done.

        Raises:
            OSError: The disk is full, or the folder cannot be written to; nothing is appended.
        """
        content = {"name": line.name, "sha256": line.sha256, "outputs": [tuple(each) for each in line.outputs]}
        # The record is JSON already, made where the image was, for all that it is written to.
        self._append(f'{json.dumps(content)[:-1]}, "record": {line.record or "null"}}}')

    def add_error(self, name: str, error: str) -> None:
        """Append an image that failed, which is tried again when the job is resumed.

        Raises:
            OSError: The disk is full, or the folder cannot be written to; nothing is appended.
        """
        self._append(json.dumps({"name": name, "error": error}))

    def add_shard(self, shard: Shard) -> None:
        """Append a shard that is written.

        Raises:
            OSError: The disk is full, or the folder cannot be written to; nothing is appended.
        """
        self._append(json.dumps({"shard": tuple(shard.file), "images": shard.images}))

    def close(self) -> None:
        """Write what is not written yet, and close the file.

        Raises:
            OSError: It cannot be written.
        """
        if self._content is not None:
            self.place.write(self.name, b"".join(self._content))
            self._content = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _append(self, text: str) -> None:
        data = f"{text}\n".encode()
        if not self.place.is_local:
            self._content = [self._old or self._head.encode()] if self._content is None else self._content
            self._content.append(data)
            if self._throttle.is_due():
                begin = time.perf_counter()
                self.place.write(self.name, b"".join(self._content))
                self._throttle.wrote(time.perf_counter() - begin)
            return
        if self._stream is None:
            # Begun at the first line, so that a job that does nothing leaves nothing.
            self.place.write(self.name, self._old or self._head.encode(), self.stage)
            self._stream = open(self.place.path(self.name), "ab", buffering=0)  # noqa: SIM115
        end = os.fstat(self._stream.fileno()).st_size
        try:
            if self._stream.write(data) != len(data):
                raise OSError(None, "the disk is full")
        except OSError:
            self._stream.truncate(end)  # half a line would spoil the next one
            raise

    def _load(self, name: str) -> bytes:
        """Read a journal; return its whole lines."""
        where = self.place.file(name)
        content = self.place.read(name)
        content = content[: content.rfind(b"\n") + 1]  # the last line may be torn
        head, *rest = content.splitlines() or [b"{}"]
        if not content:
            return b""
        try:
            item = parse_json(head)
            found = item["settings"] if (item["format"], item["version"]) == (FORMAT, VERSION) else None
        except (ValueError, KeyError, TypeError):
            found = None
        if not isinstance(found, dict):
            raise ValueError(f"{where}: is no journal of this version of fastgs; rename it, or choose another folder")
        wanted = parse_json(self._head)["settings"]
        if found != wanted:
            raise OtherSettingsError(f"{where}: was written with {describe_difference(found, wanted)}")
        for text in rest:
            line = _parse_line(text)
            if isinstance(line, Shard):
                self._shards[line.file.name] = line
            elif line is not None:
                self._keep(line)
        return content

    def _keep(self, line: Line) -> None:
        """Keep a line; it replaces those whose files it has written anew."""
        names = {each.name for each in line.outputs}
        others = self.lines[stem_of(line.name)]
        others[:] = [each for each in others if not names & {output.name for output in each.outputs}]
        others.append(line)


def stem_of(name: str) -> str:
    """Return the stem of the last part of the name of an image, by which journals find it."""
    return PurePath(name).stem


def describe_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in which settings two jobs differ, as options of the command."""
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    parts = []
    for name in names:
        option = name if name in ("fastgs", "weights of networks", "images") else f"--{name.replace('_', '-')}"
        parts.append(f"{option} {_show(found.get(name))}, not {_show(wanted.get(name))}")
    return "; ".join(parts)


def _show(value: Any) -> str:
    return "by default" if value is None else str(value)


def _parse_line(text: bytes) -> Line | Shard | None:
    """Return a line of an image or a shard; None for an error, and for what cannot be read: it is done again."""
    try:
        item = parse_json(text)
        if "error" in item:
            return None
        if "shard" in item:
            return Shard(Written(*item["shard"]), tuple(item["images"]))
        outputs = tuple(Written(str(name), int(size), str(digest)) for name, size, digest in item["outputs"])
        record = None if item["record"] is None else json.dumps(item["record"])
        return Line(str(item["name"]), str(item["sha256"]), outputs, record)
    except (ValueError, KeyError, TypeError):
        return None


def is_done(line: Line, sha256: str | None, place: Place, is_packed: bool = False) -> bool:
    """Tell whether a line is of this content, and its files are in the folder as they were written, or in a shard."""
    return line.sha256 == sha256 and (is_packed or all(place.holds(each) for each in line.outputs))


def join_digests(digests: Sequence[str | None]) -> str | None:
    """Return one SHA-256 for the contents that are processed together; None if one of them cannot be read."""
    known = [each for each in digests if each is not None]
    return None if len(known) < len(digests) else "+".join(known)
