"""Downloads of files from the web, which arrive whole and verified or not at all."""

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

_CHUNK = 2**20  # bytes that are read at once
_MAX_FAILURES = 4  # consecutive failures, with nothing received in between, that end a download
_TIMEOUT = 30.0  # seconds without a byte after which a connection counts as dropped

# Callback that is told the action in progress ("downloading"), and the bytes that are done and that there are in total.
Progress = Callable[[str, int, int], None]


def ignore_progress(action: str, done: int, total: int) -> None:
    """Do nothing; the default callback of downloads."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that is the same on all its mirrors.

    Attributes:
        name: Name of the file.
        sha256: SHA-256 of the file in hexadecimal.
        size: Size in bytes; None if only the server tells it.
    """

    name: str
    sha256: str
    size: int | None = None


class DownloadError(RuntimeError):
    """A failed download; the message is one line that begins with the URL or file and says what to do."""


class _DroppedError(Exception):
    """A failure that may be temporary: no connection, a broken connection, or a busy server."""


class _NoSuchRangeError(DownloadError):
    """A refusal by the server because it has no bytes beyond those that were received."""


def fetch(file: RemoteFile, folder: Path, url: str, progress: Progress, wait: float = 1.0, room: int = 0) -> Path:
    """Receive and verify a file, or only verify it if it exists already.

    If the download breaks off for any reason, the bytes received so far stay in NAME.part, and the next call continues
    there.

    Args:
        file: File to fetch.
        folder: Existing folder to write the file to.
        url: Address (http or https) of the folder that has the file.
        progress: Callback, called often.
        wait: Seconds before the first retry; doubled for each further one.
        room: Bytes that must stay free on the disk after the download; checked if the size of the file is known.

    Returns:
        The path folder/NAME.

    Raises:
        DownloadError: The file cannot be fetched, has the wrong size or checksum, or does not fit on the disk.
        OSError: The folder is not writable, or the disk is full.
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


def _file_size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def _receive(file: RemoteFile, url: str, part: Path, progress: Progress, wait: float, room: int) -> None:
    """Receive the missing bytes of a file, over as many connections as needed."""
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url}: is not a web address; give --url as http://... or https://...")
    received = _file_size(part)
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
        before, received = received, _file_size(part)
        failures = 0 if received > before else failures + 1
        if not whole:
            if failures >= _MAX_FAILURES:
                raise DownloadError(
                    f"{url}: cannot be fetched ({reason}); try again later to continue, or another --url"
                )
            time.sleep(wait * 2 ** max(failures - 1, 0))


def _continue(file: RemoteFile, url: str, part: Path, progress: Progress) -> bool:
    """Append the bytes of one connection, or begin again if the server can only send the whole file.

    Returns:
        True if the file is complete.

    Raises:
        DownloadError: The server refuses, or offers another file.
        _DroppedError: The connection failed in a way that may be temporary.
    """
    offset = _file_size(part)
    headers = {"User-Agent": "fastgs"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = _connect(url, headers)
    except _NoSuchRangeError as error:
        if file.size is not None:
            raise
        part.unlink()  # it is all of the file, or no part of it: only the checksum could tell
        raise _DroppedError(str(error)) from error
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            offset = 0
        size = _check_offer(file, url, response, offset)
        with part.open("ab" if offset else "wb") as out:
            while chunk := _read(response, _CHUNK if size is None else min(_CHUNK, size - offset)):
                out.write(chunk)
                offset += len(chunk)
                progress("downloading", offset, size or offset)
    return size is None or offset == size


def _connect(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Open a connection.

    Raises:
        DownloadError: The server refuses.
        _DroppedError: The server is busy or cannot be reached.
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
        raise DownloadError(f"{url}: is not a web address ({error}); check --url") from error
    except (OSError, http.client.HTTPException) as error:
        raise _DroppedError(str(error) or type(error).__name__) from error


def _read(response: http.client.HTTPResponse, size: int) -> bytes:
    """Return at most `size` of the next bytes; none at the end.

    Raises:
        _DroppedError: The connection broke.
    """
    try:
        return response.read1(size)
    except (OSError, http.client.HTTPException) as error:
        raise _DroppedError(str(error) or type(error).__name__) from error


def _check_offer(file: RemoteFile, url: str, response: http.client.HTTPResponse, offset: int) -> int | None:
    """Check that a response belongs to a file, and return the size of the file in bytes if it is known.

    Args:
        file: Expected file.
        url: Address of the file, for messages.
        response: Response of the server, not yet read.
        offset: Position in the file at which the response has to begin.

    Raises:
        DownloadError: The response is another file, such as a page with an apology, or another part of this file.
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
    """Check that a number of bytes fits on the disk of a folder.

    Raises:
        DownloadError: The disk has too little room.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(f"{folder}: needs {needed / 1e9:.1f} GB but has {free / 1e9:.1f} GB free; make room")


def _verify(file: RemoteFile, path: Path, progress: Progress) -> bool:
    """Return True if a file on the disk has the right checksum."""
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress("checking", done, size)
    return digest.hexdigest() == file.sha256
