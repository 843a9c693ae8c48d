"""Folders of images as samples and batches.

A sample depends on three numbers alone, (seed, epoch, index): neither on the number of workers or devices, nor on
where a run was resumed. A sampler distributes (epoch, index) pairs, and the dataset draws crop and flip of each pair
from a generator of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from fastgs.data.disk_cache import DiskCache
from fastgs.data.symmetry import turn_image
from fastgs.io.images import ImageError, find_images, load_image
from fastgs.io.reading import read_bytes

Folders = str | Path | Sequence[str | Path]
Pixels = NDArray[np.uint8] | Tensor

_logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """A batch of images, the argument of the steps of a LightningModule.

    Attributes:
        images: (B, 3, H, W) float32 in [0, 1].
        indices: (B,) int64, index of each image in the dataset; `dataset.paths` has their files.
        seeds: (B,) int64 in [0, 2^63), one number per image and epoch, from which everything else that is random about
            a sample is derived.
    """

    images: Tensor
    indices: Tensor
    seeds: Tensor


class ImageFolder(Dataset[tuple[Tensor, int, int]]):
    """The images of folders, indexed by (epoch, index) pairs; a plain index means epoch 0.

    A sample is (image, index, seed), where image is (3, H, W) float32 in [0, 1] and the other two are as in `Batch`.
    A file is opened when its sample is asked for. A file that cannot be read is named once per process in a warning of
    the log, and the next readable one in the order of `paths` takes its place, with the crop and flip of the place; the
    index of the sample is that of the image that it shows.

    Where a crop is larger than the image, the largest square is cut and enlarged to the crop by Lanczos. Padding by
    reflection would make edges along the seams that no photo has, and Gaussians would be spent on them.

    Args:
        folders: One folder or several; the images directly in each are taken, as by `find_images`.
        crop: Side of the square that is cut out, in pixels; None keeps the whole image.
        size: Shorter side in pixels to which each image is first resized, before the centre size x size is cut out, as
            by `load_image`; None keeps the size.
        random_crop: True cuts anywhere in the image, False in its centre.
        flip: True mirrors and turns by a random one of the eight symmetries of the square, which can swap height and
            width of an image that is not square.
        seed: Random seed of crops, flips and the seeds of samples.
        cache_megabytes: Megabytes (2^20 bytes) of decoded images that are kept in each process, thus in each worker; 0
            keeps none. The images that come first are kept, and the others are decoded anew each time: with shuffling,
            this has more hits than evicting the least recently used.
        disk_cache: Folder where decoded images are kept, for all processes and all runs, see
            `fastgs.data.disk_cache`; none are kept in memory then, as the system does that. None decodes them anew.
        rounded: True rounds images of 8 bits that were scaled to `size` to 8 bits again, which take a quarter of the
            memory of floats; for training, where an error of 1/510 does not matter.

    Attributes:
        paths: The image files.

    Raises:
        ImageError: A folder does not exist, holds no image or cannot be listed; or, when a sample is asked for, no
            image at all can be read.
        ValueError: An argument is out of range.
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
        disk_cache: str | Path | None = None,
        rounded: bool = False,
    ) -> None:
        check_at_least(1, {"crop": crop, "size": size})
        check_at_least(0, {"seed": seed, "cache_megabytes": cache_megabytes})
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
        self._rounded = rounded
        self._disk_cache = None if disk_cache is None else DiskCache(disk_cache, rounded)

    def __len__(self) -> int:
        return len(self.paths)

    @override
    def __getitem__(self, key: tuple[int, int] | int) -> tuple[Tensor, int, int]:
        epoch, index = (0, key) if isinstance(key, int) else key
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} images")
        generator = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, index)))
        seed = int(generator.integers(2**63))
        index, pixels = self._read_next(index)
        return self._augment(pixels, generator), index, seed

    def _read_next(self, index: int) -> tuple[int, Pixels]:
        """Read the image of this index, or the first readable one after it.

        Returns:
            The index of the image that was read, and its pixels.
        """
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
        """Return the whole image, from a cache if it is there."""
        if self._disk_cache is not None:
            kept = self._disk_cache.read(self.paths[index], self.size)
            if kept is None:
                kept = _decode(self.paths[index], self.size, self._rounded)
                self._disk_cache.write(self.paths[index], self.size, kept)
            return kept
        pixels = self._cache.get(index)
        if pixels is None:
            pixels = _decode(self.paths[index], self.size, self._rounded)
            if pixels.nbytes <= self._cache_room:
                self._cache[index] = pixels
                self._cache_room -= pixels.nbytes
        return pixels

    def _augment(self, pixels: Pixels, generator: np.random.Generator) -> Tensor:
        """Crop and flip; every number is drawn in any case, so that no option changes the effect of another."""
        across, down = generator.random(2)
        symmetry = int(generator.integers(8))
        if not self.random_crop:
            across = down = 0.5
        image = _cut(pixels, self.crop, down, across)
        return turn_image(image, symmetry).contiguous() if self.flip else image


