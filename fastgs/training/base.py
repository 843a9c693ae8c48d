"""Base classes of the training stages: optimizer and schedule; drawing of K, and validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning
import torch
from torch import Tensor
from typing_extensions import override

from fastgs.data import Batch, FolderDataModule
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.film import MAX_GAUSSIANS, REFERENCE_PIXELS
from fastgs.models.pretrained import save_weights

# Fewest Gaussians at 512 x 512 that a training image gets.
MIN_GAUSSIANS = 2_500


def _public_name(kind: type) -> str:
    """Return the name that a configuration gives a class, without the module that it lies in."""
    return f"{kind.__module__.rpartition('.')[0]}.{kind.__name__}"


def generators(seeds: Tensor) -> list[torch.Generator]:
    """Make one generator for each sample from the (B,) seeds of a batch."""
    return [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]


def draw_count(
    height: int, width: int, generator: torch.Generator, lowest: int = MIN_GAUSSIANS, highest: int = MAX_GAUSSIANS
) -> int:
    """Draw the number of Gaussians of an image: log-uniform from `lowest` to `highest` at 512 x 512, scaled by area."""
    share = torch.rand((), generator=generator).item()
    equivalent = lowest * (highest / lowest) ** share
    return count_at(equivalent, height, width)


def count_at(equivalent: float, height: int, width: int) -> int:
    """Return the number of Gaussians on a canvas that has the density of `equivalent` of them at 512 x 512."""
    return max(1, round(equivalent * height * width / REFERENCE_PIXELS))


def relative_entropy(log_densities: Tensor) -> Tensor:
    """Return the (B,) entropies of (B, H, W) log densities less that of the uniform density, in nats; at most 0."""
    flat = log_densities.flatten(1)
    return -(flat.exp() * flat).sum(1) - math.log(flat.shape[1])


class TrainedStage(lightning.LightningModule):
    """Base of all stages that learn: AdamW with a linear warm-up and a cosine decay to a hundredth; exported weights.

    Args:
        learning_rate: Learning rate at its peak.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Optimizer steps in which the learning rate rises linearly.
        rate_batch: Number of images of all devices together, in one optimizer step, that the learning rate is for. With
            w times as many, it is multiplied by the square root of w, as suits Adam (Malladi et al., 2022,
            arXiv:2205.10287). None takes it as it is.

    Attributes:
        DATA: Class of the data module that the stage is trained on.
    """

    DATA: ClassVar[type[lightning.LightningDataModule]]

    def __init__(
        self, learning_rate: float, weight_decay: float, warmup_steps: int, rate_batch: int | None = None
    ) -> None:
        super().__init__()
        if rate_batch is not None and rate_batch < 1:
            raise ValueError(f"model.rate_batch: must be at least 1, got {rate_batch}")
        self.rate_batch = rate_batch
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps

    def export(self, path: Path, training: dict[str, Any]) -> None:
        """Write the weights as PATH.safetensors and PATH.json, with a record of the training.

        Raises:
            OSError: The folder is not writable, or the disk is full.
            ValueError: The weights hold NaN or infinity.
        """
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Refuse the data of other stages.

        Raises:
            ValueError: The data module is not a DATA; one line that begins with the argument.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is not None and not isinstance(data, self.DATA):
            raise ValueError(
                f"data.class_path: {type(self).__name__} is trained on {_public_name(self.DATA)}, "
                f"got {type(data).__name__}"
            )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norm of the gradient, and end a run that has diverged before its weights are lost.

        Raises:
            ValueError: The gradient holds NaN or infinity, and not just because float16 scales losses too far.
        """
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if torch.isfinite(norm):
            self.log("train/gradient_norm", norm)
            return
        # Under "16-mixed", losses are scaled up, and down again by and by where gradients overflow. Such steps are left
        # out, as many as it takes to find the scale.
        scaler = getattr(self._trainer and self._trainer.precision_plugin, "scaler", None)
        if scaler is None or scaler.get_scale() <= 1:
            raise ValueError(f"model.learning_rate: the run diverged at step {self.global_step}; lower it")

    def configure_optimizers(self) -> Any:
        """Return AdamW for all parameters that are trained, and its schedule by step."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, self._scale_rate(), weight_decay=self.weight_decay)
        total = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            rise = (step + 1) / (self.warmup_steps + 1)
            progress = min(1.0, max(0, step - self.warmup_steps) / max(1, total - self.warmup_steps))
            return min(1.0, rise) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _scale_rate(self) -> float:
        """Return the learning rate at its peak for the batch of all devices together."""
        batch: int | None = getattr(getattr(self.trainer, "datamodule", None), "batch_size", None)
        if self.rate_batch is None or batch is None:
            return self.learning_rate
        images = batch * self.trainer.world_size * self.trainer.accumulate_grad_batches
        return self.learning_rate * math.sqrt(images / self.rate_batch)


class Stage(TrainedStage):
    """Base of both stages of the networks that place Gaussians: validation.

    Args:
        learning_rate, weight_decay, warmup_steps, rate_batch: Arguments of `TrainedStage`.
        val_counts: Numbers of Gaussians at 512 x 512 that validation images get; on other sizes, equally dense ones.
        val_iterations: Steps of the fit that follows, since only a fit shows what a prediction is worth.
    """

    DATA = FolderDataModule
    networks: LearnedInitializer

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
        val_counts: Sequence[int],
        val_iterations: int,
        rate_batch: int | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, rate_batch)
        self.val_counts = val_counts
        self.val_iterations = val_iterations

    @override
    def export(self, path: Path, training: dict[str, Any]) -> None:
        save_weights(path, self.networks, training)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log PSNR at once and after a short fit, and the entropy of the density, for each K."""
        # `Trainer.validate` is in inference mode, in which nothing can be fitted, and no tensor that was made in it.
        with torch.inference_mode(False), torch.no_grad():
            for equivalent in self.val_counts:
                self._validate(batch._replace(images=batch.images.clone()), equivalent)

    def _validate(self, batch: Batch, equivalent: int) -> None:
        _, _, height, width = batch.images.shape
        counts = [count_at(equivalent, height, width)] * len(batch.images)
        starts = self.networks(batch.images, counts, generators(batch.seeds))
        log_densities = self.networks.log_densities(batch.images, counts)
        self._log_validation(f"entropy_{equivalent}", relative_entropy(log_densities).mean(), batch)
        for image, start in zip(batch.images, starts, strict=True):
            with torch.enable_grad():
                history = fit(image, start, FitOptions(self.val_iterations)).history
            for entry in (history[0], history[-1]):
                self._log_validation(f"psnr_{equivalent}_at_{entry.iteration}", entry.psnr, batch)

    def _log_validation(self, name: str, value: Tensor | float, batch: Batch) -> None:
        self.log(f"val/{name}", value, batch_size=len(batch.images), sync_dist=True, on_epoch=True)
