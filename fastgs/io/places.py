"""Folders to read from and to write to: on a local disk, or at any URL that fsspec knows, such as s3://bucket/folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from fastgs.io.files import atomic_write, make_folders

# Protocols of stores of objects, in which a file appears once it is whole; on a disk behind a URL it needs another name
# until then.
STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "hf", "memory"})


class Written(NamedTuple):
    """A file that was written.

    Attributes:
        name: Name in its folder.
        size: Number of bytes.
        sha256: SHA-256 in hexadecimal.
    """

    name: str
    size: int
    sha256: str


def is_url(location: str) -> bool:
    """Tell whether a location is a URL and no path."""
    return "://" in location


def open_location(location: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    Raises:
        ValueError: No installed library knows such URLs; one line that begins with the location.
    """
    import fsspec  # deferred: most runs read and write local files

    try:
        system, path = fsspec.core.url_to_fs(location)
    except ImportError as error:
        raise ValueError(f"{location}: cannot be opened ({error}); install what it names") from error
    except ValueError as error:
        raise ValueError(f"{location}: cannot be opened ({error}); check the part before ://") from error
    return system, path


def _is_store(system: Any) -> bool:
    """Tell whether a file system is a store of objects."""
    names = system.protocol
    return not STORES.isdisjoint([names] if isinstance(names, str) else names)


def explain(error: Exception) -> str:
    """Return in a few words why a file system failed; libraries of stores raise exceptions of all kinds."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


@dataclass(frozen=True)
class Place:
    """A folder, local or at a URL. Files appear in it whole or not at all.

    Attributes:
        location: Path or URL.
    """

    location: str

    @property
    def is_local(self) -> bool:
        """True for a folder on a local disk."""
        return not is_url(self.location)

    def __str__(self) -> str:
        return self.location

    def file(self, name: str) -> str:
        """Return the path or URL of a file in the folder."""
        return str(self.path(name)) if self.is_local else f"{self.location.rstrip('/')}/{name}"

    def path(self, name: str) -> Path:
        """Return the path of a file in a local folder."""
        return Path(self.location) / name

    def child(self, name: str) -> Place:
        """Return a folder in the folder; `make` makes it."""
        return Place(self.file(name))

    def make(self) -> list[Path]:
        """Make the folder if it is missing, and check that it can be written to.

        Returns:
            Folders that were made on a local disk, the folder itself first.

        Raises:
            OSError: It cannot.
            ValueError: No installed library knows such URLs; one line that begins with the location.
        """
        if self.is_local:
            folder = Path(self.location)
            made = make_folders(folder)
            # Not by the tempfile module: some disks have files and no links.
            probe = folder / f".fastgs-{os.getpid()}"
            try:
                probe.touch()
            finally:
                probe.unlink(missing_ok=True)
            return made
        system, path = self._store
        try:
            # A store of objects has no folders, and might make a bucket of a name that is misspelt.
            if not _is_store(system):
                system.makedirs(path, exist_ok=True)
            trial = f"{path}/.fastgs-{os.getpid()}"
            system.pipe_file(trial, b"")
            system.rm_file(trial)
        except FileNotFoundError as error:
            raise OSError(None, "no such bucket or folder; make it first, or check the name") from error
        except Exception as error:
            raise OSError(None, explain(error)) from error
        return []

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: It cannot be read.
        """
        if self.is_local:
            return self.path(name).read_bytes()
        system, path = self._store
        try:
            data: bytes = system.cat_file(f"{path}/{name}")
        except FileNotFoundError:
            raise
        except Exception as error:
            raise OSError(None, explain(error)) from error
        return data

    def write(self, name: str, data: bytes, stage: str = "") -> None:
        """Write a file, whole or not at all.

        Args:
            name: Name of the file.
            data: Its content.
            stage: Folder on the same disk, if the place is local, where it is made; by default this one, in which a
                process that is killed then may leave a part of it.

        Raises:
            OSError: The folder is not writable, or the disk is full.
        """
        if self.is_local and stage:
            temporary = Path(stage) / name
            temporary.write_bytes(data)
            os.replace(temporary, self.path(name))
            return
        if self.is_local:
            with atomic_write(self.path(name)) as temporary:
                temporary.write_bytes(data)
            return
        system, path = self._store
        try:
            if _is_store(system):
                system.pipe_file(f"{path}/{name}", data)
            else:
                system.pipe_file(f"{path}/.{name}.part", data)
                system.mv(f"{path}/.{name}.part", f"{path}/{name}")
        except Exception as error:
            raise OSError(None, explain(error)) from error

    def put(self, files: Iterable[Path]) -> list[Written]:
        """Move local files into the folder, all of them or none.

        Args:
            files: Files of one folder on the same disk, if the place is local; they keep their names.

        Raises:
            OSError: The folder is not writable, or the disk is full; what was moved is removed again.
        """
        written: list[Written] = []
        try:
            for file in files:
                data = file.read_bytes()
                if self.is_local:
                    os.replace(file, self.path(file.name))
                else:
                    self.write(file.name, data)
                written.append(Written(file.name, len(data), hashlib.sha256(data).hexdigest()))
        except OSError:
            for name, *_ in written:
                self.remove(name)
            raise
        return written

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.is_local:
            self.path(name).unlink(missing_ok=True)
            return
        system, path = self._store
        if system.exists(f"{path}/{name}"):
            system.rm_file(f"{path}/{name}")

    def names(self, pattern: str) -> list[str]:
        """Return the names of the files that match a pattern such as "jobs*.jsonl", sorted."""
        if self.is_local:
            folder = Path(self.location)
            found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        else:
            system, path = self._store
            try:
                found = [each.rstrip("/").rpartition("/")[2] for each in system.ls(path, detail=False, refresh=True)]
            except (FileNotFoundError, NotADirectoryError):
                found = []
        return sorted(name for name in found if fnmatch(name, pattern))

    def holds(self, written: Written) -> bool:
        """Tell whether a file is there with the content that it was written with."""
        try:
            if self.is_local and self.path(written.name).stat().st_size != written.size:
                return False
            data = self.read(written.name)
        except OSError:
            return False
        return len(data) == written.size and hashlib.sha256(data).hexdigest() == written.sha256

    @cached_property
    def _store(self) -> tuple[Any, str]:
        """File system of the URL, and the path in it."""
        system, path = open_location(self.location)
        return system, path.rstrip("/")

    def __getstate__(self) -> dict[str, str]:
        return {"location": self.location}  # connections stay in their process
