"""Files from the web: whole and verified, or not there."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 2**20  # bytes read at once
_RETRIES = 4  # failures in a row, with nothing received in between, that end a download
_TIMEOUT = 30.0  # seconds without a byte until a connection counts as dropped

# Told what is being done, how much of it is done and how much there is, in bytes.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file that is the same wherever it comes from.

    Attributes:
        name: of the file.
        sha256: in hexadecimal.
        size: in bytes; None if that is for the server to say.
    """

    name: str
    sha256: str
    size: int | None = None


class DownloadError(RuntimeError):
    """A download that failed; one line that begins with the URL or file and says what to do."""


class _DroppedError(Exception):
    """A failure that may pass: a connection that was not made or broke, or a server that is busy."""


class _NoSuchRangeError(DownloadError):
    """There is nothing beyond what was received."""


def fetch(file: RemoteFile, folder: Path, url: str, progress: Progress, wait: float = 1.0, room: int = 0) -> Path:
    """Receive and verify a file, or only verify it where it is there already.

    What was received stays in NAME.part if the download breaks off for any reason, and the next call continues there.

    Args:
        file: what to fetch.
        folder: where it is to lie; exists.
        url: http(s) address of the folder that has it.
        progress: called often.
        wait: seconds before the first retry; doubled for each that follows.
        room: how many bytes must be left on the disk beyond it; heeded if its size is known.

    Returns:
        folder/NAME.

    Raises:
        DownloadError: it cannot be fetched, is not what it should be, or does not fit on the disk.
        OSError: the folder is not writable, or the disk is full.
    """
    path = folder / file.name
    if path.exists():
        if not _verify(file, path, progress):
            raise DownloadError(f"{path}: is not the official file (wrong checksum); delete it, and try again")
        return path
    part = path.with_name(f"{path.name}.part")
    _receive(file, f"{url.rstrip('/')}/{file.name}", part, progress, wait, room)
    if not _verify(file, part, progress):
        part.unlink()
        raise DownloadError(f"{part}: did not have the right checksum and was removed; try again, or another --url")
    os.replace(part, path)
    return path


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(file: RemoteFile, url: str, part: Path, progress: Progress, wait: float, room: int) -> None:
    """Receive what is missing of a file, in as many connections as that takes."""
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url}: is no address; give --url as http://... or https://...")
    received = _length(part)
    if file.size is not None:
        if received > file.size:
            part.unlink()
            received = 0
        _check_space(part.parent, file.size - received + room)
    failures, whole = 0, received == file.size
    while not whole:
        reason = "the connection was closed"
        try:
            whole = _continue(file, url, part, progress)
        except _DroppedError as error:
            reason = str(error)
        before, received = received, _length(part)
        failures = 0 if received > before else failures + 1
        if not whole:
            if failures >= _RETRIES:
                raise DownloadError(
                    f"{url}: cannot be fetched ({reason}); try again later to continue, or another --url"
                )
            time.sleep(wait * 2 ** max(failures - 1, 0))


def _continue(file: RemoteFile, url: str, part: Path, progress: Progress) -> bool:
    """Append what one connection gives, or begin again if the server can only send all of it; whether it is whole."""
    offset = _length(part)
    headers = {"User-Agent": "fastgs"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = _connect(url, headers)
    except _NoSuchRangeError as error:
        if file.size is not None:
            raise
        part.unlink()  # is no part of this file, or all of it, which only its checksum could tell
        raise _DroppedError(str(error)) from error
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            offset = 0
        size = _offered(file, url, response, offset)
        with part.open("ab" if offset else "wb") as out:
            while chunk := _read(response, _CHUNK if size is None else min(_CHUNK, size - offset)):
                out.write(chunk)
                offset += len(chunk)
                progress("downloading", offset, size or offset)
    return size is None or offset == size


def _connect(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Open a connection.

    Raises:
        DownloadError: the server refuses.
        _DroppedError: it is busy or cannot be reached.
    """
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT
        )
        return response
    except urllib.error.HTTPError as error:
        reason = f"HTTP {error.code} {error.reason}"
        error.close()
        if error.code >= 500 or error.code in (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS):
            raise _DroppedError(reason) from error
        kind = _NoSuchRangeError if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE else DownloadError
        raise kind(f"{url}: the server refuses it ({reason}); try another --url") from error
    except urllib.error.URLError as error:
        raise _DroppedError(getattr(error.reason, "strerror", None) or str(error.reason)) from error
    except (ValueError, http.client.InvalidURL) as error:
        raise DownloadError(f"{url}: is no address ({error}); check --url") from error
    except (OSError, http.client.HTTPException) as error:
        raise _DroppedError(str(error) or type(error).__name__) from error


def _read(response: http.client.HTTPResponse, size: int) -> bytes:
    """Some of the bytes that are to come; none at the end."""
    try:
        return response.read1(size)
    except (OSError, http.client.HTTPException) as error:
        raise _DroppedError(str(error) or type(error).__name__) from error


def _offered(file: RemoteFile, url: str, response: http.client.HTTPResponse, offset: int) -> int | None:
    """Size of the file that a response belongs to, if known.

    Raises:
        DownloadError: it is another file, a page that says sorry for instance, or another part of it.
    """
    size = None
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        size = int(part[3]) if part and part[3] != "*" else None
        if part is None or int(part[1]) != offset or (size is not None and int(part[2]) >= size):
            raise DownloadError(f"{url}: the server sends another range than it was asked for; try another --url")
    if size is None:
        size = file.size if response.length is None else offset + response.length
    if file.size is not None and size != file.size:
        raise DownloadError(f"{url}: the server offers {size:,} bytes instead of {file.size:,}; try another --url")
    return size


def _check_space(folder: Path, needed: int) -> None:
    """Say so early if it will not fit."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(f"{folder}: needs {needed / 1e9:.1f} GB but has {free / 1e9:.1f} GB free; make room")


def _verify(file: RemoteFile, path: Path, progress: Progress) -> bool:
    """Whether a file on the disk has the right checksum."""
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress("checking", done, size)
    return digest.hexdigest() == file.sha256
