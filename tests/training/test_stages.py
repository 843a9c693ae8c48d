"""Tests of the stages: they learn, they resume exactly, and two processes do what one does.

Run as a program, this file starts both processes: `python tests/training/test_stages.py FOLDER`.
"""

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from networks import SMALL, initializer
from PIL import Image
from processes import PATIENCE
from safetensors.torch import load_file
from skimage import data as photos

import fastgs
from fastgs.data import FolderDataModule
from fastgs.initializers.from_density import gaussians_at
from fastgs.initializers.sampling import project, sample
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.models.pretrained import load_weights, save_weights
from fastgs.training import AttributeStage, FinetuneStage, PositionStage, base, position

SIZE = 32
SOON = {"learning_rate": 5e-3, "warmup_steps": 0, "val_iterations": 10}
COUNTS = (100, 200)  # numbers of Gaussians for FinetuneStage
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder with weights of networks whose corrections are not zero, and images/ with 8 different photos."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "images").mkdir()
    for index in range(8):
        corner = slice(40 + 30 * index, None, 2), slice(60 + 40 * index, None, 2)
        Image.fromarray(photos.coffee()[corner][:SIZE, :SIZE]).save(folder / "images" / f"{index}.png")
    save_weights(folder / "weights", initializer(), {})
    return folder


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


class Losses(Callback):
    """Callback that keeps a metric of each step."""

    def __init__(self, name):
        self.name, self.values = name, []

    def on_train_batch_end(self, trainer, *arguments):
        self.values.append(trainer.callback_metrics[self.name].item())


# Training


class Poison(Callback):
    """Callback that makes the gradient NaN, as in a run that diverges."""

    def on_after_backward(self, trainer, stage):
        next(parameter for parameter in stage.parameters() if parameter.grad is not None).grad[0] = float("nan")


def test_diverged_run_ends_with_finite_weights(folder):
    stage = make(AttributeStage, folder)
    with pytest.raises(ValueError, match=r"^model\.learning_rate: the run diverged at step 0; lower it$"):
        fit(stage, prepare(folder), callbacks=[Poison()])
    assert all(torch.isfinite(parameter).all() for parameter in stage.parameters())


@pytest.mark.parametrize("change", [{"random_crop": True}, {"flip": True}, {"repeat": 2}])
def test_position_stage_refuses_images_that_change(change, folder):
    data = prepare(folder)
    for name, value in change.items():
        setattr(data, name, value)
    with pytest.raises(ValueError, match=rf"^data\.{next(iter(change))}: "):
        fit(make(PositionStage, folder), data)


def test_cross_entropy_is_smallest_at_target():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, generator=generator)
    log_densities = logits.flatten(1).log_softmax(1).view_as(logits)
    targets = log_densities.exp()

    def loss(logits):
        return position.density_loss(logits.flatten(1).log_softmax(1).view_as(logits), targets, "cross_entropy")

    least = loss(logits)
    assert least == pytest.approx(base.relative_entropy(log_densities).mean().item(), abs=1e-6) and least < 0
    assert all(loss(logits + 0.3 * torch.randn(2, 4, 5, generator=generator)) > least for _ in range(10))
    assert loss(torch.zeros(2, 4, 5)) == pytest.approx(0, abs=1e-6)  # the uniform density


def test_mse_compares_densities_scaled_to_maximum_of_1():
    predictions, targets = torch.tensor([[[0.25, 0.75]]]), torch.tensor([[[0.5, 0.5]]])
    loss = position.density_loss(predictions.log(), targets, "mse")
    assert loss == pytest.approx(((1 / 3 - 1) ** 2 + 0) / 2)


@pytest.mark.parametrize(("height", "width"), [(512, 512), (256, 128)])
def test_counts_are_log_uniform_by_area(height, width):
    generator = torch.Generator().manual_seed(0)
    counts = np.sort([base.draw_count(height, width, generator) for _ in range(2000)])
    equivalents = counts * 512**2 / (height * width)
    expected = np.log(equivalents / 2_500) / np.log(100_000 / 2_500)
    distance = np.abs(expected - (np.arange(2000) + 0.5) / 2000).max()  # statistic of Kolmogorov and Smirnov
    assert distance < 1.63 / 2000**0.5  # at the 1 % level


