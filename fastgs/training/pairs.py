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

from fastgs.codec.channels import RGB
from fastgs.codec.frame import FormatError, read_frame
from fastgs.codec.layer import decode_layers
from fastgs.data.loader import EpochLoader, make_loader, make_sampler
from fastgs.io.images import ImageError, find_images, load_image

Folders = str | list[str]
Floats = NDArray[np.float32]


class Pair(NamedTuple):
    """A photo, and the file of its Gaussians.

    Attributes:
        image: (3, H, W) float32 photo in [0, 1].
        index: Index of the pair in the dataset.
        seed: Number from which everything else that is random about the sample is derived.
    """

    image: Tensor
    index: int
    seed: int


class PairFolder(Dataset[Pair]):
    """Pairs of .fgs files and photos of the same name, indexed by (epoch, index); a plain index means epoch 0.

    Args:
        files: Folder, or list of folders, of .fgs files of the scheme "fastgs" and of RGB.
        photos: Folder, or list of folders, of photos, in which each file has one of its name.
        seed: Random seed of the seeds of samples.

    Attributes:
        paths: The .fgs files.
        symbols: (N, 8) symbols of the Gaussians of each file, as numbers in floating point; see
            `fastgs.codec.symbols`.
        units: (N, 8) values that the symbols are multiples of, for each file.

    Raises:
        ValueError: There are no files, one is damaged or of another kind, or lacks its photo; one line.
    """

    def __init__(self, files: Folders, photos: Folders, seed: int = 0) -> None:
        self.paths = sorted(path for folder in _listed(files) for path in Path(folder).glob("*.fgs"))
        if not self.paths:
            raise ValueError(f"{' and '.join(_listed(files))}: no .fgs files; fastgs encode writes them")
        try:
            known = {path.stem: path for folder in _listed(photos) for path in find_images(folder)}
        except ImageError as error:
            raise ValueError(str(error)) from error
        lacking = [path for path in self.paths if path.stem not in known]
        if lacking:
            raise ValueError(f"{lacking[0]}: there is no photo of this name in {' and '.join(_listed(photos))}")
        self._photos = [known[path.stem] for path in self.paths]
        self._images: dict[int, NDArray[np.uint8]] = {}
        self._seed = seed
        self.symbols, self.units = [], []
        self._canvases = []
        for path in self.paths:
            symbols, units, canvas = _read(path)
            self.symbols.append(symbols)
            self.units.append(units)
            self._canvases.append(canvas)

    def __len__(self) -> int:
        return len(self.paths)

    @override
    def __getitem__(self, key: tuple[int, int] | int) -> Pair:
        epoch, index = (0, key) if isinstance(key, int) else key
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} pairs")
        generator = np.random.default_rng(np.random.SeedSequence((self._seed, epoch, index)))
        if index not in self._images:
            image = load_image(self._photos[index])
            if tuple(image.shape[1:]) != self._canvases[index]:
                raise ImageError(f"{self._photos[index]}: is not of the size of the canvas of {self.paths[index]}")
            self._images[index] = image.mul(255).round().byte().numpy()
        image = torch.from_numpy(self._images[index]).float() / 255
        return Pair(image, index, int(generator.integers(2**63)))


class PairDataModule(lightning.LightningDataModule):
    """Pairs of .fgs files and photos, one in each batch.

    Args:
        train: Folder, or list of folders, of .fgs files to train on.
        val: The same of files for validation; None trains without.
        photos: Folder, or list of folders, of the photos that the files were made of.
        repeat: Number of passes over the files in an epoch.
        seed: Random seed of order and noise.

    Raises:
        ValueError: An argument is out of range; when a stage is set up, a folder has no files, or a file is not as it
            should be. One line that begins with the argument.
    """

    batch_size = 1

    def __init__(
        self,
        train: str | list[str] | None = None,
        val: str | list[str] | None = None,
        photos: str | list[str] | None = None,
        repeat: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (("repeat", repeat, 1), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"data.{name}: must be at least {least}, got {value}")
        self.folders = {"train": train, "val": val, "photos": photos}
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
                self.datasets[name] = PairFolder(files, photos, self.seed)
            except (ValueError, OSError) as error:
                raise ValueError(f"data.{name}: {error}") from error

    @override
    def train_dataloader(self) -> EpochLoader:
        dataset = self.datasets["train"]
        sampler = make_sampler(self.trainer, dataset, shuffle=True, seed=self.seed, uneven="drop", repeat=self.repeat)
        return make_loader(self.trainer, dataset, sampler, self.batch_size, _only, train=True)

    @override
    def val_dataloader(self) -> EpochLoader | list[Any]:
        if "val" not in self.datasets:
            return []
        sampler = make_sampler(self.trainer, self.datasets["val"], shuffle=False, seed=self.seed, uneven="repeat")
        return make_loader(self.trainer, self.datasets["val"], sampler, self.batch_size, _only)


def _only(samples: Sequence[Pair]) -> Pair:
    """Return the only sample of a batch."""
    (sample,) = samples
    return sample


def _listed(folders: Folders) -> list[str]:
    return [folders] if isinstance(folders, str) else folders


def _read(path: Path) -> tuple[Floats, Floats, tuple[int, int]]:
    """Return symbols, units and canvas of a file; raise ValueError in one line if it is of another kind."""
    try:
        frame = read_frame(path.read_bytes())
        if frame.scheme != "fastgs" or frame.channels != RGB:
            raise FormatError("is not of RGB, or not of the scheme fastgs")
        canvas = frame.height, frame.width
        layers = decode_layers(frame.layers, canvas, frame.channels, frame.symbols)
    except FormatError as error:
        raise ValueError(f"{path}: {error}") from error
    units = [np.tile(layer.steps.columns(), (len(layer.symbols), 1)) for layer in layers]
    symbols = [layer.symbols for layer in layers]
    return np.concatenate(symbols).astype(np.float32), np.concatenate(units).astype(np.float32), canvas
