"""Callback that measures the speed of training, and the share of waiting for data."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from fastgs.data import Batch


class Throughput(Callback):
    """Logs `train/images_per_second`, of all devices together, and `train/waiting`, a share of the time in [0, 1].

    Both are measured over the last `log_every_n_steps` steps. Waiting is the time between two steps: loading, as far as
    it is not done beforehand, and moments for logging and checkpoints; validation does not count. On a GPU, steps are
    only queued, so single times mean little, but their sum over many steps is right, and a slow loader still shows.

    Lightning's ThroughputMonitor does not measure the waiting, makes the GPU idle after each step, and keeps its
    results from the progress bar.
    """

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float, int]] = deque()  # seconds of waiting, seconds in all, images
        self._ended = self._began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the steps of an earlier run."""
        self._steps = deque(maxlen=max(1, trainer.log_every_n_steps))  # type: ignore[attr-defined]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the clock, so that the time between epochs does not count."""
        self._ended = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the clock, so that validation does not count."""
        self._ended = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Note the end of the waiting."""
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the rates."""
        now = time.perf_counter()
        self._steps.append((self._began - self._ended, now - self._ended, len(batch.images)))
        self._ended = now
        waiting, seconds, images = (sum(values) for values in zip(*self._steps, strict=True))
        size = len(batch.images)
        pl_module.log("train/images_per_second", images / seconds * trainer.world_size, prog_bar=True, batch_size=size)
        pl_module.log("train/waiting", waiting / seconds, batch_size=size)
