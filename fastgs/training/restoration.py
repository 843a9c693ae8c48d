"""Trains the network of restoration: drawings of files, compared with the photos that they were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from typing_extensions import override

from fastgs.codec.restoration import FORMAT, GRAY, PLANES, VERSION
from fastgs.definition import CHANNELS
from fastgs.io.checkpoints import read_arrays
from fastgs.io.weights import find_weights, write_pair
from fastgs.models.restoration import RestorationNetwork
from fastgs.training.base import TrainedStage
from fastgs.training.pairs import PairBatch, PairDataModule


class RestorationStage(TrainedStage):
    """Trains `RestorationNetwork` on pairs of files and photos.

    Args:
        width: Number of channels of the layers.
        blocks: Number of residual blocks.
        weights: Path, or name in checkpoints/, of trained weights to begin with; None begins at random.
        learning_rate, weight_decay, warmup_steps: Arguments of `TrainedStage`.

    Raises:
        ValueError: An argument is out of range; one line that begins with the argument.
    """

    DATA = PairDataModule

    def __init__(
        self,
        width: int = 30,
        blocks: int = 2,
        weights: str | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 100,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps)
        self.save_hyperparameters()
        self.network = RestorationNetwork(PLANES, width, blocks)
        if weights is not None:
            try:
                arrays = read_arrays(find_weights(weights), FORMAT, VERSION, "network of restoration")
                self.network.load_exported(arrays)
            except (ValueError, FileNotFoundError) as error:
                raise ValueError(f"model.weights: {error}") from error

    @override
    def export(self, path: Path, training: dict[str, Any]) -> None:
        info = {"format": FORMAT, "version": VERSION, "network": self.network.arguments, "training": training}
        write_pair(path, {name: weights.half() for name, weights in self.network.state_dict().items()}, info)

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Return the mean squared error, that of each crop in units of the error of its whole file."""
        drawn, restored = self._restore(batch)
        before, after = (
            ((image - batch.images).square().mean((1, 2, 3)) / batch.errors).mean() for image in (drawn, restored)
        )
        self.log("train/gain", 10 * (before / after.detach()).log10(), prog_bar=True, batch_size=len(drawn))
        return after

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Log the PSNR of the restored images, and how much it is above that of the drawings."""
        psnrs = [
            -10 * (image.clamp(0, 1) - batch.images).square().mean((1, 2, 3)).log10().mean()
            for image in self._restore(batch)
        ]
        for name, value in {"psnr": psnrs[1], "gain": psnrs[1] - psnrs[0]}.items():
            self.log(f"val/{name}", value, batch_size=1, sync_dist=True, on_epoch=True, prog_bar=True)

    def _restore(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Return the (B, 3, H, W) drawings, and the restored images."""
        drawn = batch.planes[:, :CHANNELS] + GRAY
        return drawn, drawn + self.network(batch.planes)
