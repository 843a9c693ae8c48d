"""Files of Gaussians as what is known around each Gaussian, for training the learned model of symbols."""

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

from fastgs.codec.frame import FormatError, read_frame
from fastgs.codec.layer import decode_layers
from fastgs.codec.learned import begin_layer, summarize
from fastgs.codec.surroundings import Surroundings
from fastgs.codec.surroundings_kernels import UNIT
from fastgs.codec.symbol_model import GROUPS, make_tables
from fastgs.codec.symbols import AREA, Layer, X, Y
from fastgs.data.folder import check_at_least
from fastgs.data.loader import EpochLoader, make_evaluation_loader, make_training_loader

Folders = str | list[str]
Arrays = dict[str, NDArray[Any]]


class SymbolBatch(NamedTuple):
    """A batch of Gaussians, the argument of the steps of `fastgs.training.SymbolStage`.

    The first four are those of `SymbolNetwork.forward`, float32 in units of 1.

    Attributes:
        each: (B, 8, F) features of the neighbours, for each group of columns.
        common: (B, G) features of all neighbours together, for each group.
        of_layer: (B, L) features of the layer.
        own: (B, 6) values of the Gaussian itself.
        values: (B, 6) float32, values of the symbols, less the middle values of the layer.
        units: (B, 6) float32, value of a symbol each.
    """

    each: dict[str, Tensor]
    common: dict[str, Tensor]
    of_layer: Tensor
    own: Tensor
    values: Tensor
    units: Tensor


class SymbolFolder(Dataset[SymbolBatch]):
    """Gaussians of .fgs files, indexed by lists of (epoch, index), which give a batch; the epoch does not matter.

    Args:
        folders: Folder, or list of folders, of .fgs files of the scheme "fastgs" and of RGB.

    Attributes:
        paths: The .fgs files.

    Raises:
        ValueError: There are no files or no Gaussians in them, or a file is damaged or of another kind; one line.
    """

    def __init__(self, folders: Folders) -> None:
        listed = [folders] if isinstance(folders, str) else folders
        self.paths = sorted(path for folder in listed for path in Path(folder).glob("*.fgs"))
        if not self.paths:
            raise ValueError(f"{' and '.join(listed)}: no .fgs files; fastgs encode writes them")
        parts = [part for path in self.paths for part in _read(path)]
        if not parts:
            raise ValueError(f"{' and '.join(listed)}: no Gaussians in the .fgs files")
        # Each list of parts is dropped as soon as it is joined, so that there is little twice in memory.
        self._arrays = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}

    def __len__(self) -> int:
        return len(self._arrays["own"])

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> SymbolBatch:
        """Return the batch of some Gaussians, which loaders ask for at once."""
        chosen = np.array([index for _, index in keys])
        taken = {name: torch.from_numpy(array[chosen]) for name, array in self._arrays.items()}
        features = {name: array.float() / UNIT for name, array in taken.items() if array.dtype == torch.int16}
        each, common = ({group: features[f"{name}.{group}"] for group in GROUPS} for name in ("each", "common"))
        return SymbolBatch(each, common, features["of_layer"], features["own"], taken["values"], taken["units"])


class SymbolDataModule(lightning.LightningDataModule):
    """Gaussians of .fgs files.

    Args:
        train: Folder, or list of folders, of .fgs files to train on.
        val: The same of files for validation; None trains without.
        batch_size: Number of Gaussians in a batch of one device, drawn from all files.
        seed: Random seed of the order.

    Raises:
        ValueError: An argument is out of range; when a stage is set up, a folder has no files, or a file is not as it
            should be; when the training loader is made, a batch is larger than the data. One line that begins with the
            argument.
    """

    def __init__(
        self,
        train: str | list[str] | None = None,
        val: str | list[str] | None = None,
        batch_size: int = 2048,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_at_least(1, {"batch_size": batch_size}, prefix="data.")
        check_at_least(0, {"seed": seed}, prefix="data.")
        self.folders = {"train": train, "val": val}
        self.batch_size = batch_size
        self.seed = seed
        self.datasets: dict[str, SymbolFolder] = {}

    @override
    def setup(self, stage: str) -> None:
        needed = {"fit": ["train"], "validate": ["val"]}.get(stage, [])
        if stage == "fit" and self.folders["val"] is not None:
            needed.append("val")
        for name in needed:
            folders = self.folders[name]
            if not folders:
                raise ValueError(f"data.{name}: no folder is given; name one, or a list of folders")
            if name not in self.datasets:
                try:
                    self.datasets[name] = SymbolFolder(folders)
                except (ValueError, OSError) as error:
                    raise ValueError(f"data.{name}: {error}") from error

    @override
    def train_dataloader(self) -> EpochLoader:
        return make_training_loader(self.trainer, self.datasets["train"], self.batch_size, _keep, self.seed)

    @override
    def val_dataloader(self) -> EpochLoader | list[Any]:
        if "val" not in self.datasets:
            return []
        return make_evaluation_loader(self.trainer, self.datasets["val"], self.batch_size, _keep)


def _keep(batch: SymbolBatch) -> SymbolBatch:
    """Return a batch, which the dataset has made already."""
    return batch


def _read(path: Path) -> list[Arrays]:
    """Return what is known around the Gaussians of a file; raise ValueError in one line if it is of another kind."""
    try:
        frame = read_frame(path.read_bytes())
        if frame.scheme != "fastgs" or not frame.channels.are_rgb:
            raise FormatError("is not of RGB, or not of the scheme fastgs")
        canvas = frame.height, frame.width
        return describe(decode_layers(frame.layers, canvas, model=frame.symbols), canvas)
    except FormatError as error:
        raise ValueError(f"{path}: {error}") from error


def describe(layers: Sequence[Layer], canvas: tuple[int, int]) -> list[Arrays]:
    """Return what is known around the Gaussians of a file.

    Args:
        layers: Layers of RGB whose Gaussians are in the order of the curve, as `decode_layers` returns them.
        canvas: Height and width in pixels.

    Returns:
        For each level of each layer, in the order in which they are coded, arrays by name with a row for each of its
        Gaussians: "each.GROUP", "common.GROUP", "of_layer" and "own", which are int16 in units of 1 / `UNIT`; "values"
        and "units", float32; see `SymbolBatch`.
    """
    around, exponential = Surroundings(canvas), make_tables()["exponential"].astype(np.float64)
    parts: list[Arrays] = []
    for layer in layers:
        symbols, units = layer.symbols.T.astype(np.int64), layer.steps.columns()[AREA:]
        summaries = summarize(symbols[AREA:], units)
        begin_layer(around, symbols[X], symbols[Y], layer.steps, summaries)
        centers = np.array([each.center for each in summaries]) / 16
        for level in around.levels():
            size = len(level.index), 1
            features: Arrays = {"of_layer": np.tile(around.of_layer, size)}
            for name, columns in GROUPS.items():
                described = level.describe(exponential, shaped=name == "color")
                features[f"each.{name}"], features[f"common.{name}"] = described
                for column in columns:
                    around.set_values(level.index, column, symbols[AREA + column, level.index])
            features["own"] = level.own()
            values = {"values": symbols[AREA:, level.index].T * units - centers, "units": np.tile(units, size)}
            parts.append(
                {name: array.astype(np.int16) for name, array in features.items()}
                | {name: array.astype(np.float32) for name, array in values.items()}
            )
    return parts
