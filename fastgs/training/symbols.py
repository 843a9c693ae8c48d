"""Trains the learned model of symbols: the bits that the Gaussians of files take by its distributions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.codec.symbol_model import FORMAT, SCALES, VERSION
from fastgs.codec.symbol_network import SymbolNetwork, count_bits
from fastgs.io.checkpoints import read_arrays
from fastgs.io.weights import find_weights, write_pair
from fastgs.training.base import TrainedStage
from fastgs.training.symbol_files import SymbolBatch, SymbolDataModule

COLUMNS = ("area", "u", "v", "luma", "chroma1", "chroma2")
# Averages of Adam: shorter than usual, since a run takes a few thousand steps.
BETAS = (0.9, 0.98)


class SymbolStage(TrainedStage):
    """Trains `fastgs.codec.symbol_network.SymbolNetwork`.

    Args:
        neighbours: Number of activations of a neighbour, for each of the two groups of columns.
        width: Number of hidden activations of the head of each column.
        weights: Path, or name in checkpoints/, of trained weights to begin with; None begins at random.
        learning_rate, weight_decay, warmup_steps: Arguments of `TrainedStage`.

    Raises:
        ValueError: An argument is out of range; one line that begins with the argument.
    """

    DATA = SymbolDataModule

    def __init__(
        self,
        neighbours: int = 24,
        width: int = 40,
        weights: str | None = None,
        learning_rate: float = 6e-3,
        weight_decay: float = 0.0,
        warmup_steps: int = 600,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps)
        self.save_hyperparameters()
        self.network = SymbolNetwork(neighbours, width)
        if weights is not None:
            try:
                self.network.load_exported(read_arrays(find_weights(weights), FORMAT, VERSION, "model of symbols"))
            except (ValueError, FileNotFoundError) as error:
                raise ValueError(f"model.weights: {error}") from error

    @override
    def export(self, path: Path, training: dict[str, Any]) -> None:
        try:
            arrays = self.network.export()
        except ValueError as error:
            raise ValueError(f"{path}: not written, since {error}") from error
        info = {"format": FORMAT, "version": VERSION, "network": self.network.arguments, "training": training}
        write_pair(path, {name: torch.from_numpy(array) for name, array in arrays.items()}, info)

    @override
    def configure_optimizers(self) -> Any:
        configured = super().configure_optimizers()
        for group in configured["optimizer"].param_groups:
            group["betas"] = BETAS
        return configured

    @override
    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        super().optimizer_step(*arguments, **options)
        self.network.limit()

    def training_step(self, batch: SymbolBatch, batch_idx: int) -> Tensor:
        """Return the mean number of bits of a Gaussian, without those of its position."""
        bits = self._count_bits(batch).sum()
        self.log("train/bits", bits.detach(), prog_bar=True, batch_size=len(batch.own))
        return bits

    def validation_step(self, batch: SymbolBatch, batch_idx: int) -> None:
        """Log the mean number of bits of a Gaussian, and those of each column."""
        of_columns = self._count_bits(batch)
        bits = {f"bits_{name}": each for name, each in zip(COLUMNS, of_columns, strict=True)}
        for name, value in {"bits": of_columns.sum(), **bits}.items():
            is_shown = name == "bits"
            size = len(batch.own)
            self.log(f"val/{name}", value, batch_size=size, sync_dist=True, on_epoch=True, prog_bar=is_shown)

    def _count_bits(self, batch: SymbolBatch) -> Tensor:
        """Return the (6,) mean numbers of bits of the columns."""
        outputs = self.network(batch.each, batch.common, batch.of_layer, batch.own)
        columns = zip(outputs, batch.values.T, batch.units.T, SCALES, strict=True)
        return torch.stack([count_bits(*column).mean() for column in columns])
