"""`fastgs splats evaluate`: what is measured of autoencoders, the linear probe, tables, figures and pictures."""

import json
import math
import shutil
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import one_hot

from fastgs.autoencoders.networks import build_autoencoder
from fastgs.autoencoders.pretrained import TrainedAutoencoder, load_autoencoder, save_autoencoder, set_shape
from fastgs.cli import main as cli
from fastgs.cli import splats_evaluate
from fastgs.evaluation.autoencoders import measure as measuring
from fastgs.evaluation.autoencoders.coders import Coder, of_splats
from fastgs.evaluation.autoencoders.linear_probe import Samples, _Ridge, probe
from fastgs.evaluation.autoencoders.measure import Dataset
from fastgs.evaluation.autoencoders.records import MEASURED, AutoencoderRecord
from fastgs.evaluation.records import load_records
from fastgs.metrics.quality import psnr, ssim
from fastgs.splats import load_splats, read_index
from fastgs.splats.channels import ATTRIBUTES
from fastgs.training.cli import main as train

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args", "ignore::DeprecationWarning", "ignore:The number")

SMALL = ("-k", 64, "--size", 16, "--workers", 1)


def run(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def evaluate(dataset, *autoencoders, output, more=()) -> int:
    given = ("--autoencoders", *autoencoders) if autoencoders else ()
    return run("splats", "evaluate", dataset, *given, "--output", output, *more)


def load(path: Path) -> dict[str, dict]:
    """Records by autoencoder and split."""
    records = json.loads(path.read_bytes())
    return {f"{record['autoencoder']}, {record['split']}": record for record in records}


def repeatable(records: dict[str, dict]) -> list[dict]:
    """What must be the same in every run."""
    return [{name: value for name, value in each.items() if name not in MEASURED} for each in records.values()]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Twelve pictures of each of two classes: a bar that is upright, or lies."""
    folder = tmp_path_factory.mktemp("photos")
    numbers = np.random.default_rng(0)
    for label in ("lies", "stands"):
        (folder / label).mkdir()
        for number in range(12):
            picture = numbers.integers(0, 60, (16, 16, 3), dtype=np.uint8) + numbers.integers(0, 60, 3, dtype=np.uint8)
            picture[5 + number % 3 : 9, 2:14] += 120
            Image.fromarray(picture if label == "lies" else picture.swapaxes(0, 1)).save(
                folder / label / f"{number}.png"
            )
    return folder


@pytest.fixture(scope="module")
def dataset(photos, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "bars"
    assert run("splats", "make", photos, *SMALL, "--iterations", 20, "--shard-size", 6, "--output", folder) == 0
    return folder


def save(path: Path, dataset: Path, content="splats", parameters="anchored", split=False, latent=6, seed=0) -> Path:
    """Weights as if they were trained."""
    index = read_index(dataset)
    rows, columns, channels = set_shape(content, index.num_gaussians, index.size, index.size)
    groups = [each.stop - each.start for each in ATTRIBUTES[parameters].values()] if split else [channels]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_autoencoder("deep", groups, latent, rows=rows, columns=columns, width=1, batch_norm=False)
    normalization = index.normalizations[parameters] if content == "splats" else None
    autoencoder = TrainedAutoencoder(content, network.eval(), index.size, index.size, normalization)
    training = {"seed": 3, "hyperparameters": {"parameter_weight": 1.0, "rendering_weight": 0.5}}
    save_autoencoder(path, autoencoder, training)
    return path


@pytest.fixture(scope="module")
def weights(dataset, tmp_path_factory) -> list[Path]:
    """Anchored splats, trained as users do; plain ones, by attribute; and pixels."""
    folder = tmp_path_factory.mktemp("weights")
    config = ROOT / "configs" / "autoencoder_conv.yaml"
    small = ("--model.latent=4", "--model.width=2", "--data.batch_size=8", "--trainer.max_epochs=2")
    losses = ("--data.parameters=anchored", "--model.parameter_weight=0.1", "--model.rendering_weight=1")
    quiet = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
    place = (f"--data.folder={dataset}", f"--trainer.default_root_dir={folder / 'conv'}")
    assert train(["fit", f"--config={config}", *small, *losses, *quiet, *place]) == 0
    split = save(folder / "split.safetensors", dataset, parameters="plain", split=True)
    return [folder / "conv" / "weights", split, save(folder / "plain-pixels.json", dataset, content="pixels", latent=4)]


@pytest.fixture(scope="module")
def evaluation(dataset, weights, tmp_path_factory) -> Path:
    """The records of all, with a picture."""
    folder = tmp_path_factory.mktemp("evaluation")
    assert evaluate(dataset, *weights, output=folder / "r.json", more=("--pictures", folder, "--images", 3)) == 0
    return folder / "r.json"


# The probe


def samples(count: int, size: int, seed: int, apart: float = 0.0) -> Samples:
    numbers = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    features = 5 + 3 * torch.randn(count, size, generator=numbers)
    features[:, :3] += apart * one_hot(labels)
    features[:, -1] = 0.1  # tells nothing
    return Samples(features, labels)


@pytest.mark.parametrize(("count", "size"), [(50, 20), (20, 50)])
def test_ridge_regression_is_least_squares(count, size):
    """With rows that pull the weights to 0, as the textbook has it; with more features than images, too."""
    train = samples(count, size, seed=0)
    features = train.features.double() - train.features.double().mean(0)
    features[:, :-1] /= features[:, :-1].square().mean(0).sqrt()
    features[:, -1] = 0
    targets = one_hot(train.labels).double()
    rows = torch.cat([features, math.sqrt(0.01 * count) * torch.eye(size, dtype=torch.float64)])
    right = torch.cat([targets - targets.mean(0), torch.zeros(size, 3, dtype=torch.float64)])
    torch.testing.assert_close(_Ridge(train).weights(0.01), torch.linalg.lstsq(rows, right).solution)


def test_probe():
    """Sees what is there, and is best in validation; where there is nothing, it says what is commonest."""
    splits = [samples(90, 40, seed, apart=9.0) for seed in range(3)]
    found = probe(*splits)
    fit = _Ridge(splits[0])
    scores = {ridge: fit.accuracy(fit.weights(ridge), splits[1]) for ridge in (1e-5, 1e-3, 1.0, 100.0)}
    assert 0.7 < found.accuracy < 1 and found.chance == pytest.approx(1 / 3)
    assert fit.accuracy(fit.weights(found.ridge), splits[1]) >= max(scores.values()) > min(scores.values())
    assert probe(*(samples(90, 40, seed, apart=40.0) for seed in range(3))).accuracy == 1

    blind = Samples(torch.ones(10, 2), torch.tensor([0] * 3 + [1] * 7))
    assert probe(blind, blind, blind)[:2] == (0.7, 0.7)


def test_no_probe():
    good, empty = samples(9, 4, seed=0), Samples(torch.ones(0, 4), torch.zeros(0, dtype=torch.long))
    same = good._replace(labels=torch.ones(9, dtype=torch.long))
    for splits in ((empty, good, good), (good, empty, good), (good, good, empty), (same, good, good)):
        with pytest.raises(ValueError, match=r"^needs labelled images in each split"):
            probe(*splits)
    large = Samples(torch.zeros(1, 1).expand(8193, 9000), torch.arange(8193) % 2)
    with pytest.raises(ValueError, match=r"^9,000 features of 8,193 images are too many; either may be 8,192$"):
        probe(large, good, good)


# Records


def test_records(evaluation, dataset, weights):
    """What every image gave, worked out one by one."""
    records = load(evaluation)
    splats, index = load_splats(dataset, "test"), read_index(dataset)
    pixels = splats.pixels / 255
    assert list(records) == ["splats, test", "pixels, test", "conv, test", "split, test", "plain-pixels, test"]
    for name, path in zip(("conv", "split", "plain-pixels"), weights, strict=True):
        record, autoencoder = records[f"{name}, test"], load_autoencoder(path)
        images = autoencoder.reconstruct(pixels if name == "plain-pixels" else splats.attributes)
        scores = [psnr(*pair) for pair in zip(images, pixels, strict=True)]
        assert record["psnr"] == pytest.approx(fmean(scores)) and record["psnr_std"] == pytest.approx(pstdev(scores))
        assert record["ssim"] == pytest.approx(fmean(ssim(*pair) for pair in zip(images, pixels, strict=True)))
        assert record["latent"] == (latent := 6 if name == "split" else 4)
        assert (record["bytes_latent"], record["bytes_splats"], record["bytes_image"]) == (4 * latent, 2048, 768)
        assert record["compression_image"] == 192 / latent and record["compression_splats"] == 512 / latent
        assert record["parameters_count"] == sum(each.numel() for each in autoencoder.network.state_dict().values())
        assert record["seconds_encode"] > 0 and record["seconds_decode"] > 0
    told = ("content", "model", "parameters", "per_attribute", "parameter_weight", "rendering_weight", "seed")
    assert [records["conv, test"][name] for name in told] == ["splats", "conv", "anchored", False, 0.1, 1.0, 0]
    assert [records["split, test"][name] for name in told] == ["splats", "deep", "plain", True, 1.0, 0.5, 3]
    assert [records["plain-pixels, test"][name] for name in told] == ["pixels", "deep", None, False, 1.0, 0.5, 3]

    ceiling, originals = records["splats, test"], records["pixels, test"]
    assert ceiling["psnr"] == pytest.approx(fmean(entry.psnr for entry in splats.entries), abs=1e-3)
    assert ceiling["psnr"] > 25 > records["conv, test"]["psnr"] and ceiling["seed"] == index.seed
    assert (originals["psnr"], originals["ssim"]) == (100, 1) and originals["latent"] is None is ceiling["latent"]
    assert originals["probe_accuracy"] == 1 > originals["chance"]
    for record in records.values():
        assert (record["dataset"], record["split"], record["images"]) == ("bars", "test", len(pixels) == 4 and 4)
        assert record["num_gaussians"] == 64 and record["chance"] == originals["chance"]
        assert record["probe_accuracy"] * 4 in range(5)


def test_same_again(evaluation, dataset, weights, tmp_path):
    assert evaluate(dataset, *weights, output=tmp_path / "r.json") == 0
    assert repeatable(load(tmp_path / "r.json")) == repeatable(load(evaluation))


def test_error_of_a_tenth(dataset):
    """A tenth in every pixel is 20 dB; and the codes that the probe gets are those that are measured."""
    images = Dataset(dataset, "val")
    facts = dict(of_splats(images.index, 16, 16).facts, latent=5)

    def decode(codes):
        values = codes.view(-1, 3, 16, 16)
        return torch.where(values > 0.5, values - 0.1, values + 0.1)

    seen: list[float] = []
    coder = Coder("off", "1", lambda splats: splats.pixels.flatten(1) / 255, decode, facts)
    record = measuring.measure(images, coder, seen.append)
    assert record.psnr == pytest.approx(20, abs=1e-4) and record.psnr_std == pytest.approx(0, abs=1e-4)
    assert (record.bytes_latent, record.compression_image) == (20, 38.4) and seen == [1.0]
    assert record.probe_accuracy == 1 and record.result.startswith("20.00 dB  38.4:1  probe 100.0%")
    with pytest.raises(ValueError, match=r"^what comes out holds NaN; train it again$"):
        measuring.measure(images, coder._replace(decode=lambda codes: decode(codes * math.nan)))


def test_images_without_classes(photos, tmp_path, capsys):
    """No probe, and nothing said of it; and images that are too small for SSIM."""
    options = ("-k", 4, "--size", 4, "--iterations", 1, "--workers", 1, "--output", tmp_path / "bare")
    assert run("splats", "make", photos / "lies", *options) == 0
    save(tmp_path / "w", tmp_path / "bare")
    capsys.readouterr()
    assert evaluate(tmp_path / "bare", tmp_path / "w", output=tmp_path / "r.json") == 0
    said, records = capsys.readouterr(), load(tmp_path / "r.json")
    assert list(records) == ["splats, test", "w, test"] and said.err == ""
    assert said.out.splitlines()[1] == f"{tmp_path / 'bare'}: w, test split  {records['w, test']['psnr']:.2f} dB  2:1"
    assert all(each[name] is None for each in records.values() for name in ("ssim", "probe_accuracy", "chance"))
    assert run("table", tmp_path / "r.json", "--output", tmp_path) == 0
    assert "probe of the class" not in (tmp_path / "table.md").read_text("utf-8")
    assert (tmp_path / "psnr-latent.png").exists() and not (tmp_path / "ssim-latent.png").exists()


# Repetition and continuation


def test_measured_once(evaluation, dataset, weights, tmp_path, monkeypatch):
    """What is there is kept; what is new is added; weights that were exported again are measured again."""
    output, again = tmp_path / "r.json", tmp_path / "split.safetensors"
    shutil.copy(evaluation, output)
    made: list[str] = []

    def watched(dataset, coder, callback):
        made.append(f"{coder.name}, {dataset.split}")
        return measuring.measure(dataset, coder, callback)

    monkeypatch.setattr(splats_evaluate, "measure", watched)
    assert evaluate(dataset, *weights, output=output) == 0
    assert made == [] and output.read_bytes() == evaluation.read_bytes()
    save(again, dataset, parameters="plain", split=True, seed=1)
    assert evaluate(dataset, again, weights[0], output=output) == 0
    assert evaluate(dataset, weights[0], output=output, more=("--split", "val")) == 0
    assert made == ["split, test", "splats, val", "pixels, val", "conv, val"]
    before, after = load(evaluation), load(output)
    assert list(after) == [
        *("plain-pixels, test", "splats, test", "pixels, test", "split, test", "conv, test"),
        *("splats, val", "pixels, val", "conv, val"),
    ]
    assert after["split, test"]["sha256"] != before["split, test"]["sha256"]
    assert all(after[name] == before[name] for name in before if name != "split, test")
    # The probe is one, whatever split is measured.
    assert after["conv, val"]["probe_accuracy"] == before["conv, test"]["probe_accuracy"]


def test_damaged_shard(evaluation, dataset, tmp_path, caplog):
    """It is named, and what is left is measured in the place of the whole."""
    shutil.copytree(dataset, tmp_path / "bars")
    test = [entry for entry in read_index(dataset).entries if entry.split == "test"]
    shard = tmp_path / "bars" / test[0].shard
    shard.write_bytes(shard.read_bytes()[:-9])
    shutil.copy(evaluation, tmp_path / "r.json")
    assert evaluate(tmp_path / "bars", output=tmp_path / "r.json") == 0
    assert str(shard) in caplog.text
    records = load(tmp_path / "r.json")
    assert len(records) == len(load(evaluation))
    assert records["splats, test"]["images"] == sum(entry.shard != test[0].shard for entry in test)


# Pictures, tables and figures


def test_picture(evaluation, dataset, weights):
    """Originals, fits and reconstructions of the first, a middle and the last image, each pixel a square."""
    picture = np.asarray(Image.open(evaluation.parent / "bars-test.png"))
    assert picture.shape == (20 + 3 * 260 - 4, 5 * 260 - 4, 3)
    splats = load_splats(dataset, "test")
    decoded = load_autoencoder(weights[2]).reconstruct(splats.pixels / 255)
    for column, images in ((0, splats.pixels), (4, decoded.clamp(0, 1).mul(255).round().byte())):
        for row, place in enumerate((0, (len(images) - 1) // 2, -1)):
            shown = picture[20 + 260 * row : 276 + 260 * row, 260 * column : 260 * column + 256]
            expected = np.kron(images[place].permute(1, 2, 0).numpy(), np.ones((16, 16, 1), np.uint8))
            assert np.array_equal(shown, expected)
    for column in range(5):
        assert picture[:20, 260 * column : 260 * column + 100].min() < 100  # a title


def made_up(evaluation: Path, path: Path, **autoencoders) -> Path:
    """Records with some fields of their own."""
    records = load(evaluation)
    rows = [records["splats, test"]]
    rows += [{**records["conv, test"], "autoencoder": name, **fields} for name, fields in autoencoders.items()]
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def cells(text: str) -> list[dict[str, list[str]]]:
    """Of every table, by autoencoder."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("| latent")]
    rows = [[line.strip("| ").split(" | ") for line in block[2:]] for block in blocks]
    return [{row[1]: row[:1] + row[2:] for row in block} for block in rows]


def test_table(evaluation, tmp_path, capsys):
    """By the size of the code, in each of which the best is bold, in all measures."""
    output = made_up(
        evaluation,
        tmp_path / "r.json",
        a={"latent": 16, "bytes_latent": 64, "psnr": 21.0, "ssim": 0.5, "probe_accuracy": 0.5},
        b={"latent": 4, "psnr": 30.0, "ssim": 0.9, "probe_accuracy": 1.0, "per_attribute": True},
        c={"latent": 16, "bytes_latent": 64, "psnr": 20.996, "ssim": 0.6, "probe_accuracy": None, "model": "deep"},
        d={"latent": 16, "bytes_latent": 64, "psnr": 19.0, "ssim": 0.4, "probe_accuracy": 0.25, "content": "pixels",
           "parameters": None},
    )  # fmt: skip
    assert run("table", output) == 0
    text = capsys.readouterr().out
    (table,) = cells(text)
    assert list(table) == ["splats", "b", "a", "c", "d"]
    ceiling, record = table["splats"], load(evaluation)["splats, test"]
    assert ceiling[:3] == ["–", "no autoencoder", "–"] and ceiling[3] == f"{record['psnr']:.2f}"
    assert ceiling[-2:] == ["2,048", "0.38"]
    anchored, losses = "conv, anchored splats", "0.1 × parameters + rendering"
    best = ["**30.00**", "**0.9000**", "**100.0%**"]
    assert table["b"] == ["4", f"{anchored}, one for each attribute", losses, *best, "16", "48.00"]
    assert table["a"] == ["16", anchored, losses, "**21.00**", "0.5000", "**50.0%**", "64", "12.00"]
    assert table["c"][1:6] == ["deep, anchored splats", losses, "**21.00**", "**0.6000**", "–"]
    assert table["d"][1:6] == ["conv, pixels", "pixels", "19.00", "0.4000", "25.0%"]
    assert text.startswith("bars, test split, mean of 4 images; best of each latent size in bold; ")
    assert f"where {record['chance']:.1%} is chance:\n" in text


def test_tables_of_several_splits(evaluation, dataset, weights, tmp_path, capsys):
    assert evaluate(dataset, weights[0], output=tmp_path / "val.json", more=("--split", "val")) == 0
    capsys.readouterr()
    assert run("table", evaluation, tmp_path / "val.json") == 0
    text = capsys.readouterr().out
    assert [len(table) for table in cells(text)] == [5, 3]
    assert text.index("bars, test split, ") < text.index("bars, val split, ")


def test_figures(evaluation, tmp_path, capsys):
    output = made_up(evaluation, tmp_path / "r.json", a={"latent": 16, "psnr": 20.0}, b={"latent": 64, "psnr": 22.0},
                     c={"latent": 16, "psnr": 18.0, "model": "deep"})  # fmt: skip
    assert run("table", output, "--output", tmp_path / "new") == 0
    names = ["table.md", "psnr-latent.png", "ssim-latent.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "new" / name) for name in names]
    picture = np.asarray(Image.open(tmp_path / "new" / "psnr-latent.png").convert("RGB"))
    for color in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0), (102, 102, 102)):  # two kinds of models, and the ceiling
        assert (picture == color).all(axis=2).sum() > 100, f"no line of {color}"


