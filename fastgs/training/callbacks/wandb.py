"""Callback that logs metrics, curves and the trained weights to Weights & Biases, beside the CSV files."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from fastgs.training.callbacks.export import ExportWeights

_logger = logging.getLogger(__name__)

Curves = dict[int, list[tuple[int, float]]]


class LogToWandb(Callback):
    """Logs a run to wandb too, if that is possible; if not, one line of the log says so, and the run goes on.

    All that goes to the trainer's other loggers goes to wandb. After each validation and test, it also gets the PSNR
    over refinement iterations as one curve for each K; and at the end of training, the weights that `ExportWeights`
    wrote, as an artifact of type "model".

    Without wandb, without a login, or with WANDB_MODE=disabled nothing is logged to wandb, and nobody is asked for
    anything. With WANDB_MODE=offline, or when the server cannot be reached, the run is kept in DEFAULT_ROOT_DIR/wandb,
    to be uploaded by `wandb sync`. To continue an earlier run, set WANDB_RUN_ID.

    Args:
        project: Project of wandb.
        name: Name of the run; None lets wandb choose one.
    """

    def __init__(self, project: str = "fastgs", name: str | None = None) -> None:
        self.project = project
        self.name = name

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add the logger, in the first process only, and not in a mere trial."""
        if trainer.is_global_zero and not trainer.fast_dev_run and not wandb_loggers(trainer):  # type: ignore[attr-defined]
            logger = self._connect(Path(trainer.default_root_dir))
            if logger is not None:
                trainer.loggers = [*trainer.loggers, logger]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the curves of a validation."""
        if not trainer.sanity_checking:
            _log_curves(trainer, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the curves of a test."""
        _log_curves(trainer, "test")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the exported weights."""
        exports = [callback for callback in trainer.callbacks if isinstance(callback, ExportWeights)]  # type: ignore[attr-defined]
        for logger in wandb_loggers(trainer):
            for export in exports:
                _log_weights(logger, Path(trainer.default_root_dir, export.path))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Complete the run."""
        for logger in wandb_loggers(trainer):
            logger.experiment.finish()
            trainer.loggers = [each for each in trainer.loggers if each is not logger]

    def _connect(self, folder: Path) -> WandbLogger | None:
        """Start a run, online or offline, and return its logger; None, and a line of the log, if there can be none."""
        reason = _find_obstacle()
        if reason is not None:
            _logger.warning("wandb %s; logging to files only", reason)
            return None
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        try:
            return self._start(folder, mode=None)
        except wandb.errors.Error as error:
            reason = str(error).splitlines()[0]
            _logger.warning("wandb cannot be reached (%s); logging offline, upload by `wandb sync` later", reason)
            return self._start(folder, mode="offline")

    def _start(self, folder: Path, mode: Literal["offline"] | None) -> WandbLogger:
        import wandb

        # WandbLogger itself would start the run with arguments that wandb no longer knows and warns of.
        run = wandb.init(project=self.project, name=self.name, dir=folder, mode=mode, resume="allow")
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return WandbLogger(project=self.project, experiment=run)


def wandb_loggers(trainer: Trainer) -> list[WandbLogger]:
    """Return the loggers of wandb that a trainer has; in the first process only."""
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)] if trainer.is_global_zero else []


def _find_obstacle() -> str | None:
    """Return the reason why nothing can be logged to wandb, as words that follow its name; None if something can."""
    try:
        import wandb
    except ModuleNotFoundError:
        return "is not installed (`pip install wandb`)"
    except Exception as error:  # a broken installation may raise anything
        return f"cannot be imported ({error!r})"
    mode = wandb.setup().settings.mode
    if mode == "disabled":
        return "is disabled (WANDB_MODE)"
    # Asked to start a run without a login, wandb would prompt for one on a terminal, and wait.
    if mode == "online" and not wandb.login(prompt=False, verify=False):
        return "has no login (`wandb login`, or WANDB_MODE=offline)"
    return None


def psnr_curves(metrics: Mapping[str, Tensor | float], stage: str) -> Curves:
    """Return metrics `STAGE/psnr_K_at_ITERATION` as [(iteration, dB), ...] in order for each K."""
    curves: Curves = {}
    for name, value in metrics.items():
        if match := re.fullmatch(rf"{stage}/psnr_(\d+)_at_(\d+)", name):
            curves.setdefault(int(match[1]), []).append((int(match[2]), float(value)))
    return {count: sorted(points) for count, points in sorted(curves.items())}


def _log_curves(trainer: Trainer, stage: str) -> None:
    curves = psnr_curves(trainer.callback_metrics, stage)
    for logger in wandb_loggers(trainer) if curves else []:
        import wandb

        iterations, scores = zip(*(zip(*points, strict=True) for points in curves.values()), strict=True)
        labels = [f"K = {count}" for count in curves]
        plot = wandb.plot.line_series(iterations, scores, labels, "PSNR in dB over iterations", "iteration")
        logger.experiment.log({f"{stage}/psnr_over_iterations": plot, "trainer/global_step": trainer.global_step})


def _log_weights(logger: WandbLogger, path: Path) -> None:
    """Log PATH.safetensors and PATH.json, if they exist."""
    files = [path.with_name(f"{path.name}{suffix}") for suffix in (".safetensors", ".json")]
    if all(file.exists() for file in files):
        import wandb

        artifact = wandb.Artifact(path.name, type="model")
        for file in files:
            artifact.add_file(str(file))
        logger.experiment.log_artifact(artifact)
