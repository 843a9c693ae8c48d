"""The DIV2K photos: 800 for training and 100 for validation, about 2 megapixels each.

From "NTIRE 2017 Challenge on Single Image Super-Resolution: Dataset and Study" (Agustsson and Timofte, CVPRW 2017).
The photos may be used for academic research only.
"""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from fastgs.data.dataset import Dataset, Part
from fastgs.data.fetch import DownloadError as DownloadError
from fastgs.data.fetch import Progress, RemoteFile, fetch, ignore_progress

URL = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
LICENSE = f"DIV2K is for academic research only; see {URL}"


@dataclass(frozen=True)
class Archive:
    """A zip file of one folder of images.

    Attributes:
        name: Name of the folder; the file is NAME.zip.
        size: Size of the file in bytes.
        sha256: SHA-256 of the file in hexadecimal.
        count: Number of images.
    """

    name: str
    size: int
    sha256: str
    count: int


# Sizes and checksums are those that TensorFlow Datasets checks its downloads with (url_checksums/div2k.txt).
ARCHIVES = {
    "train": Archive(
        "DIV2K_train_HR", 3_530_603_713, "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335", 800
    ),
    "valid": Archive(
        "DIV2K_valid_HR", 448_993_893, "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc", 100
    ),
}


def download(
    archive: Archive,
    folder: str | Path,
    url: str = URL,
    keep_archive: bool = False,
    progress: Progress = ignore_progress,
    wait: float = 1.0,
) -> Path:
    """Fetch, verify and extract an archive; each step is done completely or not at all.

    If the download breaks off for any reason, the bytes received so far stay in NAME.zip.part, and the next call
    continues there. If the images exist already, nothing is done and no connection is made.

    Args:
        archive: One of `ARCHIVES`.
        folder: Folder to write the folder of images to; made if it does not exist.
        url: Address (http or https) of the folder that has the archive, official or of a mirror.
        keep_archive: True keeps NAME.zip after its images are extracted.
        progress: Callback, called often.
        wait: Seconds before the first retry; doubled for each further one.

    Returns:
        The path folder/NAME of the folder of images.

    Raises:
        DownloadError: The archive cannot be fetched, is not the official one, or does not fit on the disk.
        OSError: The folder is not writable, or the disk is full.
    """
    target = Path(folder) / archive.name
    if target.is_dir():
        found = sum(path.suffix == ".png" for path in target.iterdir())
        if found != archive.count:
            raise DownloadError(f"{target}: holds {found} of {archive.count} images; move or delete it, and try again")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    file = RemoteFile(f"{archive.name}.zip", archive.sha256, archive.size)
    # PNG files do not shrink in a zip: the extracted photos need as much room as the archive.
    path = fetch(file, target.parent, url, progress, wait, room=archive.size)
    _extract(archive, path, target, progress)
    if not keep_archive:
        path.unlink()
    return target


def _extract(archive: Archive, path: Path, target: Path, progress: Progress) -> None:
    """Extract an archive into a temporary folder beside the target, and rename it once all images are extracted.

    Raises:
        DownloadError: The archive is damaged, or holds other entries than the expected images.
    """
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
    """Check that an entry is a file in the archive's own folder: no link, and no path that leads elsewhere.

    Raises:
        DownloadError: The entry is another.
    """
    parts = PurePosixPath(entry.filename).parts
    inside = parts[:1] == (archive.name,) and ".." not in parts and "\\" not in entry.filename
    if not inside or stat.S_ISLNK(entry.external_attr >> 16):
        raise DownloadError(
            f"{path}: has an entry outside of {archive.name} ({entry.filename!r}); do not use this file"
        )


def describe(archives: Mapping[str, Archive] = ARCHIVES) -> Dataset:
    """Return the description of the dataset, with a part for each archive."""
    return Dataset(
        summary="photos of 2 megapixels: 800 to train on, 3.5 GB, and 100 for validation, 0.4 GB; for academic "
        "research only",
        license=LICENSE,
        parts={
            split: Part(archive.name, archive.count, partial(download, archive)) for split, archive in archives.items()
        },
        default="valid",
    )


DATASET = describe()
