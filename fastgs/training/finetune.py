"""Refinement: the Gaussians that the networks predict are fitted to their image, over a whole dataset."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import RichProgressBar
from rich.markup import escape
from torch import Tensor

from fastgs.data import Batch
from fastgs.fitting.densification import relocation
from fastgs.fitting.fit import DEFAULT_ITERATIONS, LOSSES, HistoryEntry, fit
from fastgs.io.files import atomic_write
from fastgs.metrics.quality import ms_ssim
from fastgs.models.pretrained import load_weights

Record = dict[str, Any]


class FinetuneStage(lightning.LightningModule):
    """Predicts the Gaussians of images and refines them; for `Trainer.test`, as it learns nothing.

    The images are shared out to the devices, and all numbers are of all of them. What an image gives depends neither
    on how many devices there are nor on the other images, and repeats exactly on the same machine, in float32 whatever
    the precision of the trainer. Images that cannot be read are left out.

    Logs `test/psnr_K_at_N`, the mean PSNR in dB over the images after N iterations with K Gaussians, and the same as
    curves `test/psnr_K` over iterations; `test/seconds_K`, the mean time of an image; and `test/images_per_second`,
    each image counted once for each K.

    Args:
        weights: trained networks: a name in checkpoints/ or a path.
        counts: each K that every image gets; whatever its size, exactly as many.
        iterations: number of steps of each fit, from 0 up.
        output: folder for STEM-K.safetensors of each image and report.json, a list of one record for each image and K;
            None writes nothing.
        loss: a name in `fastgs.fitting.fit.LOSSES`.

    Raises:
        ValueError: an argument is out of range; or, when the test begins, the output is not usable. One line.
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
        if iterations < 0:
            raise ValueError(f"model.iterations: must be at least 0, got {iterations}")
        if loss not in LOSSES:
            raise ValueError(f"model.loss: expected one of {', '.join(LOSSES)}, got {loss!r}")
        self.save_hyperparameters()
        self.weights = weights
        self.counts = counts
        self.iterations = iterations
        self.output = None if output is None else Path(output)
        self.loss = loss
        self.networks = load_weights(weights).requires_grad_(False)
        self.records: list[Record] = []
        self.started = 0.0

    def on_test_start(self) -> None:
        """Look at what would make the output fail, before any work is done."""
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

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Predict and refine each image of the batch with each K."""
        # Lightning tests in inference mode, in which nothing can be fitted, nor what was made in it.
        with torch.inference_mode(False), torch.autocast(self.device.type, enabled=False):
            samples = zip(batch.images.clone(), batch.indices.tolist(), batch.seeds.tolist(), strict=True)
            for i, (image, index, seed) in enumerate(samples):
                if index == self._place(batch_idx, i):  # else it stands in for an unreadable one, and has its own turn
                    path = self._paths()[index]
                    self.records += [self._refine(image, path, count, seed) for count in self.counts]

    def on_test_epoch_end(self) -> None:
        """Bring the records of all devices together, log their means and write the report."""
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
                iteration, psnr = entries[0].iteration, sum(entry.psnr for entry in entries) / len(entries)
                metrics[f"test/psnr_{count}_at_{iteration}"] = psnr
                curves.setdefault(iteration, {})[f"test/psnr_{count}"] = psnr
        self.log_dict(metrics, sync_dist=True)
        for logger in self.loggers:
            for iteration, values in curves.items():
                logger.log_metrics(values, step=iteration)
        if self.output is not None and self.trainer.is_global_zero:
            lines = ",\n".join(json.dumps(record, allow_nan=False) for record in records)
            with atomic_write(self.output / "report.json") as temporary:
                temporary.write_bytes(f"[\n{lines}\n]\n".encode())

    def _paths(self) -> list[Path]:
        """The image files, by index."""
        loader: Any = self.trainer.test_dataloaders
        paths: list[Path] = loader.dataset.paths
        return paths

    def _place(self, batch_idx: int, i: int) -> int:
        """Whose turn sample `i` of a batch is, among all images; see `fastgs.data.EpochSampler`."""
        loader: Any = self.trainer.test_dataloaders
        turn: int = batch_idx * loader.batch_size + i
        return turn * self.trainer.world_size + self.global_rank

    def _refine(self, image: Tensor, path: Path, count: int, seed: int) -> Record:
        """Predict, fit, save; what the report says of it."""

        def show(entry: HistoryEntry) -> None:
            self._show(f"{path.name}  K = {count}  iteration {entry.iteration}  {entry.psnr:.2f} dB")

        start = time.perf_counter()
        generator = torch.Generator().manual_seed(seed)
        initial = self.networks.initialize(image, count, generator)
        seconds_init = time.perf_counter() - start
        with torch.enable_grad():
            result = fit(
                image,
                initial,
                iterations=self.iterations,
                loss=self.loss,
                densification=relocation(initial, generator),
                callback=show,
            )
        if self.output is not None:
            result.gaussians.save(self.output / f"{path.stem}-{count}.safetensors")
        return {
            "image": str(path),
            "height": image.shape[1],
            "width": image.shape[2],
            "num_gaussians": len(result.gaussians),
            "iterations": result.history[-1].iteration,
            "init": "learned",
            "weights": self.weights,
            "seed": seed,
            "blend": result.gaussians.blend,
            "loss": self.loss,
            "psnr_init": result.history[0].psnr,
            "psnr": result.history[-1].psnr,
            "ms_ssim": ms_ssim(result.image.clamp(0, 1), image),
            "seconds_init": seconds_init,
            "seconds_fit": result.history[-1].seconds,
            "history": result.history,
            "fastgs": version("fastgs"),
        }

    def _show(self, text: str) -> None:
        """Put it on the progress bar, which has no place for metrics in a test."""
        bar = self.trainer.progress_bar_callback
        if isinstance(bar, RichProgressBar) and bar.progress is not None and bar.test_progress_bar_id is not None:
            bar.progress.update(bar.test_progress_bar_id, description=escape(text))
            bar.refresh()


def _gather(records: list[Record]) -> list[Record]:
    """The records of all processes, in an order that does not depend on how many there are."""
    parts = [records]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts = [[] for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather_object(parts, records)
    return sorted(
        (record for part in parts for record in part), key=lambda each: (each["image"], each["num_gaussians"])
    )
