"""Sources of a dataset: image files, folders and CIFAR-10; and the windows that are cut from each."""

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
from typing_extensions import override

from fastgs.io.compositing import resize_and_crop
from fastgs.io.images import SUFFIXES, ImageError, ImageSource, find_images, load_image
from fastgs.io.picture import read_picture
from fastgs.splats.channels import COLORS, Channels

# Weights of red, green and blue in gray: those of ITU-R BT.601, which Pillow and JPEG use.
LUMA = (0.299, 0.587, 0.114)

# Name of the folder in which torchvision keeps CIFAR-10; its parent is recognized by it.
CIFAR10 = "cifar-10-batches-py"


@dataclass(frozen=True)
class Source:
    """An image that is not yet read.

    Attributes:
        name: File relative to the folder in which it was found, or another unique name.
        path: Path of the file, or of the folder of its dataset.
        label: Name of the class; None without classes.
        split: Split to which the dataset assigns the image, if it has a test set of its own.
    """

    name: str
    path: Path
    label: str | None = None
    split: Literal["train", "test"] | None = None

    def read(self, channels: Channels = "rgb") -> Tensor:
        """Read the image as (C, H, W) float32 in [0, 1], see `load_channels`.

        Args:
            channels: Channels to read.

        Raises:
            ImageError: The file cannot be read; the message is the reason alone.
        """
        try:
            return load_channels(self._content(), channels)
        except ImageError as error:
            raise ImageError(str(error).removeprefix(f"{self.path}: ")) from error

    def sha256(self) -> str:
        """Return the SHA-256 of the file in hexadecimal; empty if the file cannot be read."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError:
            return ""

    def _content(self) -> ImageSource:
        """Return what the image is read from."""
        return self.path


@dataclass(frozen=True)
class Cifar10Source(Source):
    """An image of CIFAR-10, whose files hold thousands of images each.

    Attributes:
        number: Position of the image in its split.
    """

    number: int = 0

    @override
    def sha256(self) -> str:
        # The hash of the pixels alone, as a file has thousands of images.
        return hashlib.sha256(self._content().tobytes()).hexdigest()

    @override
    def _content(self) -> Any:
        return _load_cifar10(self.path, self.split == "train").data[self.number]


def load_channels(source: ImageSource, channels: Channels) -> Tensor:
    """Read an image with certain channels, whatever it has itself.

    Args:
        source: Path of a file, or another source that `fastgs.io.images.load_image` reads.
        channels: Channels to read. RGB becomes gray by the weights of BT.601, and gray becomes three equal channels.
            Without alpha, transparent pixels are composited on white; with it, opaque images have alpha 1.

    Returns:
        (C, H, W) float32 in [0, 1]; with alpha, the colours are multiplied by it.

    Raises:
        ImageError: The image cannot be read, has high dynamic range, or has other channels than colours.
    """
    if channels == "rgb":
        return load_image(source)
    names = COLORS[channels]
    keeps_alpha = names[-1] == "alpha"
    picture = read_picture(source, background=None if keeps_alpha else (255, 255, 255))
    values = picture.values[:-1] if picture.alpha else picture.values
    if picture.is_hdr:
        raise ImageError("has high dynamic range, which a dataset cannot hold; convert it to sRGB")
    if len(values) not in (1, 3) or picture.range != (0.0, 1.0):
        raise ImageError(f"has {picture.channels} channels that are not gray or RGB; convert it to PNG")
    if names[0] == "gray" and len(values) == 3:
        values = (values * values.new_tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    elif names[0] == "red":
        values = values.expand(3, -1, -1)
    if not keeps_alpha:
        return values.contiguous()
    opacity = picture.values[-1:] if picture.alpha else torch.ones_like(values[:1])
    return torch.cat([torch.minimum(values, opacity), opacity])


def find_sources(path: Path) -> Sequence[Source]:
    """Find the images at a path.

    Args:
        path: Path of an image file; of a folder of images; of a folder of folders of images, whose names are their
            labels, as for torchvision's ImageFolder; or of the folder that CIFAR-10 was downloaded to.

    Returns:
        The images in the order of their names; those of CIFAR-10 in its own order, with the test set last.

    Raises:
        ImageError: The path does not exist, a folder holds no image or cannot be listed, or CIFAR-10 is damaged.
    """
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder; check the name")
    if not path.is_dir():
        return [Source(path.name, path)]
    if (path / CIFAR10).is_dir():
        return _find_cifar10_sources(path)
    try:
        return [Source(file.name, file) for file in find_images(path)]
    except ImageError:
        folders = sorted(each for each in path.glob("*") if each.is_dir() and not each.name.startswith("."))
        found = [
            Source(file.relative_to(path).as_posix(), file, each.name) for each in folders for file in _find_below(each)
        ]
        if not found:
            raise
        return found


def _find_below(folder: Path) -> list[Path]:
    """Return the image files in a folder and in all folders below it, sorted, without hidden ones."""
    files = (each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES and not each.is_dir())
    return sorted(each for each in files if not any(part.startswith(".") for part in each.relative_to(folder).parts))


def _find_cifar10_sources(folder: Path) -> list[Cifar10Source]:
    """Return the images of CIFAR-10 in its order, with the test set last.

    Raises:
        ImageError: The files are damaged.
    """
    sources: list[Cifar10Source] = []
    for split in ("train", "test"):
        data = _load_cifar10(folder, split == "train")
        names = (data.classes[label] for label in data.targets)
        sources += [
            Cifar10Source(f"cifar10/{split}/{number}", folder, label, split, number)
            for number, label in enumerate(names)
        ]
    return sources


@lru_cache(maxsize=2)
def _load_cifar10(folder: Path, train: bool) -> Any:
    """Read the training or the test set of CIFAR-10, which torchvision checks.

    Raises:
        ImageError: The files are damaged.
    """
    from torchvision import datasets  # deferred: takes seconds

    try:
        return datasets.CIFAR10(folder, train=train)
    except RuntimeError as error:
        raise ImageError(
            f"{folder}: does not hold a whole CIFAR-10; delete {CIFAR10} there, and use `fastgs download cifar10`"
        ) from error


def listing(sources: Sequence[Source]) -> str:
    """Return the SHA-256 of names, labels and splits in hexadecimal, by which lists of sources are compared."""
    rows = [(source.name, source.label, source.split) for source in sources]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


class Window(NamedTuple):
    """An image of a dataset, cut from a source.

    Attributes:
        top: First row in the source, in pixels of the resized source if it was resized.
        left: First column in the source, likewise.
        pixels: (C, h, w) uint8.
    """

    top: int
    left: int
    pixels: Tensor


def cut_windows(
    image: Tensor, size: int | None, crops: int | None, generator: np.random.Generator, alpha: bool = False
) -> list[Window]:
    """Cut the images of a dataset from a source.

    Args:
        image: (C, H, W) in [0, 1].
        size: Side in pixels of the square that is cut: the centre of the image, after its shorter side is resized to
            this; None takes the whole image.
        crops: Number of different squares that are cut from anywhere in the image, which is then not resized; None
            cuts one from the centre.
        generator: Random generator of their places.
        alpha: True if the last channel is alpha, and the others are multiplied by it.

    Raises:
        ImageError: The image is too small for the crops; the message is the reason alone.
    """
    _, height, width = image.shape
    if size is None:
        return [Window(0, 0, _to_bytes(image))]
    if crops is None:
        # The place where resize_and_crop cuts.
        top, left = (round((size * extent // min(height, width) - size) / 2) for extent in (height, width))
        return [Window(top, left, _to_bytes(resize_and_crop(image, size, alpha)))]
    rows, columns = (max(0, extent - size + 1) for extent in (height, width))
    if rows * columns < crops:
        raise ImageError(
            f"has {height} x {width} pixels, too few for {crops} different crops of {size} x {size}; lower --size or "
            "--crops"
        )
    places = (divmod(int(place), columns) for place in generator.choice(rows * columns, crops, replace=False))
    return [Window(top, left, _to_bytes(image[:, top : top + size, left : left + size])) for top, left in places]


def _to_bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8).contiguous()
