"""Tests of training for restoration, through the real command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from fastgs.codec import decode_arrays, encode
from fastgs.codec.restoration import FORMAT, VERSION, draw_planes
from fastgs.io.checkpoints import read_arrays
from fastgs.io.images import load_image
from fastgs.training.cli import main
from fastgs.training.pairs import PairDataModule, PairFolder

CONFIG = Path(__file__).parents[2] / "configs" / "restoration.yaml"

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Return a folder with photos/, and the files of them in files/."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "photos").mkdir()
    (folder / "files").mkdir()
    for name, pixels in {"a": data.coffee()[:64, :97], "b": data.coffee()[-65:, -96:]}.items():
        photo = folder / "photos" / f"{name}.png"
        Image.fromarray(pixels).save(photo)
        (folder / "files" / f"{name}.fgs").write_bytes(encode(load_image(photo), num_gaussians=60, iterations=20).data)
    return folder


def arguments(folder, pairs, *more):
    return [
        *("fit", f"--config={CONFIG}", f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false"),
        *(f"--data.train={pairs}/files", f"--data.val={pairs}/files", f"--data.photos={pairs}/photos"),
        *("--data.crop=48", "--data.batch_size=4", "--data.repeat=40", "--trainer.max_epochs=4"),
        *("--trainer.check_val_every_n_epoch=4", "--trainer.enable_model_summary=false", "--trainer.precision=32"),
        *(
            "--model.width=12",
            "--model.blocks=1",
            "--model.warmup_steps=2",
            "--model.learning_rate=1e-3",
            *map(str, more),
        ),
    ]


@pytest.mark.slow
def test_run_improves_and_is_repeated_exactly(tmp_path, pairs):
    for name in ("one", "two"):
        assert main(arguments(tmp_path / name, pairs, "--trainer.callbacks=null")) == 0
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second
    info = json.loads((tmp_path / "one" / "weights.json").read_text())
    assert info["network"] == {"planes": 6, "width": 12, "blocks": 1}
    assert (info["training"]["stage"], info["training"]["steps"]) == ("RestorationStage", 80)
    assert info["training"]["metrics"]["val/gain"] > 0
    arrays = read_arrays(tmp_path / "one" / "weights.safetensors", FORMAT, VERSION, "network of restoration")
    assert all(each.dtype == np.float16 for each in arrays.values())
    more = ("--trainer.callbacks=null", f"--model.weights={tmp_path}/one/weights", "--model.learning_rate=1e-9")
    assert main(arguments(tmp_path / "more", pairs, *more)) == 0
    again = json.loads((tmp_path / "more" / "weights.json").read_text())
    assert again["training"]["metrics"]["val/gain"] == pytest.approx(info["training"]["metrics"]["val/gain"], abs=1e-3)


def test_samples_are_crops_of_drawings_and_photos(pairs):
    module = PairDataModule(str(pairs / "files"), str(pairs / "files"), str(pairs / "photos"), crop=32, batch_size=2)
    module.setup("fit")
    (batch,) = module.train_dataloader()
    assert batch.planes.shape == (2, 6, 32, 32) and batch.images.shape == (2, 3, 32, 32)
    drawn = batch.planes[:, :3] + 0.5
    assert ((drawn - batch.images).square().mean((1, 2, 3)) < 4 * batch.errors).all()
    for whole, name in zip(module.val_dataloader(), "ab", strict=True):
        planes = draw_planes(decode_arrays((pairs / "files" / f"{name}.fgs").read_bytes()))
        wanted = torch.from_numpy(planes[:, :64, :96])
        torch.testing.assert_close(whole.planes[0], wanted, atol=2e-3, rtol=2e-3)  # kept in 16 bits
        assert torch.equal(whole.images[0], load_image(pairs / "photos" / f"{name}.png")[:, :64, :96])


def test_damaged_files_are_named(tmp_path, pairs):
    (tmp_path / "a.fgs").write_bytes(b"FGS")
    with pytest.raises(ValueError, match=r"data: .*a\.fgs: is cut short"):
        PairFolder(str(tmp_path), str(pairs / "photos"), None)[0]
    with pytest.raises(ValueError, match=r"data\.crop: 80 is more than the shorter side of .*a\.png; lower it"):
        PairFolder(str(pairs / "files"), str(pairs / "photos"), 80)[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.batch_size=99"], "data.batch_size: 99 is more than the "),
        (["--data.crop=31"], "data.crop: must be an even number, got 31"),
        (["--data.photos=null"], "data.photos: no folder is given; name one, or a list of folders"),
        (["--data.train={photos}"], "photos: no .fgs files; fastgs encode writes them"),
        (["--data.photos={files}"], "data.train: "),
        (["--model.width=8"], "width: must be a multiple of 6, got 8"),
        (["--model.blocks=0"], "blocks: must be at least 1, got 0"),
        (
            ["--model.weights=missing"],
            "model.weights: missing: no such weights; give a path, or a name in checkpoints/",
        ),
        (["--model.weights=count"], "describes no network of restoration"),
        (["--model.weights=restoration"], "model.weights: the weights are those of a network of another size"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, pairs, capsys, options, message):
    options = [option.format(photos=pairs / "photos", files=pairs / "files") for option in options]
    assert main(arguments(tmp_path, pairs, *options)) in (1, 2)
    error = capsys.readouterr().err
    assert message in error and error.startswith("train.py: error: ") and error.count("\n") == 1
