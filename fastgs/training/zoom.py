"""Trains the network of zooming: Gaussians of a small image, compared with the large one through the rasterizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.data import ZoomBatch, ZoomDataModule
from fastgs.io.resampling import Filter, interpolate
from fastgs.models.zoom import ZoomNetwork, save_zoom
from fastgs.training.base import TrainedStage


class ZoomStage(TrainedStage):
    """Trains `ZoomNetwork` on pairs of small and large images.

    Args:
        width: Number of channels of the convolutions.
        blocks: Number of residual blocks.
        filter: Filter that the network assumes; that of the data.
        learning_rate, weight_decay, warmup_steps, rate_batch: Arguments of `TrainedStage`.
    """

    DATA = ZoomDataModule

    def __init__(
        self,
        width: int = 48,
        blocks: int = 8,
        filter: Filter = "bicubic",
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 200,
        rate_batch: int | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, rate_batch)
        self.save_hyperparameters()
        self.network = ZoomNetwork(width, blocks, filter)

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is not None and data.filter != self.network.filter:
            raise ValueError(f"model.filter: {self.network.filter!r} is not data.filter, {data.filter!r}")

    @override
    def export(self, path: Path, training: dict[str, Any]) -> None:
        save_zoom(path, self.network, training)

    def training_step(self, batch: ZoomBatch, batch_idx: int) -> Tensor:
        """Return the mean absolute error of the rendering at the large size.

        The rendering agrees with the small image by construction, see `make_consistent`, so nothing is lost there.
        """
        errors = self._render(batch) - batch.large
        self.log("train/psnr", -10 * errors.detach().square().mean().log10(), prog_bar=True)
        return errors.abs().mean()

    def validation_step(self, batch: ZoomBatch, batch_idx: int) -> None:
        """Log the PSNR of the enlarged images, and how much it is above that of bicubic interpolation."""
        enlarged = self._render(batch).clamp(0, 1)
        _, _, height, width = batch.large.shape
        plain = torch.stack([interpolate(each, height, width).clamp(0, 1) for each in batch.small])
        psnr, bicubic = (
            -10 * (each - batch.large).square().flatten(1).mean(1).log10().mean() for each in (enlarged, plain)
        )
        for name, value in {"psnr": psnr, "gain": psnr - bicubic}.items():
            self.log(f"val/{name}", value, batch_size=len(batch.large), sync_dist=True, on_epoch=True, prog_bar=True)

    def _render(self, batch: ZoomBatch) -> Tensor:
        _, _, height, width = batch.large.shape
        return self.network.render(batch.small, height, width)
