"""Datasets of Gaussians from `fastgs splats make` as samples and batches for autoencoders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from fastgs.data.symmetry import turn_image
from fastgs.fitting.parametrization import Attributes
from fastgs.gaussians import Gaussians
from fastgs.splats.channels import Parameters, grid_shape, to_channels, turn_gaussians
from fastgs.splats.index import Split, load_splats, read_index

Layout = Literal["set", "flat", "image"]

# Number of images whose Gaussians are converted to channels at a time, which bounds the memory for it.
CHUNK = 1024


class SplatSample(NamedTuple):
    """An image and its Gaussians.

    Attributes:
        inputs: Channels of the Gaussians, C = 5 + D, normalized to [-1, 1]: (K, C) as a set, (K C,) flat, (C, rows,
            columns) as an image.
        pixels: (D, H, W) float32 in [0, 1], D being the number of channels of the images; with alpha, colours are
            multiplied by it.
        label: Number of the class; -1 without classes.
    """

    inputs: Tensor
    pixels: Tensor
    label: int


class SplatBatch(NamedTuple):
    """A batch of images and their Gaussians, for the training of an autoencoder.

    Attributes:
        inputs: (B, K, C) normalized channels of Gaussians.
        pixels: (B, D, H, W) float32 in [0, 1], as in `SplatSample`.
        labels: (B,) int64, numbers of the classes; -1 without classes.
    """

    inputs: Tensor
    pixels: Tensor
    labels: Tensor

    @property
    def images(self) -> Tensor:
        """The pixels, by their name in `fastgs.data.Batch`."""
        return self.pixels


class SplatDataset(Dataset[SplatSample]):
    """One split of a dataset, all of it in memory.

    It is indexed by (epoch, index) pairs; a plain index means epoch 0. The symmetry by which an image is turned depends
    on both and the seed.

    Args:
        folder: Folder of the dataset.
        split: Name of the split, "train", "val" or "test".
        parameters: Parametrization of the Gaussians, see `fastgs.splats.channels`.
        layout: Layout of the inputs, see `SplatSample`; Gaussians are in the order of their fit, and row by row in an
            image.
        turn: True mirrors and turns images and their Gaussians by a random one of the eight symmetries of the square,
            or of the four of other rectangles.
        seed: Random seed of the symmetries.

    Attributes:
        attributes: Attributes of the Gaussians of all images, as fitted; (N, K, ...).
        pixels: (N, D, H, W) uint8, D being the number of channels of the images.
        channels: Channels of the images, a name in `fastgs.splats.channels.COLORS`.
        colors: Their number D, alpha included.
        alpha: True if the last of them is alpha.
        normalization: Range of the channels over the train split.
        entries: Entries of the images in the index.
        labels: Names of the classes.
        height: Height of every image in pixels.
        width: Width of every image in pixels.

    Raises:
        FileNotFoundError: The folder holds no dataset.
        ValueError: The dataset is damaged, has no image in this split, no range of these parameters or images of
            several sizes, or an argument is unknown. One line.
    """

    def __init__(
        self,
        folder: str | Path,
        split: Split,
        parameters: Parameters = "anchored",
        layout: Layout = "set",
        turn: bool = False,
        seed: int = 0,
    ) -> None:
        for name, value, known in (("parameters", parameters, Parameters), ("layout", layout, Layout)):
            if value not in get_args(known):
                raise ValueError(f"{name}: expected one of {', '.join(get_args(known))}, got {value!r}")
        index = read_index(folder)
        splats = load_splats(folder, split)
        if not isinstance(splats.pixels, Tensor):
            raise ValueError(f"{folder}: the images differ in size; make the dataset with images of one size")
        if parameters not in index.normalizations:
            raise ValueError(
                f"{folder}: has no {parameters!r} parameters, as its fits did not start from one grid; make the "
                "dataset with the initialization 'grid', or train on 'plain' parameters"
            )
        self.layout = layout
        self.labels = index.labels
        self.entries = splats.entries
        self.normalization = index.normalizations[parameters]
        self.pixels = splats.pixels
        self.channels = index.channels
        self.colors, self.alpha = index.settings.colors, index.settings.alpha
        self.height, self.width = self.pixels.shape[-2:]
        self.attributes = splats.attributes
        self.turn = turn
        self.seed = seed
        if layout == "image" or turn:
            self.grid = grid_shape(self.num_gaussians, self.height, self.width)
        self._labels = torch.tensor([-1 if each.label is None else each.label for each in self.entries])
        self._inputs: Tensor | None = None
        if not turn:  # the inputs are the same in every epoch
            parts = torch.split(torch.arange(len(self)), CHUNK)
            self._inputs = torch.cat([self._make_inputs(part, 0) for part in parts])

    @property
    def num_gaussians(self) -> int:
        """Number K of Gaussians of each image."""
        return self.attributes.means.shape[1]

    def __len__(self) -> int:
        return len(self.entries)

    def gaussians(self, index: int) -> Gaussians:
        """Return the Gaussians of an image as they were fitted.

        Args:
            index: Index of the image.
        """
        attributes = Attributes(*(each[index] for each in self.attributes))
        return Gaussians(*attributes, height=self.height, width=self.width, alpha=self.alpha)

    @override
    def __getitem__(self, key: tuple[int, int] | int) -> SplatSample:
        epoch, index = (0, key) if isinstance(key, int) else key
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} images")
        batch = self.batch(torch.tensor([index]), self.symmetry(epoch, index))
        return SplatSample(self._arrange(batch.inputs[0]), batch.pixels[0], int(batch.labels[0]))

    def batch(self, indices: Tensor, symmetry: int = 0) -> SplatBatch:
        """Return a batch of images that are all turned by one symmetry, their Gaussians as sets.

        Args:
            indices: (B,) int64 indices of the images.
            symmetry: Symmetry, see `fastgs.data.symmetry.turn_image`.
        """
        pixels = turn_image(self.pixels[indices], symmetry).float() / 255
        if self._inputs is not None and not symmetry:
            return SplatBatch(self._inputs[indices], pixels, self._labels[indices])
        return SplatBatch(self._make_inputs(indices, symmetry), pixels, self._labels[indices])

    def symmetry(self, epoch: int, index: int) -> int:
        """Return the symmetry by which an image is turned in an epoch, see `fastgs.data.symmetry.turn_image`."""
        if not self.turn:
            return 0
        generator = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, index)))
        return int(generator.integers(8 if self.height == self.width else 4))

    def _make_inputs(self, indices: Tensor, symmetry: int) -> Tensor:
        """Return the (B, K, C) normalized channels of images that are turned by a symmetry."""
        attributes = Attributes(*(each[indices] for each in self.attributes))
        if symmetry:
            attributes = turn_gaussians(attributes, symmetry, self.height, self.width)
        channels = to_channels(attributes, self.normalization.parameters, self.height, self.width)
        return self.normalization.normalized(channels)

    def _arrange(self, inputs: Tensor) -> Tensor:
        """Return (K, C) inputs in the layout of the dataset."""
        if self.layout == "set":
            return inputs
        return inputs.flatten() if self.layout == "flat" else inputs.T.reshape(-1, *self.grid)


def collate_splats(samples: Sequence[SplatSample]) -> SplatBatch:
    """Stack samples to a batch."""
    inputs, pixels, labels = zip(*samples, strict=True)
    return SplatBatch(torch.stack(inputs), torch.stack(pixels), torch.tensor(labels))
