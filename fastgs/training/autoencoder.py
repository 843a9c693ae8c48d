"""Autoencoders of datasets of Gaussians, trained on their parameters, on their renderings, or on both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from fastgs.autoencoders.components import set_components
from fastgs.autoencoders.networks import Model, WeightInit, build_autoencoder
from fastgs.autoencoders.pretrained import Content, TrainedAutoencoder, pixel_sets, save_autoencoder, set_shape
from fastgs.metrics.quality import psnr
from fastgs.splats import SplatBatch, SplatDataModule
from fastgs.splats.channels import attribute_slices
from fastgs.training.base import TrainedStage

# Smallest mean squared error in the loss (100 dB): images below it are not improved.
MIN_ERROR = 1e-10


class AutoencoderStage(TrainedStage):
    """Trains an autoencoder.

    The loss is `parameter_weight` times the mean squared error of the normalized parameters, plus `rendering_weight`
    times the mean over images of the logarithm of the mean squared error of the rendered image, compared with the
    original pixels (as in the mean PSNR). If the content is pixels, they are the parameters, and the image needs no
    rendering. Images have the channels of the dataset, for which the network is built.

    The stage logs `val/psnr`, the mean over images of the PSNR in dB of the rendered image, and `val/parameter_mse`; in
    a test, the same for the test images.

    Args:
        model: Kind of network, a name in `fastgs.autoencoders.networks.NETWORKS`.
        content: "splats", or as a baseline "pixels".
        per_attribute: Use a network of its own for each attribute of the Gaussians (see
            `fastgs.splats.channels.attribute_slices`); they share the latents.
        latent, width, dropout, batch_norm, weight_init: Arguments of
            `fastgs.autoencoders.base.SingleAutoencoder`.
        parameter_weight: Weight of the loss of parameters; 0 leaves it out.
        rendering_weight: Weight of the loss of renderings; 0 leaves it out.
        learning_rate, weight_decay, warmup_steps, rate_batch: Arguments of `TrainedStage`.

    Raises:
        ValueError: An argument is out of range; those of the network are checked when a run is set up. One line.
    """

    DATA = SplatDataModule
    autoencoder: TrainedAutoencoder

    def __init__(
        self,
        model: Model = "conv",
        content: Content = "splats",
        per_attribute: bool = False,
        latent: int = 256,
        width: int = 32,
        dropout: float = 0.0,
        batch_norm: bool = True,
        weight_init: WeightInit = "default",
        parameter_weight: float = 1.0,
        rendering_weight: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 100,
        rate_batch: int | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, rate_batch)
        for name, weight in {"parameter_weight": parameter_weight, "rendering_weight": rendering_weight}.items():
            if weight < 0:
                raise ValueError(f"model.{name}: must be at least 0, got {weight}")
        if parameter_weight == rendering_weight == 0:
            raise ValueError("model.parameter_weight: nothing is learned if model.rendering_weight is 0, too")
        if per_attribute and content == "pixels":
            raise ValueError("model.per_attribute: pixels have only one attribute; set false")
        self.save_hyperparameters()
        self.model: Model = model
        self.content: Content = content
        self.per_attribute = per_attribute
        self.options = {"width": width, "dropout": dropout, "batch_norm": batch_norm, "weight_init": weight_init}
        self.latent = latent
        self.parameter_weight = parameter_weight
        self.rendering_weight = rendering_weight

    def configure_model(self) -> None:
        """Build the network for the data, once.

        Raises:
            ValueError: The data or an argument does not suit the network; one line that begins with the argument.
        """
        if hasattr(self, "autoencoder"):
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        dataset = next(iter(data.datasets.values()))
        height, width = dataset.height, dataset.width
        try:
            rows, columns, channels = set_shape(self.content, dataset.num_gaussians, height, width, dataset.colors)
        except ValueError as error:
            raise ValueError(f"data.folder: {error}") from error
        groups = [channels]
        if self.per_attribute:
            slices = attribute_slices(dataset.normalization.parameters, dataset.colors)
            groups = [part.stop - part.start for part in slices.values()]
        try:
            self.network = build_autoencoder(
                self.model, groups, self.latent, rows=rows, columns=columns, **self.options
            )
        except ValueError as error:
            raise ValueError(f"model.{error}") from error
        normalization = dataset.normalization if self.content == "splats" else None
        self.autoencoder = TrainedAutoencoder(self.content, self.network, height, width, normalization)
        if "train" in data.datasets:  # the weights of a checkpoint are read later and replace these
            set_components(self.network, data.datasets["train"], self.sets, self.rendered)

    @override
    def export(self, path: Path, training: dict[str, Any]) -> None:
        save_autoencoder(path, self.autoencoder, training)

    def training_step(self, batch: SplatBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, and log its parts."""
        sets = self.sets(batch)
        outputs: Tensor = self.network(sets)
        loss = outputs.new_zeros(())
        if self.parameter_weight:
            error = functional.mse_loss(outputs, sets)
            loss = loss + self.parameter_weight * error
            self.log("train/parameter_mse", error, batch_size=len(sets))
        if self.rendering_weight:
            errors = (self.rendered(outputs) - batch.pixels).square().mean((1, 2, 3))
            logarithm = errors.clamp(min=MIN_ERROR).log().mean()
            loss = loss + self.rendering_weight * logarithm
            self.log("train/psnr", -10 / math.log(10) * logarithm, prog_bar=True, batch_size=len(sets))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(sets))
        return loss

    def validation_step(self, batch: SplatBatch, batch_idx: int) -> None:
        """Log how well validation images are reconstructed."""
        self._measure(batch, "val")

    def test_step(self, batch: SplatBatch, batch_idx: int) -> None:
        """Log how well test images are reconstructed."""
        self._measure(batch, "test")

    def sets(self, batch: SplatBatch) -> Tensor:
        """Return the (B, K, C) sets in [-1, 1] that the network is given of a batch."""
        return batch.inputs if self.content == "splats" else pixel_sets(batch.pixels)

    def rendered(self, sets: Tensor) -> Tensor:
        """Return the (B, D, H, W) images, not clamped, of sets that the network is given or returns; differentiable."""
        return self.autoencoder.rendered(self.autoencoder.restored(sets))

    def _measure(self, batch: SplatBatch, name: str) -> None:
        sets = self.sets(batch)
        outputs: Tensor = self.network(sets)
        scores = [psnr(*pair) for pair in zip(self.rendered(outputs), batch.pixels, strict=True)]
        measures = {
            f"{name}/psnr": torch.tensor(scores).mean(),
            f"{name}/parameter_mse": functional.mse_loss(outputs, sets),
        }
        self.log_dict(measures, batch_size=len(sets), sync_dist=True, on_epoch=True)
