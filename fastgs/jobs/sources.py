"""Images of a job: files, folders, patterns, lists, tar archives (WebDataset), and URLs of them."""

from __future__ import annotations

import glob
import hashlib
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fastgs.io.finding import PICTURE_SUFFIXES, find_images
from fastgs.io.pixels import ImageError, ImageWarning
from fastgs.io.places import explain, is_url, open_location

TAR = ".tar"
_TAKEN = PICTURE_SUFFIXES | {TAR}


@dataclass(frozen=True)
class Source:
    """An image: a file, a member of a tar archive, or either at a URL.

    Attributes:
        location: Path or URL of the file or archive.
        member: Name in the archive; empty for a file.
        offset: Place of the member's first byte in the archive.
        size: Number of the member's bytes.
    """

    location: str
    member: str = ""
    offset: int = 0
    size: int = 0

    def __str__(self) -> str:
        return f"{self.location}/{self.member}" if self.member else self.location

    @cached_property
    def name(self) -> str:
        """Last part of the name."""
        return PurePosixPath(self.member or self.location).name if self.is_remote else Path(self.location).name

    @cached_property
    def stem(self) -> str:
        """Last part of the name without the suffix, after which outputs are named."""
        return PurePosixPath(self.name).stem

    @property
    def is_remote(self) -> bool:
        """True if the image is no local file of its own."""
        return bool(self.member) or is_url(self.location)

    def read_bytes(self) -> bytes:
        """Return the content of the file.

        Raises:
            ImageError: It cannot be read; the message is one line that begins with the name.
        """
        if "_content" in self.__dict__:
            return self._content
        try:
            data = _read(self.location, self.offset, self.offset + self.size if self.member else None)
        except FileNotFoundError as error:
            raise ImageError(f"{self}: no such file; check the name") from error
        except ImageError:
            raise
        except Exception as error:  # the libraries of stores raise exceptions of all kinds
            raise ImageError(f"{self}: cannot be read ({explain(error)}); check the path") from error
        if self.member and len(data) != self.size:
            raise ImageError(f"{self}: is cut short, {len(data)} of {self.size} bytes; get a whole copy of the archive")
        return data

    def sha256(self, keep: bool = False) -> str | None:
        """Return the SHA-256 of the content in hexadecimal; None if it cannot be read, which reading will explain.

        Args:
            keep: True to keep the content until `forget`, unless it is a local file, so that it is transferred once.
        """
        try:
            return hashlib.sha256(self._content if keep and self.is_remote else self.read_bytes()).hexdigest()
        except ImageError:
            return None

    def forget(self) -> None:
        """Free the content, if it is kept."""
        self.__dict__.pop("_content", None)

    @cached_property
    def _content(self) -> bytes:
        return self.read_bytes()

    @contextmanager
    def local(self) -> Iterator[Path]:
        """Yield a path of the file on this machine, a temporary one unless it is a local file.

        Raises:
            ImageError: It cannot be read; also what the block raises of that kind, with the name of this source.
        """
        if not self.is_remote:
            yield Path(self.location)
            return
        with tempfile.TemporaryDirectory(prefix="fastgs-") as folder:
            path = Path(folder) / self.name
            path.write_bytes(self.read_bytes())
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", ImageWarning)
                    yield path
            except ImageError as error:
                raise ImageError(str(error).replace(str(path), str(self))) from error
            for each in caught:
                text = str(each.message).replace(str(path), str(self))
                warnings.warn_explicit(text, each.category, each.filename, each.lineno)


def holds_many(given: str) -> bool:
    """Tell whether a path, URL or pattern may stand for more than one image."""
    if is_url(given):
        system, folder = open_location(given)
        return given.endswith(TAR) or glob.has_magic(given) or bool(system.isdir(folder))
    path = Path(given)
    return path.is_dir() or path.suffix.lower() == TAR or (glob.has_magic(given) and not path.exists())