@pytest.mark.slow
def test_position_stage_learns_fixed_targets(folder, monkeypatch):
    """Targets are dark places, where no heuristic puts Gaussians; the loss comes 70 % of the way to its minimum."""

    def dark(self, batch, i, count, slot, visit):
        density = (1.05 - batch.images[i].mean(0)).pow(4)
        places = sample(density, count, generator=torch.Generator().manual_seed(int(batch.indices[i])))
        log_density = (density / density.sum()).log()[None]
        goals[i] = position.density_loss(log_density, project(places, SIZE, SIZE)[None], "cross_entropy").item()
        return gaussians_at(places, batch.images[i], density)

    goals = [0.0, 0.0]
    monkeypatch.setattr(PositionStage, "_optimize", dark)
    losses = Losses("train/loss")
    fit(make(PositionStage, folder, slots=1, anchor=0.0), prepare(folder, 2, 2, val=None), epochs=60,
        callbacks=[losses])  # fmt: skip
    start, goal = losses.values[0], np.mean(goals)
    assert np.mean(losses.values[-5:]) < goal + 0.3 * (start - goal) < start - 0.2


@pytest.mark.slow
def test_attribute_stage_overfits_two_images(folder):
    stage, data = make(AttributeStage, folder), prepare(folder, 2, 2, val=None)

    def quality():
        scores = []
        for index, count in ((0, 60), (0, 240), (1, 60), (1, 240)):
            target = load_image(folder / "images2" / f"{index}.png")
            gaussians = stage.networks.initialize(target, count, torch.Generator().manual_seed(7))
            scores.append(psnr(fastgs.render(gaussians), target))
        return np.mean(scores)

    before, frozen = quality(), {name: value.clone() for name, value in stage.networks.position.state_dict().items()}
    fit(stage, data, epochs=60)
    assert quality() > before + 1.5
    after = stage.networks.position.state_dict()
    assert all(torch.equal(after[name], value) for name, value in frozen.items())


@pytest.mark.slow
def test_targets_continue_from_visit_to_visit(folder, tmp_path, monkeypatch):
    starts = []

    def spy(image, start, *arguments, **options):
        starts.append(start)
        return optimize(image, start, *arguments, **options)

    optimize = position.optimize
    monkeypatch.setattr(position, "optimize", spy)
    stage = make(PositionStage, folder, tmp_path, iterations=100, learning_rate=0.0)
    fit(stage, prepare(folder, 2, 2, val=None), epochs=4)
    assert len(starts) == 8
    gains = []
    for index in (0, 1):
        image = load_image(folder / "images2" / f"{index}.png")
        first, second = [[stage.store.load(index, slot, visit) for slot in (0, 1)] for visit in (0, 1)]
        for before, after in zip(first, second, strict=True):
            assert len(before) == len(after)  # K belongs to image and slot, whatever the epoch
            assert any(torch.equal(start.means, before.means) for start in starts[4:])
            assert not torch.equal(before.means, after.means)
            gains.append(psnr(fastgs.render(after), image) - psnr(fastgs.render(before), image))
        assert len(first[0]) != len(first[1])
    assert np.mean(gains) > 0


# Validation


@pytest.mark.parametrize("stage", [PositionStage, AttributeStage])
def test_validation_logs_psnr_and_entropy(folder, stage):
    made = make(stage, folder, val_counts=[10_000, 50_000])
    names = {f"val/{name}_{k}{at}" for k in (10_000, 50_000)
             for name, at in (("entropy", ""), ("psnr", "_at_0"), ("psnr", "_at_10"))}  # fmt: skip
    during = fit(made, prepare(folder, 2, 2)).callback_metrics
    assert names == {name for name in during if name.startswith("val/")}
    assert all(math.isfinite(value) for value in during.values())
    data = prepare(folder, 2)
    (after,) = trainer().validate(made, data, verbose=False)
    assert after == pytest.approx({name: during[name].item() for name in names}, rel=1e-5)
    assert all(after[f"val/psnr_{k}_at_10"] > after[f"val/psnr_{k}_at_0"] + 1 for k in (10_000, 50_000))

    k = round(50_000 * SIZE**2 / 512**2)
    with torch.no_grad():
        expected = [
            psnr(fastgs.render(made.networks(image[None], [k], [torch.Generator().manual_seed(seed)])[0]), image)
            for image, _, seed in (data.datasets["val"][0], data.datasets["val"][1])
        ]
    assert after["val/psnr_50000_at_0"] == pytest.approx(np.mean(expected), rel=1e-5)


