"""Files of Gaussians and the photos that they were made of, for training the network of restoration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from fastgs.codec import FormatError, decode_arrays
from fastgs.codec.restoration import FOLD, GRAY, draw_planes
from fastgs.data.folder import check_at_least
from fastgs.data.loader import EpochLoader, make_evaluation_loader, make_training_loader
from fastgs.data.symmetry import turn_image
from fastgs.definition import CHANNELS
from fastgs.io.images import ImageError, find_images, load_image

Folders = str | list[str]
Half = NDArray[np.float16]
Bytes = NDArray[np.uint8]

LEAST = 1e-6  # mean squared error that counts for any drawing at least: a PSNR of 60 dB


class PairBatch(NamedTuple):
    """A batch of pairs, the argument of the steps of `fastgs.training.RestorationStage`.

    Attributes:
        planes: (B, PLANES, H, W) float32, inputs of the network, see `fastgs.codec.restoration.draw_planes`.
        images: (B, 3, H, W) float32, photos in [0, 1].
        errors: (B,) float32, mean squared error of the drawing of each whole file.
    """

    planes: Tensor
    images: Tensor
    errors: Tensor


Sample = tuple[Tensor, Tensor, float]


class PairFolder(Dataset[Sample]):
    """Drawings of .fgs files and photos of the same name, indexed by (epoch, index); a plain index means epoch 0.

    A sample is (planes, image, error), as in `PairBatch`; it depends on (seed, epoch, index) alone.

    Args:
        files: Folder, or list of folders, of .fgs files of RGB.
        photos: Folder, or list of folders, of photos, in which each file has one of its name.
        crop: Side of the square that is cut out anywhere, then mirrored and turned, in pixels, an even number; None
            takes whole images, less the last row or column of an odd side.
        seed: Random seed of crops.

    Attributes:
        paths: The .fgs files.

    Raises:
        ValueError: There are no files, or one lacks its photo; when a sample is asked for, a file is damaged or of
            another kind, or not of the size of its photo, or smaller than a crop; one line.
        ImageError: A photo cannot be read.
    """

    def __init__(self, files: Folders, photos: Folders, crop: int | None, seed: int = 0) -> None:
        self.paths = sorted(path for folder in _listed(files) for path in Path(folder).glob("*.fgs"))
        if not self.paths:
            raise ValueError(f"{' and '.join(_listed(files))}: no .fgs files; fastgs encode writes them")
        known = {path.stem: path for folder in _listed(photos) for path in find_images(folder)}
        lacking = [path for path in self.paths if path.stem not in known]
        if lacking:
            raise ValueError(f"{lacking[0]}: there is no photo of this name in {' and '.join(_listed(photos))}")
        self._photos = [known[path.stem] for path in self.paths]
        self._crop = crop
        self._seed = seed
        self._kept: dict[int, tuple[Half, Bytes, float]] = {}

    def __len__(self) -> int:
        return len(self.paths)

    @override
    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        epoch, index = (0, key) if isinstance(key, int) else key
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} pairs")
        generator = np.random.default_rng(np.random.SeedSequence((self._seed, epoch, index)))
        drawn, photo, error = self._read(index)
        height, width = photo.shape[1:]
        if self._crop is None:
            rows, columns = slice(height // FOLD * FOLD), slice(width // FOLD * FOLD)
        else:
            top, left = (int(generator.integers(side - self._crop + 1)) for side in (height, width))
            rows, columns = slice(top, top + self._crop), slice(left, left + self._crop)
        symmetry = int(generator.integers(8)) if self._crop else 0
        planes, image = (
            turn_image(torch.from_numpy(each[:, rows, columns]), symmetry).contiguous() for each in (drawn, photo)
        )
        return planes.float(), image.float() / 255, error

    def _read(self, index: int) -> tuple[Half, Bytes, float]:
        """Return planes and photo of a pair, and the error of the drawing; they are kept, in few bytes."""
        if index not in self._kept:
            path, photo = self.paths[index], self._photos[index]
            try:
                gaussians = decode_arrays(path.read_bytes())
            except FormatError as error:
                raise ValueError(f"data: {path}: {error}") from error
            image = load_image(photo)
            if gaussians.alpha or tuple(image.shape) != (gaussians.channels, gaussians.height, gaussians.width):
                raise ValueError(f"data: {path}: is not of RGB, or not of the size of {photo}")
            if self._crop is not None and min(image.shape[1:]) < self._crop:
                raise ValueError(f"data.crop: {self._crop} is more than the shorter side of {photo}; lower it")
            planes = draw_planes(gaussians)
            squares = np.square((planes[:CHANNELS] + GRAY).clip(0, 1) - image.numpy())
            pixels: Bytes = image.mul(255).round().byte().numpy()
            self._kept[index] = planes.astype(np.float16), pixels, max(float(squares.mean()), LEAST)
        return self._kept[index]


class PairDataModule(lightning.LightningDataModule):
    """Pairs of .fgs files and photos.

    Args:
        train: Folder, or list of folders, of .fgs files to train on.
        val: The same of files for validation, which are taken whole, one in a batch; None trains without.
        photos: Folder, or list of folders, of the photos that the files were made of.
        crop: Side of the training crops in pixels, an even number.
        batch_size: Number of training crops in a batch of one device.
        repeat: Number of passes over the files in an epoch, each with other crops.
        seed: Random seed of order and crops.

    Raises:
        ValueError: An argument is out of range; when a stage is set up, a folder has no files, or a file has no photo;
            in training, a file is not as it should be. One line that begins with the argument.
    """

    def __init__(
        self,
        train: str | list[str] | None = None,
        val: str | list[str] | None = None,
        photos: str | list[str] | None = None,
        crop: int = 96,
        batch_size: int = 16,
        repeat: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_at_least(1, {"batch_size": batch_size, "repeat": repeat}, prefix="data.")
        check_at_least(0, {"seed": seed}, prefix="data.")
        if crop < FOLD or crop % FOLD:
            raise ValueError(f"data.crop: must be an even number, got {crop}")
        self.folders = {"train": train, "val": val, "photos": photos}
        self.crop = crop
        self.batch_size = batch_size
        self.repeat = repeat
        self.seed = seed
        self.datasets: dict[str, PairFolder] = {}

    @override
    def setup(self, stage: str) -> None:
        needed = {"fit": ["train"], "validate": ["val"]}.get(stage, [])
        if stage == "fit" and self.folders["val"] is not None:
            needed.append("val")
        for name in needed:
            files, photos = self.folders[name], self.folders["photos"]
            for given, value in ((name, files), ("photos", photos)):
                if not value:
                    raise ValueError(f"data.{given}: no folder is given; name one, or a list of folders")
            assert files is not None
            assert photos is not None
            try:
                self.datasets[name] = PairFolder(files, photos, self.crop if name == "train" else None, self.seed)
            except (ImageError, ValueError, OSError) as error:
                raise ValueError(f"data.{name}: {error}") from error

    @override
    def train_dataloader(self) -> EpochLoader:
        return make_training_loader(
            self.trainer, self.datasets["train"], self.batch_size, collate, self.seed, self.repeat
        )

    @override
    def val_dataloader(self) -> EpochLoader | list[Any]:
        if "val" not in self.datasets:
            return []
        return make_evaluation_loader(self.trainer, self.datasets["val"], 1, collate)


def collate(samples: Sequence[Sample]) -> PairBatch:
    """Stack samples of `PairFolder`, of one size, to a batch."""
    planes, images, errors = zip(*samples, strict=True)
    return PairBatch(torch.stack(planes), torch.stack(images), torch.tensor(errors))


def _listed(folders: Folders) -> list[str]:
    return [folders] if isinstance(folders, str) else folders
