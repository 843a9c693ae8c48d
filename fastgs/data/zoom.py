"""Pairs of small and large images for training what a camera with fewer pixels did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.data.datamodule import FolderDataModule
from fastgs.data.folder import Batch, collate
from fastgs.io.resampling import Filter, check_filter, reduce

# The smallest image that a pair may have, in pixels: the networks see some of the surroundings.
MIN_SIDE = 8


class ZoomBatch(NamedTuple):
    """A batch of pairs.

    Attributes:
        small: (B, 3, h, w) float32 in [0, 1], rounded to 8 bits as files are.
        large: (B, 3, H, W) float32 in [0, 1], the images that the small ones are reductions of.
        indices: (B,) int64, index of each image in the dataset.
        seeds: (B,) int64, as in `Batch`.
    """

    small: Tensor
    large: Tensor
    indices: Tensor
    seeds: Tensor


class ZoomDataModule(FolderDataModule):
    """Folders of images as pairs: a large crop, and its reduction by a factor drawn anew for each batch.

    Validation and prediction take whole images and the factor `val_factor`.

    Args:
        train, val, predict, crop, size, val_size, batch_size, val_batch_size, random_crop, flip, repeat, num_workers,
            seed, cache_megabytes, disk_cache: Arguments of `FolderDataModule`; `crop` is the side of the large crops.
        lowest: Smallest factor of training, at least 1.
        highest: Largest factor of training; factors are drawn log-uniformly.
        val_factor: Factor of validation.
        filter: Filter of the reduction, see `fastgs.io.resampling.reduce`.

    Raises:
        ValueError: An argument is out of range; one line that begins with the argument.
    """

    def __init__(
        self,
        train: str | list[str] | None = None,
        val: str | list[str] | None = None,
        predict: str | list[str] | None = None,
        crop: int = 128,
        size: int | None = None,
        val_size: int | None = None,
        batch_size: int = 8,
        val_batch_size: int = 1,
        random_crop: bool = True,
        flip: bool = True,
        repeat: int = 1,
        num_workers: int = 4,
        seed: int = 0,
        cache_megabytes: int = 512,
        disk_cache: str | None = None,
        lowest: float = 1.5,
        highest: float = 4.0,
        val_factor: float = 2.0,
        filter: Filter = "bicubic",
    ) -> None:
        super().__init__(
            train,
            val,
            predict,
            crop,
            size,
            val_size,
            batch_size,
            val_batch_size,
            random_crop,
            flip,
            repeat,
            num_workers,
            seed,
            cache_megabytes,
            disk_cache,
        )
        if not 1 <= lowest <= highest:
            raise ValueError(f"data.lowest: must be from 1 up to data.highest, got {lowest} and {highest}")
        if crop < MIN_SIDE * highest:
            raise ValueError(
                f"data.crop: {crop} pixels reduced by data.highest {highest:g} are fewer than {MIN_SIDE}; raise crop"
            )
        if val_factor < 1:
            raise ValueError(f"data.val_factor: must be at least 1, got {val_factor}")
        try:
            check_filter(filter)
        except ValueError as error:
            raise ValueError(f"data.{error}") from error
        self.lowest = lowest
        self.highest = highest
        self.val_factor = val_factor
        self.filter: Filter = filter

    @override
    def _collate(self, name: str) -> Callable[..., Any]:
        factors = (self.lowest, self.highest) if name == "train" else (self.val_factor, self.val_factor)
        return partial(make_pairs, *factors, self.filter)


def make_pairs(lowest: float, highest: float, filter: Filter, samples: Sequence[tuple[Tensor, int, int]]) -> ZoomBatch:
    """Stack samples of `ImageFolder` and reduce all by one factor, drawn from the seed of the first.

    Raises:
        ValueError: The images differ in size.
    """
    batch: Batch = collate(samples)
    generator = torch.Generator().manual_seed(int(batch.seeds[0]))
    factor = lowest * (highest / lowest) ** torch.rand((), generator=generator).item()
    height, width = (max(1, round(side / factor)) for side in batch.images.shape[-2:])
    small = reduce(batch.images, height, width, filter).clamp(0, 1).mul(255).round().div(255)
    return ZoomBatch(small, batch.images, batch.indices, batch.seeds)
