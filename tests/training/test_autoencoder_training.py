"""Tests of training autoencoders through the real command line: configurations, resumed runs, and wrong usage."""

import json
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from splat_data import make_splats

from fastgs.autoencoders.pretrained import load_autoencoder
from fastgs.splats import SplatDataModule
from fastgs.splats.index import load_splats
from fastgs.training import AutoencoderStage
from fastgs.training.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = ("anchored", "conv", "deep", "pixels", "resnet")

# Arguments for two epochs of two steps.
SMALL = [
    *("--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.log_every_n_steps=1"),
    *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--data.batch_size=4"),
    *("--trainer.check_val_every_n_epoch=1", "--trainer.num_sanity_val_steps=0"),
    *("--model.width=2", "--model.latent=12", "--model.warmup_steps=1"),
]

pytestmark = pytest.mark.filterwarnings(
    "ignore:LightningCLI's args", "ignore::DeprecationWarning", "ignore::UserWarning:lightning", "ignore:.*LeafSpec"
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Make a dataset of twelve images of 16 x 16, eight of them for training."""
    return make_splats(tmp_path_factory.mktemp("dataset"))


def arguments(name, folder, dataset, *more, command="fit"):
    """Return the arguments for a configuration, with a small network."""
    config = CONFIGS / f"autoencoder_{name}.yaml"
    return [command, f"--config={config}", *SMALL, f"--trainer.default_root_dir={folder}", f"--data.folder={dataset}",
            *map(str, more)]  # fmt: skip


# Runs


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])])
def test_configuration_trains_exports_and_tests(name, dataset, tmp_path, read_metrics):
    assert main(arguments(name, tmp_path, dataset)) == 0
    metrics, training = read_metrics(tmp_path), json.loads((tmp_path / "weights.json").read_text())["training"]
    assert len(metrics["val/psnr"]) == len(metrics["val/parameter_mse"]) == 2 and len(metrics["train/loss"]) == 4
    assert (training["stage"], training["epochs"], training["steps"]) == ("AutoencoderStage", 2, 4)
    assert training["data"] == {
        split: {"folders": str(dataset), "images": count} for split, count in (("train", 8), ("val", 2))
    }
    assert training["metrics"]["val/psnr"] == pytest.approx(metrics["val/psnr"][-1])
    assert training["hyperparameters"]["latent"] == 12 and training["seed"] == 0

    loaded, splats = load_autoencoder(tmp_path / "weights"), load_splats(dataset, "test")
    images = splats.pixels / 255 if name == "pixels" else splats.attributes
    assert loaded.encode(images).shape == (2, 12) and loaded.reconstruct(images).shape == (2, 3, 16, 16)
    errors = (loaded.reconstruct(images).clamp(0, 1) - splats.pixels / 255).square().mean((1, 2, 3))
    command = arguments(name, tmp_path, dataset, "--ckpt_path", tmp_path / "last.ckpt", command="test")
    assert main(command) == 0
    assert read_metrics(tmp_path, 1)["test/psnr"] == [pytest.approx((-10 * errors.log10()).mean().item(), abs=1e-3)]


def test_every_configuration_is_tested():
    assert {f"autoencoder_{name}" for name in NAMES} == {path.stem for path in CONFIGS.glob("autoencoder_*.yaml")}


class Stopper(Callback):
    """Callback that ends the run in the middle of its second epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 0):
            raise RuntimeError("stopped")


@pytest.mark.slow
def test_stopped_and_resumed_run_equals_uninterrupted(dataset, tmp_path):
    """The run has averaged weights, panels, and one network for each attribute."""
    overlay = tmp_path / "overlay.yaml"
    callbacks = ["fastgs.training.callbacks.panels.Panels", "fastgs.training.callbacks.throughput.Throughput"]
    overlay.write_text("\n".join(["trainer:", "  callbacks+:", *(f"    - class_path: {name}" for name in callbacks)]))
    more = [f"--config={CONFIGS / 'overlays/ema.yaml'}", f"--config={overlay}", "--model.per_attribute=true"]
    assert main(arguments("anchored", tmp_path / "whole", dataset, *more)) == 0
    command = arguments("anchored", tmp_path / "parts", dataset, *more)
    with pytest.raises(RuntimeError, match="stopped"):
        main([*command, "--trainer.callbacks+=test_autoencoder_training.Stopper"])
    assert main([*command, "--ckpt_path=last"]) == 0
    whole, parts = ((tmp_path / each / "weights.safetensors").read_bytes() for each in ("whole", "parts"))
    assert whole == parts
    pictures = sorted((tmp_path / "whole" / "panels").iterdir())
    assert [path.name for path in pictures] == [f"epoch-{epoch}-{i}.png" for epoch in (0, 1) for i in (0, 1)]
    assert Image.open(pictures[0]).width == 3 * 260 - 4
    network = load_autoencoder(tmp_path / "whole" / "weights").network
    assert [part.latent for part in network.parts] == [4, 4, 4]


