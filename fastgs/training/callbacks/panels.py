"""What the networks make of validation images, as pictures."""

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

# K at 512 x 512 of the densities, and of all else.
DENSITIES = (2_500, 10_000, 50_000)
SHOWN = 10_000
# Steps of the optimizer to the target density: fewer than in training, as one image is to take a second or two.
TARGET_ITERATIONS = 100


class Panels(Callback):
    """After each validation, one strip of pictures for each of the first images.

    Input; densities predicted for three K; centres of the Gaussians, their rendering and its error; and for the first
    image in Stage I, the density of where a short optimization takes them. Each K is that at 512 x 512, and of the same
    density on other sizes. Of an autoencoder: the original, the rendering of its Gaussians, and the reconstruction.

    They go to wandb if the run is logged there, else to DEFAULT_ROOT_DIR/panels/epoch-EPOCH-STEM.png. The same random
    numbers are used each time, and none of the run's.

    Args:
        images: how many of the first process's validation images are shown.
    """

    def __init__(self, images: int = 2) -> None:
        self.images = images
        self._shown = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the first image again."""
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
        """Show what images of this batch are among the first, while averaged weights, if any, are in place."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        # `Trainer.validate` is in inference mode, in which nothing can be optimized, nor what was made in it.
        with torch.inference_mode(False), torch.no_grad():
            for i in range(min(len(batch.images), self.images - self._shown)):
                if isinstance(pl_module, AutoencoderStage) and isinstance(batch, SplatBatch):
                    panels, stem = draw_autoencoder(pl_module, batch, i), str(self._shown)
                elif isinstance(pl_module, Stage) and isinstance(batch, Batch):
                    panels = draw(pl_module, batch.images[i].clone(), with_target=self._shown == 0)
                    stem = trainer.val_dataloaders.dataset.paths[int(batch.indices[i])].stem  # type: ignore[union-attr]
                else:
                    return
                _keep(trainer, strip(panels), stem)
                self._shown += 1


def draw(stage: Stage, image: Tensor, with_target: bool) -> list[tuple[str, Tensor]]:
    """(title, (3, H, W) picture) in order, of a (3, H, W) image in [0, 1]; the target in Stage I only."""
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
    """(title, (3, H, W) picture) in order, of sample `i` of a batch."""
    sets, image = stage.sets(batch)[i : i + 1].clone(), batch.pixels[i]
    pictures = [("original", image)]
    for name, each in {"splats": sets, "reconstruction": stage.network(sets)}.items():
        rendered = stage.rendered(each)[0]
        pictures.append((f"{name}, {psnr(rendered, image):.2f} dB", rendered))
    return pictures if stage.content == "splats" else [pictures[0], pictures[2]]


def _keep(trainer: Trainer, picture: Image, stem: str) -> None:
    loggers = wandb_loggers(trainer)
    for logger in loggers:
        logger.log_image(f"panels/{stem}", [picture], trainer.global_step)
    if not loggers:
        path = Path(trainer.default_root_dir, "panels", f"epoch-{trainer.current_epoch}-{stem}.png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                picture.save(temporary)
        except OSError as error:  # no reason to end a run
            _logger.warning("%s: cannot be written (%s)", path, error.strerror)
