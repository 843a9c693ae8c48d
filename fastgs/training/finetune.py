"""Refinement of a dataset: the Gaussians that the networks predict are fitted to their image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import RichProgressBar
from rich.markup import escape
from torch import Tensor
from typing_extensions import override

from fastgs.data import Batch
from fastgs.fitting.fit import HistoryEntry
from fastgs.fitting.options import DEFAULT_ITERATIONS, FitOptions
from fastgs.io.records import write_records
from fastgs.methods import LEARNED
from fastgs.methods.fastgs import make_method
from fastgs.methods.report import Record, describe
from fastgs.models.pretrained import load_weights


class FinetuneStage(lightning.LightningModule):
    """Predicts the Gaussians of images and refines them; for `Trainer.test`, as it learns nothing.

    The images are shared out to the devices, and all numbers are of all of them. What an image gives depends neither
    on how many devices there are nor on the other images, and repeats exactly on the same machine, in float32 whatever
    the precision of the trainer. Images that cannot be read are left out.

    Logs `test/psnr_K_at_N`, the mean PSNR in dB over the images after N iterations with K Gaussians, and the same as
    curves `test/psnr_K` over iterations; `test/seconds_K`, the mean time of an image; and `test/images_per_second`,
    each image counted once for each K.

    Args:
        weights: Trained networks: a name in checkpoints/ or a path.
        counts: Each K that every image gets; whatever its size, exactly as many.
        iterations: Number of steps of each fit, from 0 up.
        output: Folder for STEM-K.safetensors of each image and report.json, a list of one record for each image and K;
            None writes nothing.
        loss: Name in `fastgs.fitting.losses.LOSSES`.

    Raises:
        ValueError: An argument is out of range; or, when the test begins, the output is not usable. One line.
    """

    def __init__(
        self,
        weights: str = "base",
        counts: Sequence[int] = (10_000, 50_000),
        iterations: int = DEFAULT_ITERATIONS,
        output: str | None = None,
        loss: str = "mse",
    ) -> None:
        super().__init__()
        if not counts or min(counts) < 1 or len(set(counts)) < len(counts):
            raise ValueError(f"model.counts: expected different integers of at least 1, got {list(counts)}")
        try:
            FitOptions(iterations, loss=loss)
        except ValueError as error:
            raise ValueError(f"model.{error}") from error
        self.save_hyperparameters()
        self.weights = weights
        self.counts = counts
        self.iterations = iterations
        self.output = None if output is None else Path(output)
        self.loss = loss
        self.networks = load_weights(weights).requires_grad_(False)
        self._method = make_method(self.networks.initialize, networks=lambda: (self.networks,))
        self.records: list[Record] = []
        self.started = 0.0

    @override
    def on_test_start(self) -> None:
        # Whatever would make the output fail shows before any work is done.
        self.records = []
        self.started = time.perf_counter()
        if self.output is None:
            return
        first: dict[str, Path] = {}
        for path in self._paths():
            if first.setdefault(path.stem, path) != path:
                raise ValueError(
                    f"data.predict: {path} and {first[path.stem]} would give files of one name; rename one"
                )
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"model.output: cannot write to {self.output} ({error.strerror})") from error

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        # Lightning tests in inference mode, in which nothing can be fitted, nor what was made in it.
        with torch.inference_mode(False), torch.autocast(self.device.type, enabled=False):
            samples = zip(batch.images.clone(), batch.indices.tolist(), batch.seeds.tolist(), strict=True)
            for i, (image, index, seed) in enumerate(samples):
                if index == self._place(batch_idx, i):  # else it stands in for an unreadable one, and has its own turn
                    path = self._paths()[index]
                    self.records += [self._refine(image, path, count, seed) for count in self.counts]

    @override
    def on_test_epoch_end(self) -> None:
        records = _gather(self.records)
        if not records:
            raise ValueError("data.predict: none of the images that were asked for can be read; see the warnings")
        elapsed = time.perf_counter() - self.started
        metrics = {"test/images_per_second": len(records) / elapsed}
        curves: dict[int, dict[str, float]] = {}
        for count in self.counts:
            chosen = [record for record in records if record["num_gaussians"] == count]
            seconds = [record["seconds_init"] + record["seconds_fit"] for record in chosen]
            metrics[f"test/seconds_{count}"] = sum(seconds) / len(chosen)
            for entries in zip(*(record["history"] for record in chosen), strict=True):
                (iteration, *_), psnr = entries[0], sum(quality for *_, quality in entries) / len(entries)
                metrics[f"test/psnr_{count}_at_{iteration}"] = psnr
                curves.setdefault(iteration, {})[f"test/psnr_{count}"] = psnr
        self.log_dict(metrics, sync_dist=True)
        for logger in self.loggers:
            for iteration, values in curves.items():
                logger.log_metrics(values, step=iteration)
        if self.output is not None and self.trainer.is_global_zero:
            write_records(self.output / "report.json", records)

    def _paths(self) -> list[Path]:
        """Return the image files, by index."""
        loader: Any = self.trainer.test_dataloaders
        paths: list[Path] = loader.dataset.paths
        return paths

    def _place(self, batch_idx: int, i: int) -> int:
        """Return the index, among all images, of the one whose turn sample `i` of a batch is (`data.EpochSampler`)."""
        loader: Any = self.trainer.test_dataloaders
        turn: int = batch_idx * loader.batch_size + i
        return turn * self.trainer.world_size + self.global_rank

    def _refine(self, image: Tensor, path: Path, count: int, seed: int) -> Record:
        """Predict, fit and save the Gaussians of one image; return their record."""

        def show(entry: HistoryEntry) -> None:
            self._show(f"{path.name}  K = {count}  iteration {entry.iteration}  {entry.psnr:.2f} dB")

        options = FitOptions(self.iterations, loss=self.loss)
        with torch.enable_grad():
            result = self._method(image, count, options, seed=seed, callback=show)
        if self.output is not None:
            result.gaussians.save(self.output / f"{path.stem}-{count}.safetensors")
        return describe(result, image=path, init=LEARNED, weights=self.weights, seed=seed, loss=self.loss)

    def _show(self, text: str) -> None:
        """Put text on the progress bar, which has no place for metrics in a test."""
        bar = self.trainer.progress_bar_callback
        if isinstance(bar, RichProgressBar) and bar.progress is not None and bar.test_progress_bar_id is not None:
            bar.progress.update(bar.test_progress_bar_id, description=escape(text))
            bar.refresh()


def _gather(records: list[Record]) -> list[Record]:
    """Return the records of all processes, in an order that does not depend on how many there are."""
    parts = [records]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts = [[] for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather_object(parts, records)
    return sorted(
        (record for part in parts for record in part), key=lambda each: (each["image"], each["num_gaussians"])
    )