def test_table_without_autoencoders(dataset, tmp_path):
    assert evaluate(dataset, output=tmp_path / "r.json") == 0
    assert run("table", tmp_path / "r.json", "--output", tmp_path / "new") == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.md"]


# What goes wrong


def failure(capsys, code: int = 2) -> str:
    """The one line that was said."""
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1, said
    return said.err.removeprefix("fastgs splats evaluate: error: ").rstrip("\n")


def test_no_dataset(photos, weights, tmp_path, capsys):
    output = tmp_path / "r.json"
    assert evaluate(photos, *weights, output=output) == 2
    assert failure(capsys).startswith(f"argument DIR: {photos / 'index.json'}: no such file; make the dataset with ")
    options = ("-k", 16, "--full-size", "--iterations", 0, "--workers", 1, "--output", tmp_path / "mixed")
    for number in range(12):
        Image.new("RGB", (8 + number, 8)).save(tmp_path / f"{number}.png")
    assert run("splats", "make", tmp_path, *options) == 0
    capsys.readouterr()
    assert evaluate(tmp_path / "mixed", output=output) == 2
    assert failure(capsys).startswith(f"argument DIR: {tmp_path / 'mixed'}: holds images of several sizes, and ")
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "parameters", "content", "reason"),
    [
        ((*SMALL, "--init", "random"), "anchored", "splats", "is for anchored parameters, and the dataset's Gaussians, "
         "which started from 'random', have none; name others"),
        (("-k", 16, "--size", 16, "--workers", 1), "plain", "splats", "is for 64 Gaussians, and the dataset's images "
         "have 16; name others"),
        (("-k", 64, "--size", 12, "--workers", 1), "plain", "pixels", "is for images of 16 x 16 pixels, and the "
         "dataset's have 12 x 12; name others"),
    ],
)  # fmt: skip
def test_autoencoder_of_another_dataset(dataset, photos, tmp_path, capsys, options, parameters, content, reason):
    other, path = tmp_path / "other", save(tmp_path / "w", dataset, content, parameters)
    assert run("splats", "make", photos, *options, "--iterations", 0, "--output", other) == 0
    capsys.readouterr()
    assert evaluate(other, path, output=tmp_path / "r.json") == 2
    assert failure(capsys) == f"argument --autoencoders: {path}: {reason}"
    assert not (tmp_path / "r.json").exists()


