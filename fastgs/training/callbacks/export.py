"""Callback that exports trained weights after each epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging

from fastgs.data import ImageFolder
from fastgs.splats import SplatDataset
from fastgs.training.base import TrainedStage
from fastgs.training.pairs import PairFolder
from fastgs.training.symbol_files import SymbolFolder


class ExportWeights(Callback):
    """Writes the networks, or their averages if a run has them, with a record of the training after each epoch.

    Args:
        path: Path of the weights, without suffix; relative to the trainer's default_root_dir.

    Attributes:
        run: Further entries of the record: the command and its configuration, if there was one.
    """

    def __init__(self, path: str = "weights") -> None:
        self.path = path
        self.run: dict[str, Any] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write PATH.safetensors and PATH.json; in the first process only, and not in a mere trial.

        Raises:
            OSError: The folder is not writable, or the disk is full; the error names the file.
            ValueError: The weights hold NaN or infinity. The last checkpoint is then still the one before.
        """
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, TrainedStage)
        path = Path(trainer.default_root_dir, self.path)
        with _averaged(trainer, pl_module):
            try:
                pl_module.export(path, describe(trainer, pl_module) | self.run)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error


def describe(trainer: Trainer, stage: TrainedStage) -> dict[str, Any]:
    """Return the record of a training as plain values. It holds no date, so that the same run gives the same file."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return {
        "stage": type(stage).__name__,
        "hyperparameters": {name: value for name, value in stage.hparams.items() if not name.startswith("_")},
        "data": {name: _describe_data(data.folders[name], dataset) for name, dataset in data.datasets.items()},
        "batch_size": data.batch_size * trainer.world_size,
        "epochs": trainer.current_epoch + 1,
        "steps": trainer.global_step,
        "seed": int(os.environ.get("PL_GLOBAL_SEED", 0)),  # where Lightning keeps it
        "metrics": {
            name: float(value) for name, value in sorted(trainer.callback_metrics.items()) if torch.isfinite(value)
        },
        "versions": {name: version(name) for name in ("fastgs", "torch")},
    }


def _describe_data(folders: Any, dataset: ImageFolder | SplatDataset | PairFolder | SymbolFolder) -> dict[str, Any]:
    """Return folders, number of samples and, if they are of files with names, the names in order."""
    samples = "gaussians" if isinstance(dataset, SymbolFolder) else "images"
    described: dict[str, Any] = {"folders": folders, samples: len(dataset)}
    if not isinstance(dataset, SplatDataset):
        described["files"] = [path.name for path in dataset.paths]
    return described


@contextmanager
def _averaged(trainer: Trainer, stage: TrainedStage) -> Iterator[None]:
    """Replace the weights by their averages for a while, as in validation, if a callback keeps averages."""
    averages = [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]  # type: ignore[attr-defined]
    for callback in averages:
        callback.on_validation_epoch_start(trainer, stage)
    yield
    for callback in averages:
        callback.on_validation_epoch_end(trainer, stage)
