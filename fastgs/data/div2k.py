"""The DIV2K photos: 800 for training and 100 for validation, about 2 megapixels each.

From "NTIRE 2017 Challenge on Single Image Super-Resolution: Dataset and Study" (Agustsson and Timofte, CVPRW 2017).
They may be used for academic research only.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import stat
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

URL = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
LICENSE = f"DIV2K is for academic research only; see {URL}"

_CHUNK = 2**20  # bytes read at once
_RETRIES = 4  # failures in a row, with nothing received in between, that end a download
_TIMEOUT = 30.0  # seconds without a byte until a connection counts as dropped

# Told what is being done, how much of it is done and how much there is, in bytes.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Archive:
    """A zip file of one folder of images.

    Attributes:
        name: of the folder; the file is NAME.zip.
        size: of the file in bytes.
        sha256: of the file, in hexadecimal.
        count: number of images.
    """

    name: str
    size: int
    sha256: str
    count: int


# Sizes and checksums are those that TensorFlow Datasets holds its downloads to (url_checksums/div2k.txt).
ARCHIVES = {
    "train": Archive(
        "DIV2K_train_HR", 3_530_603_713, "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335", 800
    ),
    "valid": Archive(
        "DIV2K_valid_HR", 448_993_893, "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc", 100
    ),
}


class DownloadError(RuntimeError):
    """A download that failed; one line that begins with the URL or file and says what to do."""


class _DroppedError(Exception):
    """A failure that may pass: a connection that was not made or broke, or a server that is busy."""


def download(
    archive: Archive,
    folder: str | Path,
    url: str = URL,
    keep_archive: bool = False,
    progress: Progress = lambda action, done, total: None,
    wait: float = 1.0,
) -> Path:
    """Fetch, verify and extract an archive, each step whole or not at all.

    What was received stays in NAME.zip.part if the download breaks off for any reason, and the next call continues
    there. If the images are there already nothing is done, and no connection is made.

    Args:
        archive: one of `ARCHIVES`.
        folder: where the folder of images is to lie; made if it does not exist.
        url: http(s) address of the folder that has the archive, of a mirror for instance.
        keep_archive: do not delete NAME.zip at the end.
        progress: called often.
        wait: seconds before the first retry; doubled for each that follows.

    Returns:
        folder/NAME, which holds the images.

    Raises:
        DownloadError: the archive cannot be fetched, is not what it should be, or does not fit on the disk.
        OSError: the folder is not writable, or the disk is full.
    """
    target = Path(folder) / archive.name
    if target.is_dir():
        found = sum(path.suffix == ".png" for path in target.iterdir())
        if found != archive.count:
            raise DownloadError(f"{target}: holds {found} of {archive.count} images; move or delete it, and try again")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.parent / f"{archive.name}.zip"
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        _fetch(archive, f"{url.rstrip('/')}/{path.name}", part, progress, wait)
        if not _verify(archive, part, progress):
            part.unlink()
            raise DownloadError(f"{part}: did not have the right checksum and was removed; try again, or another --url")
        os.replace(part, path)
    elif not _verify(archive, path, progress):
        raise DownloadError(f"{path}: is not the official archive (wrong checksum); delete it, and try again")
    _extract(archive, path, target, progress)
    if not keep_archive:
        path.unlink()
    return target


def _fetch(archive: Archive, url: str, part: Path, progress: Progress, wait: float) -> None:
    """Receive what is missing of a file, in as many connections as that takes."""
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url}: is no address; give --url as http://... or https://...")
    received = part.stat().st_size if part.exists() else 0
    if received > archive.size:
        part.unlink()
        received = 0
    _check_space(archive, part.parent, received)
    failures = 0
    while received < archive.size:
        try:
            _receive(archive, url, part, progress)
            reason = "the connection was closed"
        except _DroppedError as error:
            reason = str(error)
        before, received = received, part.stat().st_size if part.exists() else 0
        failures = 0 if received > before else failures + 1
        if failures >= _RETRIES:
            raise DownloadError(f"{url}: cannot be fetched ({reason}); try again later to continue, or another --url")
        if received < archive.size:
            time.sleep(wait * 2 ** max(failures - 1, 0))


def _receive(archive: Archive, url: str, part: Path, progress: Progress) -> None:
    """Append to the file what one connection gives, or begin again if the server can only send all of it."""
    offset = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "fastgs"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with _connect(url, headers) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            offset = 0
        _check_offer(archive, url, response, offset)
        with part.open("ab" if offset else "wb") as file:
            while offset < archive.size:
                chunk = _read(response, min(_CHUNK, archive.size - offset))
                if not chunk:
                    return
                file.write(chunk)
                offset += len(chunk)
                progress("downloading", offset, archive.size)


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
        raise DownloadError(f"{url}: the server refuses it ({reason}); try another --url") from error
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


def _check_offer(archive: Archive, url: str, response: http.client.HTTPResponse, offset: int) -> None:
    """Refuse a page that says sorry, or another file, before it takes the place of the archive."""
    length = response.headers.get("Content-Length")
    if length is not None and offset + int(length) != archive.size:
        raise DownloadError(
            f"{url}: the server offers {offset + int(length):,} bytes instead of {archive.size:,}; try another --url"
        )
    if offset and not re.match(rf"bytes {offset}-", response.headers.get("Content-Range", "")):
        raise DownloadError(f"{url}: the server sends another range than it was asked for; try another --url")


def _check_space(archive: Archive, folder: Path, received: int) -> None:
    """Say so early if archive and images will not fit; compressed once, photos do not shrink again in the zip."""
    needed, free = 2 * archive.size - received, shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(f"{folder}: needs {needed / 1e9:.1f} GB but has {free / 1e9:.1f} GB free; make room")


def _verify(archive: Archive, path: Path, progress: Progress) -> bool:
    """Whether a file has the checksum of the archive."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress("checking", done, archive.size)
    return digest.hexdigest() == archive.sha256


def _extract(archive: Archive, path: Path, target: Path, progress: Progress) -> None:
    """Extract beside the target, and move it there once all images are out."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fastgs-") as temporary:
        try:
            with zipfile.ZipFile(path) as content:
                entries = content.infolist()
                for entry in entries:
                    _check_entry(archive, path, entry)
                total, done = sum(entry.file_size for entry in entries), 0
                for entry in entries:
                    content.extract(entry, temporary)
                    done += entry.file_size
                    progress("extracting", done, total)
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise DownloadError(f"{path}: is damaged ({error}); delete it, and try again") from error
        images = Path(temporary) / archive.name
        found = sum(entry.suffix == ".png" for entry in images.iterdir()) if images.is_dir() else 0
        if found != archive.count:
            raise DownloadError(f"{path}: holds {found} images instead of {archive.count}; try another --url")
        os.replace(images, target)


def _check_entry(archive: Archive, path: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse whatever is not a file in the archive's own folder: links, and names that lead elsewhere."""
    parts = PurePosixPath(entry.filename).parts
    inside = parts[:1] == (archive.name,) and ".." not in parts and "\\" not in entry.filename
    if not inside or stat.S_ISLNK(entry.external_attr >> 16):
        raise DownloadError(
            f"{path}: has an entry outside of {archive.name} ({entry.filename!r}); do not use this file"
        )
