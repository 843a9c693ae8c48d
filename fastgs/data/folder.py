"""Folders of images as samples and batches.

What a sample is depends on three numbers alone, (seed, epoch, index): not on the number of workers or devices, nor on
where a run was resumed. A sampler deals out (epoch, index) pairs, and the dataset draws crop and flip from a generator
of its own for each pair.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fastgs.io.images import ImageError, find_images, load_image
from fastgs.io.reading import read_bytes

Folders = str | Path | Sequence[str | Path]
Pixels = NDArray[np.uint8] | Tensor

_EXIF_ORIENTATION = 0x0112

_logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """What the steps of a LightningModule are given.

    Attributes:
        images: (B, 3, H, W) float32 in [0, 1].
        indices: (B,) int64, which image of the dataset each is; `dataset.paths` has their files.
        seeds: (B,) int64 in [0, 2^63), one number per image and epoch; whatever else is random about a sample is to
            be derived from it.
    """

    images: Tensor
    indices: Tensor
    seeds: Tensor


class ImageFolder(Dataset[tuple[Tensor, int, int]]):
    """The images of folders, indexed by (epoch, index) pairs; a plain index means epoch 0.

    A sample is (image, index, seed), where image is (3, H, W) float32 in [0, 1] and the other two are as in `Batch`.
    Files are opened when their turn comes. One that cannot be read is named once (per process) in a warning of the log,
    and the next readable one in the order of `paths` takes its place, cut by the place's own crop and flip; the index
    of the sample is that of the image it really shows.

    Where a crop is larger than the image, the largest square is cut and enlarged to the crop by Lanczos. Padding by
    reflection would instead make edges along the seams that no photo has, and Gaussians would be spent on them.

    Args:
        folders: one folder or several; of each the images directly in it are taken, as by `find_images`.
        crop: side of the square that is cut out, in pixels; None keeps the whole image.
        size: if given, the shorter side of each image is first resized to this many pixels and the centre size x size
            is cut out, as by `load_image`.
        random_crop: cut anywhere in the image; else in its centre.
        flip: mirror and turn by a random one of the eight symmetries of the square. An image that is not square may
            so swap height and width.
        seed: of everything random.
        cache_megabytes: the decoded images that come first are kept, up to this many megabytes (2^20 bytes) in each
            process, so in each worker; 0 keeps none. Those that find no room are decoded anew each time: with
            shuffling, that has more hits than to throw out what was used longest ago.

    Attributes:
        paths: the image files.

    Raises:
        ImageError: a folder does not exist, holds no image or cannot be listed; or no image at all can be read (when
            a sample is asked for).
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        folders: Folders,
        crop: int | None = None,
        size: int | None = None,
        random_crop: bool = False,
        flip: bool = False,
        seed: int = 0,
        cache_megabytes: int = 512,
    ) -> None:
        for name, value, least in (("crop", crop, 1), ("size", size, 1), ("seed", seed, 0)):
            if value is not None and value < least:
                raise ValueError(f"{name}: must be at least {least}, got {value}")
        if cache_megabytes < 0:
            raise ValueError(f"cache_megabytes: must be at least 0, got {cache_megabytes}")
        if crop is not None and size is not None and crop > size:
            raise ValueError(f"crop: {crop} pixels do not fit in images of size {size}; lower crop or raise size")
        self.crop = crop
        self.size = size
        self.random_crop = random_crop
        self.flip = flip
        self.seed = seed
        self.paths = _list_images(folders)
        self._unreadable: set[int] = set()
        self._cache: dict[int, Pixels] = {}
        self._cache_room = cache_megabytes * 2**20

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int] | int) -> tuple[Tensor, int, int]:
        epoch, index = (0, key) if isinstance(key, int) else key
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} images")
        generator = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, index)))
        seed = int(generator.integers(2**63))
        index, pixels = self._read_next(index)
        return self._augment(pixels, generator), index, seed

    def _read_next(self, index: int) -> tuple[int, Pixels]:
        """The image of this index, or the first readable one that follows, and its index."""
        for candidate in (*range(index, len(self)), *range(index)):
            if candidate in self._unreadable:
                continue
            try:
                return candidate, self._read(candidate)
            except ImageError as error:
                self._unreadable.add(candidate)
                _logger.warning("skipping %s", error)
        raise ImageError(f"{self.paths[0].parent}: none of the {len(self)} images can be read; see the warnings")

    def _read(self, index: int) -> Pixels:
        """The whole image, from the cache if it is there."""
        pixels = self._cache.get(index)
        if pixels is None:
            pixels = _decode(self.paths[index], self.size)
            if pixels.nbytes <= self._cache_room:
                self._cache[index] = pixels
                self._cache_room -= pixels.nbytes
        return pixels

    def _augment(self, pixels: Pixels, generator: np.random.Generator) -> Tensor:
        """Crop and flip. All draws are made in any case, so that no option changes what another one does."""
        across, down = generator.random(2)
        symmetry = int(generator.integers(8))
        if not self.random_crop:
            across = down = 0.5
        image = _cut(pixels, self.crop, down, across)
        if not self.flip:
            return image
        if symmetry & 1:
            image = image.flip(2)
        if symmetry & 2:
            image = image.flip(1)
        if symmetry & 4:
            image = image.transpose(1, 2)
        return image.contiguous()


def collate(samples: Sequence[tuple[Tensor, int, int]]) -> Batch:
    """Samples of `ImageFolder` as a batch.

    Raises:
        ValueError: the images differ in size.
    """
    images, indices, seeds = zip(*samples, strict=True)
    if len({image.shape for image in images}) > 1:
        raise ValueError("images of one batch differ in size; give them a size or a crop, or take batches of one image")
    return Batch(torch.stack(images), torch.tensor(indices), torch.tensor(seeds))


def _list_images(folders: Folders) -> list[Path]:
    """The images of all folders."""
    paths = [Path(folder).expanduser() for folder in ([folders] if isinstance(folders, str | Path) else folders)]
    for path in paths:
        if not path.is_dir():
            raise ImageError(f"{path}: no such folder; check the name, or download the images first")
    return find_images(paths)


def _decode(path: Path, size: int | None) -> Pixels:
    """An image as (H, W) or (H, W, 3) uint8 where that loses nothing, else as (3, H, W) float32 in [0, 1].

    Raises:
        ImageError: the file cannot be read.
    """
    pixels = None if size is not None else read_bytes(path)
    return load_image(path, size) if pixels is None else pixels


def _cut(pixels: Pixels, crop: int | None, down: float, across: float) -> Tensor:
    """A square of an image; down and across in [0, 1] say where, from top left to bottom right.

    Returns:
        (3, crop, crop) float32 in [0, 1], or the whole image if crop is None.
    """
    height, width = pixels.shape[-2:] if isinstance(pixels, Tensor) else pixels.shape[:2]
    if crop is None:
        return pixels.clone() if isinstance(pixels, Tensor) else load_image(pixels)
    side = min(crop, height, width)
    # Of n places the one that the number falls in; in the middle, the one that load_image would choose.
    top, left = (_place(extent - side, share) for extent, share in ((height, down), (width, across)))
    rows, columns = slice(top, top + side), slice(left, left + side)
    # A copy, for what is cached is not to be given away.
    window = pixels[:, rows, columns].clone() if isinstance(pixels, Tensor) else pixels[rows, columns]
    return load_image(window, size=crop)


def _place(room: int, share: float) -> int:
    """One of the places 0 ... room, uniform if share is uniform in [0, 1)."""
    return round(room / 2) if share == 0.5 else int(share * (room + 1))