def collate(samples: Sequence[tuple[Tensor, int, int]]) -> Batch:
    """Stack samples of `ImageFolder` to a batch.

    Raises:
        ValueError: The images differ in size.
    """
    images, indices, seeds = zip(*samples, strict=True)
    if len({image.shape for image in images}) > 1:
        raise ValueError("images of one batch differ in size; give them a size or a crop, or take batches of one image")
    return Batch(torch.stack(images), torch.tensor(indices), torch.tensor(seeds))


def check_at_least(least: int, values: Mapping[str, int | None], prefix: str = "") -> None:
    """Check the range of arguments.

    Args:
        least: Smallest allowed value.
        values: Values by name of the argument; None is allowed.
        prefix: Text before the name in the message.

    Raises:
        ValueError: A value is smaller; the message begins with prefix and name.
    """
    for name, value in values.items():
        if value is not None and value < least:
            raise ValueError(f"{prefix}{name}: must be at least {least}, got {value}")


def _list_images(folders: Folders) -> list[Path]:
    """Return the images of all folders.

    Raises:
        ImageError: A folder does not exist, holds no image or cannot be listed.
    """
    paths = [Path(folder).expanduser() for folder in ([folders] if isinstance(folders, str | Path) else folders)]
    for path in paths:
        if not path.is_dir():
            raise ImageError(f"{path}: no such folder; check the name, or download the images first")
    return find_images(paths)


def _decode(path: Path, size: int | None, rounded: bool) -> Pixels:
    """Read an image as (H, W) or (H, W, 3) uint8 where that loses nothing, else as (3, H, W) float32 in [0, 1].

    Args:
        path: File of the image.
        size: Shorter side that it is scaled to, with a centre crop; None keeps the size.
        rounded: True rounds a scaled image of 8 bits to 8 bits, although that loses something.

    Raises:
        ImageError: The file cannot be read.
    """
    pixels = read_bytes(path) if size is None or rounded else None
    if pixels is None:
        return load_image(path, size)
    if size is None:
        return pixels
    scaled: NDArray[np.uint8] = load_image(pixels, size).mul(255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(scaled)


def _cut(pixels: Pixels, crop: int | None, down: float, across: float) -> Tensor:
    """Cut a square out of an image.

    Args:
        pixels: Image from `_decode`.
        crop: Side of the result in pixels; None takes the whole image.
        down: Vertical position in [0, 1], from top to bottom.
        across: Horizontal position in [0, 1], from left to right.

    Returns:
        (3, crop, crop) float32 in [0, 1], or the whole image if crop is None; a copy, as `pixels` can be in the cache.
    """
    height, width = pixels.shape[-2:] if isinstance(pixels, Tensor) else pixels.shape[:2]
    if crop is None:
        return pixels.clone() if isinstance(pixels, Tensor) else load_image(pixels)
    side = min(crop, height, width)
    top, left = (_choose_offset(extent - side, share) for extent, share in ((height, down), (width, across)))
    rows, columns = slice(top, top + side), slice(left, left + side)
    window = pixels[:, rows, columns].clone() if isinstance(pixels, Tensor) else pixels[rows, columns]
    return load_image(window, size=crop)


def _choose_offset(room: int, share: float) -> int:
    """Return one of the offsets 0 ... room, uniform if share is uniform in [0, 1); at 0.5, that of `load_image`."""
    return round(room / 2) if share == 0.5 else int(share * (room + 1))