def test_wrong_weights(dataset, tmp_path, capsys):
    output, good = tmp_path / "new" / "r.json", save(tmp_path / "good", dataset)
    missing = tmp_path / "missing.safetensors"
    assert evaluate(dataset, good, missing, output=output) == 2
    assert failure(capsys).startswith(f"argument --autoencoders: {missing}: no such file; ")
    twin = save(tmp_path / "more" / "good", dataset, seed=1)
    assert evaluate(dataset, good, twin, output=output) == 2
    assert failure(capsys) == f"argument --autoencoders: {twin}: another one has this name, too; rename it"
    reserved = save(tmp_path / "splats" / "weights", dataset)
    assert evaluate(dataset, reserved, output=output) == 2
    message = "'splats' is what the record without autoencoder is called; rename it"
    assert failure(capsys) == f"argument --autoencoders: {reserved}: {message}"
    assert not output.parent.exists()


def test_outputs_that_cannot_be(evaluation, dataset, tmp_path, capsys):
    """Nothing that was read is overwritten, and nothing is measured in vain."""
    path = save(tmp_path / "w", dataset)
    for output in (tmp_path / "w.json", tmp_path / "w.safetensors", dataset / "index.json", *dataset.glob("shard-*")):
        before = output.read_bytes()
        assert evaluate(dataset, path, output=output) == 2
        assert failure(capsys) == f"would overwrite the input {output}; choose another --output"
        assert output.read_bytes() == before
    assert evaluate(dataset, path, output=tmp_path) == 2
    assert failure(capsys) == f"cannot write {tmp_path}, which is a folder; choose another --output"
    pictures = tmp_path / "p" / f"{dataset.name}-test.png"
    pictures.mkdir(parents=True)
    assert evaluate(dataset, path, output=tmp_path / "r.json", more=("--pictures", pictures.parent)) == 2
    assert failure(capsys) == f"cannot write {pictures}, which is a folder; choose another --pictures"
    assert evaluate(dataset, path, output=tmp_path / "w.json" / "r.json") == 2
    assert failure(capsys).startswith(f"argument --output: cannot write to {tmp_path / 'w.json'} (")
    assert evaluate(dataset, path, output=tmp_path / "r.json", more=("--pictures", tmp_path / "w.json")) == 2
    assert failure(capsys).startswith(f"argument --pictures: cannot write to {tmp_path / 'w.json'} (")
    assert evaluate(dataset, path, output=tmp_path / "r.json", more=("--images", 0)) == 2
    assert failure(capsys) == "argument --images: must be at least 1, got 0"
    (tmp_path / "other.json").write_text('[{"image": "a.png", "psnr": 30}]')
    assert evaluate(dataset, path, output=tmp_path / "other.json") == 2
    reason = "record 1 has other fields than this version writes; name a file that `fastgs evaluate` or "
    assert failure(capsys).startswith(f"argument --output: {tmp_path / 'other.json'}: {reason}")


