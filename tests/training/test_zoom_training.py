"""Tests of training for zooming, through the real command line."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from fastgs.data import ZoomDataModule
from fastgs.io.resampling import reduce
from fastgs.models.zoom import load_zoom
from fastgs.training.cli import main

CONFIG = Path(__file__).parents[2] / "configs" / "zoom_network.yaml"

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(data.coffee()[:96, :128]).save(folder / "a.png")
    Image.fromarray(data.coffee()[-96:, -128:]).save(folder / "b.png")
    return folder


def arguments(folder, images, *more):
    return [
        *("fit", f"--config={CONFIG}", f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false"),
        *(f"--data.train={images}", f"--data.val={images}", "--data.crop=48", "--data.batch_size=2", "--data.repeat=8"),
        *("--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=2", "--trainer.enable_model_summary=false"),
        *("--trainer.precision=32", "--model.width=8", "--model.blocks=1", "--model.warmup_steps=2", *map(str, more)),
    ]


def test_run_improves_and_is_repeated_exactly(tmp_path, images):
    for name in ("one", "two"):
        assert main(arguments(tmp_path / name, images)) == 0
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second
    info = json.loads((tmp_path / "one" / "weights.json").read_text())
    assert info["network"] == {"width": 8, "blocks": 1, "filter": "bicubic"}
    assert (info["training"]["stage"], info["training"]["steps"]) == ("ZoomStage", 16)
    # Above bicubic interpolation from the start, since the result is consistent with the small image.
    assert info["training"]["metrics"]["val/gain"] > 0.3
    assert load_zoom(tmp_path / "one" / "weights").arguments["width"] == 8


def test_pairs_are_reductions_by_factors_in_range(images):
    module = ZoomDataModule(str(images), crop=48, batch_size=2, repeat=4, num_workers=0, lowest=2, highest=4)
    module.setup("fit")
    batches = list(module.train_dataloader())
    assert len(batches) == 4
    sides = set()
    for batch in batches:
        assert batch.large.shape == (2, 3, 48, 48)
        side = batch.small.shape[-1]
        sides.add(side)
        assert 12 <= side <= 24
        assert torch.allclose(batch.small, reduce(batch.large, side, side).clamp(0, 1), atol=0.5 / 255 + 1e-6)
    assert len(sides) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.filter=area"], "model.filter: 'bicubic' is not data.filter, 'area'"),
        (["--data.lowest=0.5"], "data.lowest: must be from 1 up to data.highest, got 0.5 and 4.0"),
        (["--data.crop=16"], "data.crop: 16 pixels reduced by data.highest 4 are fewer than 8; raise crop"),
        (["--data.val_factor=0"], "data.val_factor: must be at least 1, got 0.0"),
        (["--model.width=0"], "width: must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, images, capsys, options, message):
    assert main(arguments(tmp_path, images, *options)) in (1, 2)
    error = capsys.readouterr().err
    assert message in error and error.startswith("train.py: error: ") and error.count("\n") == 1