# Interrupted runs


class PowerCut(Callback):
    """Callback that ends the run in the middle of its fourth epoch."""

    def on_train_batch_start(self, trainer, stage, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (3, 1):
            raise RuntimeError("power cut")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [PositionStage, AttributeStage])
def test_resumed_run_reaches_same_weights(folder, tmp_path, stage):
    data = {"folder": folder, "count": 4, "batch_size": 2, "val": None}
    whole = make(stage, folder, tmp_path / "whole")
    fit(whole, prepare(**data), epochs=5)
    keep = ModelCheckpoint(tmp_path, filename="last")
    with pytest.raises(RuntimeError, match="power cut"):
        fit(make(stage, folder, tmp_path / "broken"), prepare(**data), epochs=5, callbacks=[keep, PowerCut()])
    resumed = make(stage, folder, tmp_path / "broken")
    used = fit(resumed, prepare(**data), tmp_path / "last.ckpt", epochs=5)
    assert used.global_step == 10
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())
    start = make(stage, folder).state_dict()
    assert any(not torch.equal(value, expected[name]) for name, value in start.items())


# Refinement


class Bar(RichProgressBar):
    """Progress bar that keeps its last description."""

    def on_test_batch_end(self, *arguments):
        self.description = self.test_progress_bar.description


def finetune(folder, output, **options):
    stage = FinetuneStage(str(folder / "weights"), counts=COUNTS, iterations=20, output=str(output))
    data = FolderDataModule(predict=str(folder / "predict"), val_size=None, num_workers=0)
    (metrics,) = trainer(**options).test(stage, data, verbose=False)
    return metrics


@pytest.fixture(scope="module")
def refined(folder):
    """Refine 5 images of different sizes, and one that cannot be read; return metrics and the folder of the results."""
    (folder / "predict").mkdir()
    for index in range(5):
        Image.fromarray(photos.chelsea()[50:90, 100 : 130 + 3 * index]).save(folder / "predict" / f"{index}.png")
    (folder / "predict" / "2a.png").write_bytes(b"no image")
    bar, logger = Bar(), CSVLogger(folder / "logs", name="", version="")
    metrics = finetune(folder, folder / "refined", logger=logger, callbacks=[bar], enable_progress_bar=True)
    assert re.fullmatch(r"4\.png  K = 200  iteration 20  \d+\.\d\d dB", bar.description)
    return metrics, folder / "refined"


def test_refinement_improves_psnr_and_reports_it(folder, refined):
    metrics, output = refined
    records = json.loads((output / "report.json").read_text())
    expected = [(f"{index}.png", count) for index in range(5) for count in COUNTS]
    assert [(Path(record["image"]).name, record["num_gaussians"]) for record in records] == expected
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [*(f"{index}-{count}.safetensors" for index in range(5) for count in COUNTS), "report.json"]
    )
    networks = load_weights(folder / "weights")
    for record in records:
        image = load_image(record["image"])
        k = record["num_gaussians"]
        gaussians = fastgs.Gaussians.load(output / f"{Path(record['image']).stem}-{k}.safetensors")
        assert len(gaussians) == k and (record["height"], record["width"]) == image.shape[1:]
        assert psnr(fastgs.render(gaussians), image) == pytest.approx(record["psnr"], abs=1e-3)
        assert [entry[0] for entry in record["history"]] == [0, 10, 20]
        assert (record["psnr_init"], record["psnr"]) == (record["history"][0][2], record["history"][-1][2])
        assert record["seconds_init"] > 0 and record["seconds_fit"] > 0 and record["iterations"] == 20
        again = networks.initialize(image, k, torch.Generator().manual_seed(record["seed"]))
        assert psnr(fastgs.render(again), image) == pytest.approx(record["psnr_init"], abs=1e-3)
    for count in COUNTS:
        curve = [metrics[f"test/psnr_{count}_at_{iteration}"] for iteration in (0, 10, 20)]
        assert curve[0] + 2 < curve[1] < curve[2]
        finals = [record["psnr"] for record in records if record["num_gaussians"] == count]
        assert curve[2] == pytest.approx(np.mean(finals), abs=1e-3)
        with open(folder / "logs" / "metrics.csv", encoding="utf-8") as file:
            rows = [(int(row["step"]), float(row[f"test/psnr_{count}"])) for row in csv.DictReader(file)
                    if row[f"test/psnr_{count}"]]  # fmt: skip
        assert rows == [(10 * i, pytest.approx(value, abs=1e-3)) for i, value in enumerate(curve)]
    assert metrics["test/seconds_100"] > 0 and metrics["test/images_per_second"] > 0


