"""Stage I: trains the position network on where an optimizer takes its samples: optimize, project, repeat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.data import Batch
from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature
from fastgs.initializers.sampling import project
from fastgs.models import PositionNetwork
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.training.base import Stage, draw_count, generators
from fastgs.training.targets import TargetStore, optimize

DensityLoss = Literal["cross_entropy", "mse"]


def density_loss(log_densities: Tensor, targets: Tensor, kind: DensityLoss) -> Tensor:
    """Return the loss of predicted densities, as the mean over a batch.

    Args:
        log_densities: (B, H, W) logarithms of the predictions, which sum to 1.
        targets: (B, H, W) target densities, which sum to 1.
        kind: "cross_entropy" is `-sum_x target log prediction` less its value for the uniform density, in nats: a
            proper score of a distribution. "mse" is as published (Fast-2DGS, equation 6): the mean squared difference
            of both densities, each scaled to a maximum of 1.
    """
    if kind == "cross_entropy":
        uniform = torch.tensor(float(targets[0].numel())).log()
        return -(targets * (log_densities + uniform)).sum((1, 2)).mean()
    predictions = (log_densities - log_densities.amax((1, 2), keepdim=True)).exp()
    return functional.mse_loss(predictions, targets / targets.amax((1, 2), keepdim=True))


class PositionStage(Stage):
    """Trains the position network.

    The images must be the same in every epoch (`random_crop: false`, `flip: false`, `repeat: 1`), since the optimizer
    goes on from where it stood when an image was last seen with the same K. For a run to be resumed exactly, its
    checkpoint may be `slots` epochs old at most.

    Args:
        targets: Folder where the optimized Gaussians are kept, about 32 bytes for each.
        slots: Number of different K for each image.
        iterations: Steps of the optimizer each time a target is visited; below 60 it relocates nothing.
        anchor: Share of the heuristic density in the targets, in [0, 1). Gaussians are best started not quite where
            they end, least of all when they are few: half and half is as good as either at any K, and better at most
            (benchmarks/LOG.md). 0 is as published.
        loss: Kind of the loss, see `density_loss`.
        encoder, depth, width, blocks, encoder_weights, conditioned: Arguments of `fastgs.models.PositionNetwork`.
        learning_rate, weight_decay, warmup_steps, val_counts, val_iterations, rate_batch: Arguments of `Stage`.
    """

    def __init__(
        self,
        targets: str = "targets",
        slots: int = 4,
        iterations: int = 200,
        anchor: float = 0.5,
        loss: DensityLoss = "cross_entropy",
        encoder: str = "tu-resnet18d",
        depth: int = 4,
        width: int = 32,
        blocks: int = 1,
        encoder_weights: str | None = None,
        learning_rate: float = 5e-4,
        weight_decay: float = 1e-2,
        warmup_steps: int = 100,
        val_counts: Sequence[int] = (10_000, 50_000),
        val_iterations: int = 20,
        conditioned: bool = True,
        rate_batch: int | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, val_counts, val_iterations, rate_batch)
        self.save_hyperparameters()
        self.loss: DensityLoss = loss
        self.anchor = anchor
        self.slots = slots
        self.iterations = iterations
        self.store = TargetStore(Path(targets))
        self.networks = LearnedInitializer(PositionNetwork(encoder, depth, width, blocks, encoder_weights, conditioned))

    def on_fit_start(self) -> None:
        """Refuse data that change from epoch to epoch, and a folder of targets that is not one for all processes.

        Raises:
            ValueError: The data crop or mirror at random, or repeat images, or processes see different folders; one
                line that begins with the argument.
        """
        self.store.check_shared(self.trainer.strategy)
        data: Any = getattr(self.trainer, "datamodule", None)
        for name, wanted in {"random_crop": False, "flip": False, "repeat": 1}.items():
            if getattr(data, name, wanted) != wanted:
                raise ValueError(
                    f"data.{name}: Stage I keeps targets from epoch to epoch, for which the images must stay as they "
                    f"are; set {str(wanted).lower()}"
                )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Visit the target of each image, carry it on, and compare its projection with the prediction."""
        _, _, height, width = batch.images.shape
        slot, visit = self.current_epoch % self.slots, self.current_epoch // self.slots
        # The K of an image in a slot does not depend on the epoch, or nothing could be kept.
        counts = [
            draw_count(height, width, torch.Generator().manual_seed(index * self.slots + slot))
            for index in batch.indices.tolist()
        ]
        images, targets = [], []
        densities = curvature.densities(batch.images, counts)
        for i, (count, generator) in enumerate(zip(counts, generators(batch.seeds), strict=True)):
            target = project(self._optimize(batch, i, count, slot, visit).means, height, width)
            target = torch.lerp(target, densities[i], self.anchor)
            # The target belongs to the image as it is, but what is learned from it holds for the mirror images too.
            axes = [axis for axis in (-1, -2) if torch.rand((), generator=generator) < 0.5]
            images.append(batch.images[i].flip(axes))
            targets.append(target.flip(axes))
        log_densities = self.networks.log_densities(torch.stack(images), counts)
        loss = density_loss(log_densities, torch.stack(targets), self.loss)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.images))
        return loss

    @torch.no_grad()
    def _optimize(self, batch: Batch, i: int, count: int, slot: int, visit: int) -> Gaussians:
        """Optimize the Gaussians of sample `i` further, from the last visit or else from the network's prediction."""
        index, generator = int(batch.indices[i]), generators(batch.seeds)[i]
        start = self.store.load(index, slot, visit - 1)
        if start is None or len(start) != count:
            start = self.networks(batch.images[i : i + 1], [count], [generator])[0]
        with torch.enable_grad():
            optimized = optimize(batch.images[i], start, self.iterations, generator=generator)
        self.store.save(index, slot, visit, optimized)
        return optimized
