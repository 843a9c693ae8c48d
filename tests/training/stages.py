"""Small runs of the stages for tests.

Run as a program, this file starts two processes: `python tests/training/stages.py FOLDER`.
"""

import json
import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from networks import SMALL

from fastgs.data import FolderDataModule
from fastgs.models.pretrained import save_weights
from fastgs.training import AttributeStage, FinetuneStage, PositionStage

SIZE = 32  # pixels, of each side of the images
SOON = {"learning_rate": 5e-3, "warmup_steps": 0, "val_iterations": 10}
COUNTS = (100, 200)  # numbers of Gaussians for FinetuneStage


def make(stage, folder, targets="targets", **options):
    """Return a small stage, always with the same initial weights."""
    torch.manual_seed(1)
    if stage is AttributeStage:
        return AttributeStage(str(folder / "weights"), **SMALL, passes=2, **{**SOON, **options})
    options = {"slots": 2, "iterations": 10, **SOON, **options}
    return PositionStage(str(folder / targets), **SMALL, **options)


def prepare(folder, count=8, batch_size=4, **options):
    """Return the data of the first `count` images, in another order each epoch."""
    images = folder / f"images{count}"
    images.mkdir(exist_ok=True)
    for index in range(count):
        (images / f"{index}.png").write_bytes((folder / "images" / f"{index}.png").read_bytes())
    folders = dict.fromkeys(("train", "val", "predict"), str(images)) | options
    return FolderDataModule(**folders, crop=SIZE, batch_size=batch_size, random_crop=False, flip=False, num_workers=0,
                            val_size=None)  # fmt: skip


def trainer(epochs=1, callbacks=(), **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    checkpoints = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    return lightning.Trainer(max_epochs=epochs, accelerator="cpu", enable_checkpointing=checkpoints,
                             num_sanity_val_steps=0, callbacks=list(callbacks), **{**quiet, **options})  # fmt: skip


def fit(stage, data, checkpoint=None, **options):
    used = trainer(**options)
    used.fit(stage, data, ckpt_path=checkpoint)
    return used


def finetune(folder, output, **options):
    """Refine the images in predict/, and return the metrics."""
    stage = FinetuneStage(str(folder / "weights"), counts=COUNTS, iterations=20, output=str(output))
    data = FolderDataModule(predict=str(folder / "predict"), val_size=None, num_workers=0)
    (metrics,) = trainer(**options).test(stage, data, verbose=False)
    return metrics


def train_both(folder, name, **options):
    """Train both stages for 2 epochs of 2 steps of 4 images in all, and save their weights."""
    batch_size = 4 // options.get("devices", 1)
    for stage in (PositionStage, AttributeStage):
        made = make(stage, folder, f"targets-{name}")
        used = fit(made, prepare(folder, batch_size=batch_size, val=None), epochs=2, **options)
        save_weights(folder / f"{stage.__name__}-{name}-{used.global_rank}", made.networks, {})


def main(folder):
    """Train and refine with two processes."""
    torch.set_num_threads(1)
    options = {"devices": 2, "strategy": "ddp"}
    train_both(folder, "two", **options)
    results = finetune(folder, folder / "refined-two", **options)
    if torch.distributed.get_rank() == 0:
        (folder / "metrics-two.json").write_text(json.dumps(results))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