def test_refinement_names_wrong_arguments(folder, tmp_path):
    for arguments, message in (
        ({"counts": []}, "model.counts: "),
        ({"counts": [100, 0]}, "model.counts: "),
        ({"iterations": -1}, "model.iterations: must be at least 0, got -1"),
        ({"loss": "l3"}, "model.loss: expected one of mse, "),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            FinetuneStage(str(folder / "weights"), **arguments)
    with pytest.raises((OSError, ValueError), match="nowhere"):
        FinetuneStage(str(tmp_path / "nowhere"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^model.output: cannot write to .*file "):
        finetune(folder, tmp_path / "file")

    shutil.copy(folder / "weights.safetensors", tmp_path)
    shutil.copy(folder / "weights.json", tmp_path)
    (tmp_path / "predict").mkdir()
    for name in ("same.jpg", "same.png"):
        Image.fromarray(photos.chelsea()[:20, :20]).save(tmp_path / "predict" / name)
    with pytest.raises(ValueError, match=r"^data.predict: .*same.png and .*same.jpg would give files of one name"):
        finetune(tmp_path, tmp_path / "out")
    data = FolderDataModule(predict=str(tmp_path / "predict"))
    data.setup("test")
    data.trainer = SimpleNamespace(world_size=3)
    with pytest.raises(ValueError, match=r"^data.predict: 2 images are too few for 3 devices"):
        data.test_dataloader()


# Two processes


@pytest.fixture(scope="module")
def two_ranks(folder, refined):
    """Run this file, which starts two processes, and return the folder with their results."""
    command = [sys.executable, __file__, str(folder)]
    helpers = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=helpers) as process:
        try:
            _, stderr = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # both
            raise
    assert process.returncode == 0, stderr[-3000:]
    return folder


def train_both(folder, name, **options):
    """Train both stages for 2 epochs of 2 steps of 4 images in all, and save their weights."""
    batch_size = 4 // options.get("devices", 1)
    for stage in (PositionStage, AttributeStage):
        made = make(stage, folder, f"targets-{name}")
        used = fit(made, prepare(folder, batch_size=batch_size, val=None), epochs=2, **options)
        save_weights(folder / f"{stage.__name__}-{name}-{used.global_rank}", made.networks, {})


@pytest.mark.slow
def test_two_ranks_match_one_process(folder, two_ranks):
    train_both(folder, "one")
    for stage in (PositionStage, AttributeStage):
        names = [f"{stage.__name__}-{name}.safetensors" for name in ("one-0", "two-0", "two-1")]
        one, first, second = (load_file(two_ranks / name) for name in names)
        start = make(stage, folder).networks.state_dict()
        moved = max((start[name] - value).abs().max().item() for name, value in one.items())
        difference = max((first[name] - value).abs().max().item() for name, value in one.items())
        assert all(torch.equal(first[name], value) for name, value in second.items())
        # Sums over images have another order, and Adam's first steps divide by numbers that may be close to zero.
        assert difference < 1e-4 < 1e-2 < moved


@pytest.mark.slow
def test_two_ranks_refine_every_image_once(refined, two_ranks):
    metrics, output = refined
    other = two_ranks / "refined-two"
    assert sorted(path.name for path in other.iterdir()) == sorted(path.name for path in output.iterdir())
    for path in output.glob("*.safetensors"):
        assert path.read_bytes() == (other / path.name).read_bytes()
    reports = [json.loads((each / "report.json").read_text()) for each in (output, other)]
    one, two = ([(each["image"], each["num_gaussians"], each["psnr"]) for each in report] for report in reports)
    assert one == two
    gathered = json.loads((two_ranks / "metrics-two.json").read_text())
    assert gathered.keys() == metrics.keys()
    for name in gathered:
        assert "second" in name or gathered[name] == pytest.approx(metrics[name], abs=1e-3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    shared, two = Path(sys.argv[1]), {"devices": 2, "strategy": "ddp"}
    train_both(shared, "two", **two)
    results = finetune(shared, shared / "refined-two", **two)
    if torch.distributed.get_rank() == 0:
        (shared / "metrics-two.json").write_text(json.dumps(results))
    torch.distributed.destroy_process_group()
