"""What images a dataset is made of: files, those of folders, and CIFAR-10; and what is cut from each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastgs.io.images import SUFFIXES, ImageError, find_images, load_image

# A folder with this one in it is CIFAR-10, as torchvision keeps it.
CIFAR10 = "cifar-10-batches-py"


@dataclass(frozen=True)
class Source:
    """An image, not yet read.

    Attributes:
        name: the file relative to the folder it was found in, or what else says which image it is.
        path: of the file, or of the folder of its dataset.
        label: name of its class.
        split: the side that its dataset puts it on, if that has a test set of its own.
    """

    name: str
    path: Path
    label: str | None = None
    split: Literal["train", "test"] | None = None

    def read(self) -> Tensor:
        """(3, H, W) float32 in [0, 1].

        Raises:
            ImageError: the file cannot be read; the message is the reason alone.
        """
        try:
            return load_image(self.path)
        except ImageError as error:
            raise ImageError(str(error).removeprefix(f"{self.path}: ")) from error

    def sha256(self) -> str:
        """Of the file, in hexadecimal; empty if it cannot be read."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError:
            return ""


@dataclass(frozen=True)
class Cifar10Source(Source):
    """An image of CIFAR-10, whose files hold thousands each.

    Attributes:
        number: place in its split.
    """

    number: int = 0

    def read(self) -> Tensor:
        """(3, 32, 32) float32 in [0, 1]."""
        return load_image(self._pixels())

    def sha256(self) -> str:
        """Of the pixels, in hexadecimal."""
        return hashlib.sha256(self._pixels().tobytes()).hexdigest()

    def _pixels(self) -> Any:
        return _cifar10(self.path, self.split == "train").data[self.number]


def find_sources(path: Path) -> Sequence[Source]:
    """The images at a path.

    Args:
        path: an image file; a folder of images; a folder of folders of images, whose names are their labels, as
            torchvision's ImageFolder takes it; or the folder that CIFAR-10 was downloaded to.

    Returns:
        In the order of their names; CIFAR-10 in its own, with the test set last.

    Raises:
        ImageError: there is nothing; a folder holds no image or cannot be listed, or CIFAR-10 is damaged.
    """
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder; check the name")
    if not path.is_dir():
        return [Source(path.name, path)]
    if (path / CIFAR10).is_dir():
        return _cifar10_sources(path)
    try:
        return [Source(file.name, file) for file in find_images(path)]
    except ImageError:
        folders = sorted(each for each in path.glob("*") if each.is_dir() and not each.name.startswith("."))
        found = [
            Source(file.relative_to(path).as_posix(), file, each.name) for each in folders for file in _below(each)
        ]
        if not found:
            raise
        return found


def _below(folder: Path) -> list[Path]:
    """The image files in a folder and in those below it, sorted."""
    files = (each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES and not each.is_dir())
    return sorted(each for each in files if not any(part.startswith(".") for part in each.relative_to(folder).parts))


def _cifar10_sources(folder: Path) -> list[Cifar10Source]:
    sources: list[Cifar10Source] = []
    for split in ("train", "test"):
        data = _cifar10(folder, split == "train")
        names = (data.classes[label] for label in data.targets)
        sources += [
            Cifar10Source(f"cifar10/{split}/{number}", folder, label, split, number)
            for number, label in enumerate(names)
        ]
    return sources


@lru_cache(maxsize=2)
def _cifar10(folder: Path, train: bool) -> Any:
    """A half of CIFAR-10, which torchvision checks and reads."""
    from torchvision import datasets  # deferred: takes seconds

    try:
        return datasets.CIFAR10(folder, train=train)
    except RuntimeError as error:
        raise ImageError(
            f"{folder}: does not hold a whole CIFAR-10; delete {CIFAR10} there, and use `fastgs download cifar10`"
        ) from error


def listing(sources: Sequence[Source]) -> str:
    """SHA-256 of names, labels and splits, in hexadecimal: two lists of sources are one if these are."""
    rows = [(source.name, source.label, source.split) for source in sources]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


class Window(NamedTuple):
    """An image of a dataset: a part of a source, in pixels of the resized one if it was resized, as (3, h, w) uint8."""

    top: int
    left: int
    pixels: Tensor


def cut(image: Tensor, size: int | None, crops: int | None, generator: np.random.Generator) -> list[Window]:
    """What a dataset takes from a source.

    Args:
        image: (3, H, W) in [0, 1].
        size: side of the square that is taken: the centre of the image, its shorter side resized to that; None takes
            the whole image.
        crops: so many squares are cut from anywhere in the image instead, which is not resized; no two are the same.
        generator: draws their places.

    Raises:
        ImageError: the image is too small for that; the message is the reason alone.
    """
    _, height, width = image.shape
    if size is None:
        return [Window(0, 0, _bytes(image))]
    if crops is None:
        # Where load_image cuts.
        top, left = (round((size * extent // min(height, width) - size) / 2) for extent in (height, width))
        return [Window(top, left, _bytes(load_image(image, size)))]
    rows, columns = (max(0, extent - size + 1) for extent in (height, width))
    if rows * columns < crops:
        raise ImageError(
            f"has {height} x {width} pixels, too few for {crops} different crops of {size} x {size}; lower --size or "
            "--crops"
        )
    places = (divmod(int(place), columns) for place in generator.choice(rows * columns, crops, replace=False))
    return [Window(top, left, _bytes(image[:, top : top + size, left : left + size])) for top, left in places]


def _bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8).contiguous()