class Gradients(Callback):
    """Callback that lists parameters without a gradient."""

    def on_after_backward(self, trainer, stage):
        self.missing = [name for name, each in stage.network.named_parameters() if not each.grad.any()]


def fit(dataset, callback, epochs=1, **options):
    torch.manual_seed(0)
    stage = AutoencoderStage(width=4, latent=64, **options)
    data = SplatDataModule(str(dataset), batch_size=8)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[callback],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(stage, data)
    return trainer.callback_metrics


def test_rendering_loss_reaches_every_parameter(dataset):
    gradients = Gradients()
    metrics = fit(dataset, gradients, parameter_weight=0.0, rendering_weight=1.0, batch_norm=False)
    assert gradients.missing == [] and "train/parameter_mse" not in metrics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error"),
    [({}, "val/parameter_mse"), ({"parameter_weight": 0.0, "rendering_weight": 1.0}, None)],
)
def test_training_improves_validation_images(dataset, options, error):
    before, after = (
        fit(dataset, Callback(), epochs, learning_rate=1e-2, warmup_steps=0, **options) for epochs in (1, 30)
    )
    assert after["train/loss"] < before["train/loss"] and after["val/psnr"] > before["val/psnr"] + 1.5
    assert error is None or after[error] < 0.75 * before[error]


# Wrong usage, reported in one line


@pytest.fixture(scope="module")
def gridless(tmp_path_factory):
    return make_splats(tmp_path_factory.mktemp("gridless"), 6, num_gaussians=31, initialization="random")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("conv", "--data.folder=nowhere", 1, "data.folder: nowhere/index.json: no such file; make the dataset with"),
        ("anchored", "--data.folder={gridless}", 1, "data.folder: {gridless}: has no 'anchored' parameters"),
        ("conv", "--data.folder={gridless}", 1, "data.folder: num_gaussians: 31 cells make no grid"),
        (
            "conv",
            "--data.batch_size=9",
            1,
            "data.batch_size: 9 is more than the 8 samples",
        ),
        ("conv", "--data.val_batch_size=0", 1, "data.val_batch_size: must be at least 1, got 0"),
        ("conv", "--data.parameters=polar", 2, "data: fastgs.splats.SplatDataModule: parameters: expected"),
        ("conv", "--data.crop=8", 2, "data: fastgs.splats.SplatDataModule: there is no setting crop"),
        ("conv", "--model.parameter_weight=0", 1, "model.parameter_weight: nothing is learned"),
        ("conv", "--model.rendering_weight=-1", 1, "model.rendering_weight: must be at least 0, got -1"),
        ("conv", "--model.dropout=1", 1, "model.dropout: must be in [0, 1), got 1"),
        ("conv", "--model.per_attribute=true --model.latent=3", 1, "model.latent: must be at least 4"),
        ("pixels", "--model.per_attribute=true", 1, "model.per_attribute: pixels have only one attribute"),
        ("conv", "--model.model=unet", 2, "model: fastgs.training.AutoencoderStage: model: expected"),
        (
            "conv",
            "--config={configs}/overlays/smoke.yaml",
            2,
            "{configs}/overlays/smoke.yaml: model: fastgs.training.AutoencoderStage: there",
        ),
    ],
)
def test_wrong_option_is_named(dataset, gridless, tmp_path, read_error, name, options, code, message):
    options = options.format(gridless=gridless, configs=CONFIGS).split()
    assert main(arguments(name, tmp_path / "out", dataset, *options)) == code
    assert read_error().startswith(message.format(gridless=gridless, configs=CONFIGS))


def test_data_of_another_stage_are_refused(dataset, tmp_path, read_error):
    config = tmp_path / "config.yaml"
    config.write_text(f"""
trainer: {{default_root_dir: {tmp_path}, accelerator: cpu}}
model: {{class_path: fastgs.training.PositionStage}}
data: {{class_path: fastgs.splats.SplatDataModule, init_args: {{folder: {dataset}}}}}
""")
    assert main(["fit", f"--config={config}"]) == 1
    expected = "data.class_path: PositionStage is trained on fastgs.data.FolderDataModule, got SplatDataModule"
    assert read_error() == expected


@pytest.mark.slow
def test_checkpoint_of_another_number_of_gaussians_is_refused(dataset, tmp_path, read_error):
    assert main(arguments("deep", tmp_path, dataset)) == 0
    other = make_splats(tmp_path / "other", num_gaussians=16)
    assert main(arguments("deep", tmp_path, other, "--ckpt_path", tmp_path / "last.ckpt")) == 1
    assert read_error().startswith("--ckpt_path: is of another network than the model (it differs in network.encoder.")
