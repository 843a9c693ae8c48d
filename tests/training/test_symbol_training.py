"""Tests of training the learned model of symbols, through the real command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fastgs.codec import learned, read_frame
from fastgs.codec.channels import Channels
from fastgs.codec.fastgs import Fastgs
from fastgs.codec.frame import Frame, write_frame
from fastgs.codec.layer import decode_layers, encode_layers
from fastgs.codec.symbol_model import FORMAT, VERSION, SymbolModel
from fastgs.codec.symbol_network import SymbolNetwork
from fastgs.io.checkpoints import read_arrays
from fastgs.io.images import load_image
from fastgs.training import SymbolDataModule
from fastgs.training.cli import main
from fastgs.training.symbol_files import SymbolFolder

CONFIG = Path(__file__).parents[2] / "configs" / "symbols.yaml"
COLUMNS = ("area", "u", "v", "luma", "chroma1", "chroma2")

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder of the files of two photos."""
    folder = tmp_path_factory.mktemp("files")
    for name, pixels in {"a": data.coffee()[:96, :130], "b": data.coffee()[-97:, -128:]}.items():
        image = load_image(Image.fromarray(pixels))
        (folder / f"{name}.fgs").write_bytes(Fastgs(effort=5, restores=False).encode(image, 500, iterations=20).data)
    return folder


def arguments(folder, files, *more):
    return [
        *("fit", f"--config={CONFIG}", f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false"),
        *(f"--data.train={files}", f"--data.val={files}", "--data.batch_size=64", "--trainer.max_epochs=8"),
        *("--trainer.check_val_every_n_epoch=4", "--trainer.enable_model_summary=false"),
        *("--model.neighbours=6", "--model.width=8", "--model.warmup_steps=4", *map(str, more)),
    ]


@pytest.mark.slow
def test_run_improves_is_repeated_exactly_and_codes_files(tmp_path, files, monkeypatch, read_metrics):
    for name in ("one", "two"):
        assert main(arguments(tmp_path / name, files)) == 0
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second
    metrics = read_metrics(tmp_path / "one")
    assert metrics["val/bits"][-1] < metrics["val/bits"][0]
    assert sum(metrics[f"val/bits_{name}"][-1] for name in COLUMNS) == pytest.approx(metrics["val/bits"][-1])
    info = json.loads((tmp_path / "one" / "weights.json").read_text())
    assert (info["format"], info["version"]) == (FORMAT, VERSION)
    assert info["network"] == {"neighbours": 6, "width": 8}
    assert info["training"]["stage"] == "SymbolStage"
    of_data = info["training"]["data"]["train"]
    assert of_data["files"] == ["a.fgs", "b.fgs"] and of_data["gaussians"] > 600

    more = ["--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1", "--model.learning_rate=1e-5"]
    assert main(arguments(tmp_path / "more", files, *more, f"--model.weights={tmp_path}/one/weights")) == 0
    assert read_metrics(tmp_path / "more")["val/bits"][-1] == pytest.approx(metrics["val/bits"][-1], rel=0.02)

    arrays = read_arrays(tmp_path / "one" / "weights.safetensors", FORMAT, VERSION, "model of symbols")
    assert arrays["shape.neighbours.weight"].dtype == np.int16
    frame = read_frame((files / "a.fgs").read_bytes())
    canvas = frame.height, frame.width
    layers = decode_layers(frame.layers, canvas, model=frame.symbols)
    sizes = {}
    for name, model in {"trained": SymbolModel(arrays), "untrained": SymbolModel(SymbolNetwork(6, 8).export())}.items():
        monkeypatch.setattr(learned, "load_model", lambda number, model=model: model)
        payloads = encode_layers(layers, canvas, model=1)
        decoded = decode_layers(payloads, canvas, model=1)
        assert all(np.array_equal(one.symbols, other.symbols) for one, other in zip(layers, decoded, strict=True))
        sizes[name] = sum(map(len, payloads))
    assert sizes["trained"] < 0.9 * sizes["untrained"]


def test_batches_are_drawn_from_all_files_and_hold_each_gaussian_once(files):
    module = SymbolDataModule(str(files), str(files), batch_size=64)
    module.setup("fit")
    count = len(module.datasets["train"])
    batches = list(module.train_dataloader())
    assert len(batches) == count // 64 and all(batch.own.shape == (64, 6) for batch in batches)
    whole = list(module.val_dataloader())
    values = np.concatenate([batch.values.numpy() for batch in whole])
    assert len(values) == count
    frames = [read_frame((files / f"{name}.fgs").read_bytes()) for name in "ab"]
    layers = [decode_layers(each.layers, (each.height, each.width), model=each.symbols) for each in frames]
    assert sum(len(layer.symbols) for file in layers for layer in file) == count
    steps = {np.float32(layer.steps.luma) for file in layers for layer in file if len(layer.symbols)}
    assert steps == set(np.concatenate([batch.units[:, 3].numpy() for batch in whole]))
    drawn = np.concatenate([batch.values.numpy() for batch in batches])
    assert not np.array_equal(drawn, values[: len(drawn)])
    known = {row.tobytes() for row in values}
    assert all(row.tobytes() in known for row in drawn)
    again = SymbolDataModule(str(files), batch_size=64)
    again.setup("fit")
    assert np.array_equal(next(iter(again.train_dataloader())).values, batches[0].values)


def test_files_of_other_kinds_are_named(tmp_path):
    path = tmp_path / "a.fgs"
    path.write_bytes(b"FGS")
    with pytest.raises(ValueError, match=r"a\.fgs: is cut short"):
        SymbolFolder(str(tmp_path))
    path.write_bytes(write_frame(Frame("fastgs", 4, 4, [], channels=Channels(1))))
    with pytest.raises(ValueError, match=r"a\.fgs: is not of RGB, or not of the scheme fastgs"):
        SymbolFolder(str(tmp_path))
    path.write_bytes(write_frame(Frame("fastgs", 4, 4, [])))
    with pytest.raises(ValueError, match=r"no Gaussians in the \.fgs files"):
        SymbolFolder([str(tmp_path)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.batch_size=0"], "data.batch_size: must be at least 1, got 0"),
        (["--data.batch_size=4096"], "data.batch_size: 4096 is more than the "),
        (["--data.train=null"], "data.train: no folder is given; name one, or a list of folders"),
        (["--data.train={nothing}"], "nothing: no .fgs files; fastgs encode writes them"),
        (
            ["--model.weights=missing"],
            "model.weights: missing: no such weights; give a path, or a name in checkpoints/",
        ),
        (["--model.weights=count"], "describes no model of symbols"),
        (["--model.weights=symbols"], "model.weights: the weights are those of a network of another size"),
        (["--model.width=0"], "width: must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, files, capsys, options, message):
    options = [option.format(nothing=tmp_path / "nothing") for option in options]
    assert main(arguments(tmp_path, files, *options)) in (1, 2)
    error = capsys.readouterr().err
    assert message in error and error.startswith("train.py: error: ") and error.count("\n") == 1
