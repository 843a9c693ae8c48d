"""Stage II: trains the attribute network end to end through the rasterizer; the position network is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.data import Batch
from fastgs.models import AttributeNetwork
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.pretrained import load_weights, save_weights, training_of
from fastgs.training.base import Stage, draw_count, generators


class AttributeStage(Stage):
    """Trains the attribute network.

    Args:
        position_weights: Weights that Stage I exported: a name in checkpoints/ or a path.
        encoder, depth, width, blocks, passes, encoder_weights, conditioned: Arguments of
            `fastgs.models.AttributeNetwork`.
        learning_rate, weight_decay, warmup_steps, val_counts, val_iterations, rate_batch: Arguments of `Stage`.
    """

    def __init__(
        self,
        position_weights: str,
        encoder: str = "tu-resnet18d",
        depth: int = 3,
        width: int = 32,
        blocks: int = 1,
        passes: int = 4,
        encoder_weights: str | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        warmup_steps: int = 100,
        val_counts: Sequence[int] = (10_000, 50_000),
        val_iterations: int = 20,
        conditioned: bool = True,
        rate_batch: int | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, val_counts, val_iterations, rate_batch)
        self.save_hyperparameters()
        training = training_of(position_weights)
        # Weights of both networks record the training of the position network inside that of the attribute network.
        self.position_training = training.get("position", training)
        self.networks = LearnedInitializer(
            load_weights(position_weights).requires_grad_(False).position,
            AttributeNetwork(encoder, depth, width, blocks, passes, encoder_weights, conditioned),
        )

    @override
    def export(self, path: Path, training: dict[str, Any]) -> None:
        save_weights(path, self.networks, training | {"position": self.position_training})

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Place Gaussians by the frozen network, correct them, and compare their rendering after each pass."""
        _, _, height, width = batch.images.shape
        sources = generators(batch.seeds)
        counts = [draw_count(height, width, source) for source in sources]
        densities = self.networks.densities(batch.images, counts)
        placed = self.networks.place(batch.images, densities, counts, sources)
        passes = self.networks.correct(batch.images, densities, placed)
        errors = [(each.render() - batch.images).square().flatten(1).mean(1) for each in passes]
        # The mean of logarithms, as in the mean PSNR: every image and every K weighs the same.
        decibels = torch.stack([-10 * error.log10().mean() for error in errors])
        self.log("train/psnr", decibels[-1], prog_bar=True, batch_size=len(batch.images))
        return -decibels.mean()