def find_sources(given: str) -> list[Source]:
    """Return the images that a path, URL or pattern stands for.

    A folder gives the images directly in it, sorted by name. A tar archive gives those in it, in its order, without
    being unpacked. A pattern such as "photos/**/*.png" gives the files that match it, sorted, archives among them. Any
    other path is kept as it is, even one that does not exist, since the other images are still to be read.

    Raises:
        ImageError: There is no image, or a folder or an archive cannot be read.
    """
    if is_url(given):
        return _find_remote(given)
    path = Path(given)
    if glob.has_magic(given) and not path.exists():
        matches = [Path(each) for each in sorted(glob.glob(given, recursive=True))]
        matches = [each for each in matches if each.suffix.lower() in _TAKEN and each.is_file()]
        if not matches:
            raise ImageError(f"{given}: no image matches this pattern; expected files that end in {_list(_TAKEN)}")
        return [source for each in matches for source in find_sources(str(each))]
    if path.suffix.lower() == TAR and path.is_file():
        return _list_archive(str(path))
    return [Source(str(each)) for each in find_images(path, PICTURE_SUFFIXES)]


def read_list(name: str) -> list[str]:
    """Return the lines of a file, or of standard input for "-", without empty ones.

    Raises:
        ImageError: The file cannot be read, or names nothing.
    """
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror}); check the path") from error
    # File names need not be text, and come back from these characters as they were.
    lines = [line.rstrip("\r") for line in data.decode("utf-8", "surrogateescape").split("\n")]
    if not any(lines):
        raise ImageError(f"{name}: names no image; expected one path per line")
    return [line for line in lines if line]


def _find_remote(given: str) -> list[Source]:
    """Return the images that a URL stands for."""
    system, path = open_location(given)
    try:
        if glob.has_magic(given):
            found = sorted(system.glob(path))
        elif not given.lower().endswith(TAR) and system.isdir(path):
            found = sorted(system.ls(path, detail=False))
        elif given.endswith("/"):
            raise ImageError(f"{given}: no such bucket or folder; check the name")
        else:
            return _list_archive(given) if given.lower().endswith(TAR) else [Source(given)]
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{given}: no such bucket or folder; check the name") from error
    except Exception as error:
        raise ImageError(f"{given}: cannot be listed ({explain(error)}); check the name and your access") from error
    taken = _TAKEN if glob.has_magic(given) else PICTURE_SUFFIXES
    found = [each for each in found if PurePosixPath(each).suffix.lower() in taken and not _is_hidden(each)]
    if not found:
        raise ImageError(f"{given}: holds no image; expected files that end in {_list(taken)}")
    urls = [str(system.unstrip_protocol(each)) for each in found]
    return [each for url in urls for each in (_list_archive(url) if url.lower().endswith(TAR) else [Source(url)])]


def _list_archive(location: str) -> list[Source]:
    """Return the images in a tar archive, in its order."""
    found = []
    try:
        with _open(location) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                suffix = PurePosixPath(member.name).suffix.lower()
                if member.isreg() and suffix in PICTURE_SUFFIXES and not _is_hidden(member.name):
                    found.append(Source(location, member.name, member.offset_data, member.size))
    except tarfile.TarError as error:
        raise ImageError(
            f"{location}: is no whole tar archive ({error}); get a whole copy, or unpack a packed one"
        ) from (error)
    except FileNotFoundError as error:
        raise ImageError(f"{location}: no such file; check the name") from error
    except Exception as error:
        raise ImageError(f"{location}: cannot be read ({explain(error)}); check the path") from error
    if not found:
        raise ImageError(f"{location}: holds no image; expected files that end in {_list(PICTURE_SUFFIXES)}")
    return found


def _open(location: str) -> IO[Any]:
    """Open a file or URL for reading."""
    if not is_url(location):
        return open(location, "rb")
    system, path = open_location(location)
    file: IO[Any] = system.open(path, "rb")
    return file


def _read(location: str, start: int, stop: int | None) -> bytes:
    """Return bytes of a file or URL; to its end if there is no stop."""
    if is_url(location):
        system, path = open_location(location)
        data: bytes = system.cat_file(path, start=start or None, end=stop)  # in one request
        return data
    with open(location, "rb") as file:
        file.seek(start)
        return file.read() if stop is None else file.read(stop - start)


def _is_hidden(name: str) -> bool:
    return PurePosixPath(name).name.startswith(".")


def _list(suffixes: frozenset[str]) -> str:
    return ", ".join(sorted(suffixes))
