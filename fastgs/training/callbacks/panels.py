"""Callback that shows what the networks make of validation images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from PIL.Image import Image
from torch import Tensor

from fastgs.data import Batch
from fastgs.initializers.sampling import project
from fastgs.io.files import atomic_write
from fastgs.metrics.quality import psnr
from fastgs.render import render
from fastgs.splats import SplatBatch
from fastgs.training.autoencoder import AutoencoderStage
from fastgs.training.base import Stage, count_at
from fastgs.training.callbacks.wandb import wandb_loggers
from fastgs.training.position import PositionStage
from fastgs.training.targets import optimize
from fastgs.visualize import centres_image, density_image, error_image, strip

_logger = logging.getLogger(__name__)

# Numbers of Gaussians at 512 x 512: those of the densities, and that of all other pictures.
DENSITIES = (2_500, 10_000, 50_000)
SHOWN = 10_000
# Steps of the optimizer to the target density: fewer than in training, so that an image takes a second or two.
TARGET_ITERATIONS = 100


class Panels(Callback):
    """Draws a strip of pictures for each of the first images after each validation.

    The strip shows the input; the densities predicted for three K; the centres of the Gaussians, their rendering and
    its error; and for the first image in Stage I, the density of the places to which a short optimization takes them.
    K is the number at 512 x 512; on other sizes, Gaussians are equally dense. For an autoencoder the strip shows the
    original, the rendering of its Gaussians, and the reconstruction.

    Strips go to wandb if the run is logged there, else to DEFAULT_ROOT_DIR/panels/epoch-EPOCH-STEM.png. The same random
    numbers are used each time, and none of the run's.

    Args:
        images: Number of the first process's validation images that are shown.
    """

    def __init__(self, images: int = 2) -> None:
        self.images = images
        self._shown = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start with the first image again."""
        self._shown = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch | SplatBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw those images of the batch that are among the first; averaged weights, if any, are in place."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        # `Trainer.validate` is in inference mode, in which nothing can be optimized, and no tensor that was made in it.
        with torch.inference_mode(False), torch.no_grad():
            for i in range(min(len(batch.images), self.images - self._shown)):
                if isinstance(pl_module, AutoencoderStage) and isinstance(batch, SplatBatch):
                    panels, stem = draw_autoencoder(pl_module, batch, i), str(self._shown)
                elif isinstance(pl_module, Stage) and isinstance(batch, Batch):
                    panels = draw(pl_module, batch.images[i].clone(), with_target=self._shown == 0)
                    stem = trainer.val_dataloaders.dataset.paths[int(batch.indices[i])].stem  # type: ignore[union-attr]
                else:
                    return
                _save(trainer, strip(panels), stem)
                self._shown += 1


def draw(stage: Stage, image: Tensor, with_target: bool) -> list[tuple[str, Tensor]]:
    """Draw a (3, H, W) image in [0, 1] as (title, (3, H, W) picture) in order; the target in Stage I only."""
    generator = torch.Generator().manual_seed(0)
    _, height, width = image.shape
    panels = [("input", image)]
    for equivalent in DENSITIES:
        count = count_at(equivalent, height, width)
        density = stage.networks.log_densities(image[None], [count])[0].exp()
        panels.append((f"density, K = {count:,}", density_image(density)))
    count = count_at(SHOWN, height, width)
    gaussians = stage.networks(image[None], [count], [generator])[0]
    rendered = render(gaussians)
    panels.append((f"centres, K = {count:,}", centres_image(gaussians, image)))
    panels.append((f"rendering, {psnr(rendered, image):.2f} dB", rendered))
    panels.append(("error", error_image(rendered, image)))
    if with_target and isinstance(stage, PositionStage):
        with torch.enable_grad():
            optimized = optimize(image, gaussians, TARGET_ITERATIONS, generator=generator)
        panels.append((f"target, K = {count:,}", density_image(project(optimized.means, height, width))))
    return panels


def draw_autoencoder(stage: AutoencoderStage, batch: SplatBatch, i: int) -> list[tuple[str, Tensor]]:
    """Draw sample `i` of a batch as (title, (3, H, W) picture) in order."""
    sets, image = stage.sets(batch)[i : i + 1].clone(), batch.pixels[i]
    pictures = [("original", image)]
    for name, each in {"splats": sets, "reconstruction": stage.network(sets)}.items():
        rendered = stage.rendered(each)[0]
        pictures.append((f"{name}, {psnr(rendered, image):.2f} dB", rendered))
    return pictures if stage.content == "splats" else [pictures[0], pictures[2]]


def _save(trainer: Trainer, picture: Image, stem: str) -> None:
    """Log a picture to wandb, or write it to a file."""
    loggers = wandb_loggers(trainer)
    for logger in loggers:
        logger.log_image(f"panels/{stem}", [picture], trainer.global_step)
    if not loggers:
        path = Path(trainer.default_root_dir, "panels", f"epoch-{trainer.current_epoch}-{stem}.png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                picture.save(temporary)
        except OSError as error:  # this is no reason to end a run
            _logger.warning("%s: cannot be written (%s)", path, error.strerror)