def test_one_that_fails(dataset, weights, tmp_path, capsys, monkeypatch):
    """It has no record, and the others have theirs."""

    def fail(dataset, coder, callback):
        if coder.name == "conv":
            raise ValueError("what comes out holds NaN; train it again")
        return measuring.measure(dataset, coder, callback)

    monkeypatch.setattr(splats_evaluate, "measure", fail)
    more = ("--pictures", tmp_path)
    assert evaluate(dataset, *weights, output=tmp_path / "r.json", more=more) == 1
    error = "fastgs: error: conv, test split: what comes out holds NaN; train it again\n"
    assert capsys.readouterr().err == error
    assert list(load(tmp_path / "r.json")) == ["splats, test", "pixels, test", "split, test", "plain-pixels, test"]
    assert Image.open(tmp_path / "bars-test.png").width == 4 * 260 - 4


def test_kinds_do_not_mix(evaluation, photos, tmp_path, capsys):
    options = ("--codec", "jpeg", "--bpp", 9, "--full-size", "--output", tmp_path / "codecs.json")
    assert run("evaluate", photos / "lies" / "0.png", *options) == 0
    capsys.readouterr()
    assert run("table", evaluation, tmp_path / "codecs.json") == 2
    message = "records of codecs and of autoencoders have no table in common; give each a run of its own"
    assert capsys.readouterr().err == f"fastgs table: error: {message}\n"
    assert run("evaluate", photos / "lies" / "0.png", *options[:-1], evaluation) == 2
    assert "record 1 has other fields than this version writes" in capsys.readouterr().err
    assert len(load_records(evaluation, AutoencoderRecord)) == 5
