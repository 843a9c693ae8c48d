"""Descriptions of datasets of images that `fastgs download` fetches and other commands read by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastgs.data.fetch import Progress

# Folder that datasets are downloaded to by default, relative to the working directory.
DATA_FOLDER = Path("data")


class Download(Protocol):
    """Function that downloads one part of a dataset."""

    def __call__(self, folder: Path, url: str = ..., keep_archive: bool = ..., progress: Progress = ...) -> Path:
        """Fetch and verify the images; do nothing if they are there already.

        Args:
            folder: Folder that the folder of images is written to; made if it does not exist.
            url: Address (http or https) of a mirror of the files; the official address by default.
            keep_archive: Keep an archive once its images are extracted.
            progress: Callback that is told the action and the bytes done and in total.

        Returns:
            Path of the folder of images, `folder` / name of the part.

        Raises:
            DownloadError: The files cannot be fetched or are damaged, or the disk has too little room.
            OSError: The folder is not writable, or the disk is full.
        """
        ...


@dataclass(frozen=True)
class Part:
    """Part of a dataset that is downloaded as a whole, into a folder of its own.

    Attributes:
        name: Name of the folder of images.
        count: Number of images.
        download: Function that downloads the part.
    """

    name: str
    count: int
    download: Download


@dataclass(frozen=True)
class Dataset:
    """Dataset of images that can be downloaded.

    Attributes:
        summary: What it is for and how large, in a few words, for the help of `fastgs download`.
        license: Terms of use, one line that is shown before every download.
        parts: Parts by the value of `--split` that chooses them; a dataset without splits has one part, "all".
        default: Key in `parts` of the part that the name of the dataset stands for where images are read.
        image_files: True if that part is a folder of image files, which `fastgs evaluate` can measure on.
    """

    summary: str
    license: str
    parts: Mapping[str, Part]
    default: str = "all"
    image_files: bool = True

    @property
    def folder(self) -> Path:
        """Folder that the name of the dataset stands for, once it is downloaded to the default place."""
        return DATA_FOLDER / self.parts[self.default].name
