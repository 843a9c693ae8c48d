"""`fastgs splats evaluate`: what is measured of autoencoders, that it repeats, and that nothing is made twice."""

import math
import shutil
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import pytest
import torch
from autoencoding import by_name, evaluate, save_weights
from evaluating import load, repeatable, run
from PIL import Image

from fastgs.autoencoders.pretrained import load_autoencoder
from fastgs.cli import splats_evaluating
from fastgs.evaluation.autoencoders import measure as measuring
from fastgs.evaluation.autoencoders.coders import Coder, splat_coder
from fastgs.evaluation.autoencoders.measure import Dataset
from fastgs.evaluation.autoencoders.records import AutoencoderRecord
from fastgs.metrics.quality import psnr, ssim
from fastgs.splats import load_splats, read_index

ROOT = Path(__file__).parents[2]
NAMES = ("conv", "split", "plain-pixels")


def test_records_hold_what_each_image_gives(autoencoder_records, dataset, weights):
    records = by_name(autoencoder_records)
    splats = load_splats(dataset, "test")
    pixels = splats.pixels / 255
    assert list(records) == ["splats, test", "pixels, test", "conv, test", "split, test", "plain-pixels, test"]
    for name, path in zip(NAMES, weights, strict=True):
        record, autoencoder = records[f"{name}, test"], load_autoencoder(path)
        images = autoencoder.reconstruct(pixels if name == "plain-pixels" else splats.attributes)
        scores = [psnr(*pair) for pair in zip(images, pixels, strict=True)]
        assert record["psnr"] == pytest.approx(fmean(scores))
        assert record["psnr_std"] == pytest.approx(pstdev(scores))
        assert record["ssim"] == pytest.approx(fmean(ssim(*pair) for pair in zip(images, pixels, strict=True)))
        assert record["latent"] == (latent := 6 if name == "split" else 4)
        assert (record["bytes_latent"], record["bytes_splats"], record["bytes_image"]) == (4 * latent, 2048, 768)
        assert record["compression_image"] == 192 / latent
        assert record["compression_splats"] == 512 / latent
        assert record["parameters_count"] == sum(each.numel() for each in autoencoder.network.state_dict().values())
        assert record["seconds_encode"] > 0
        assert record["seconds_decode"] > 0


def test_records_describe_the_autoencoders(autoencoder_records):
    records = by_name(autoencoder_records)
    names = ("content", "model", "parameters", "per_attribute", "parameter_weight", "rendering_weight", "seed")
    told = {name: [records[f"{name}, test"][field] for field in names] for name in NAMES}
    assert told["conv"] == ["splats", "conv", "anchored", False, 0.1, 1.0, 3]
    assert told["split"] == ["splats", "deep", "plain", True, 0.1, 1.0, 3]
    assert told["plain-pixels"] == ["pixels", "deep", None, False, 0.1, 1.0, 3]


def test_records_without_autoencoder_are_bounds(autoencoder_records, dataset):
    records = by_name(autoencoder_records)
    splats, index = load_splats(dataset, "test"), read_index(dataset)
    ceiling, originals = records["splats, test"], records["pixels, test"]
    assert ceiling["psnr"] == pytest.approx(fmean(entry.psnr for entry in splats.entries), abs=1e-3)
    assert ceiling["psnr"] > 25 > records["conv, test"]["psnr"]
    assert ceiling["seed"] == index.seed
    assert (originals["psnr"], originals["ssim"]) == (100, 1)
    assert originals["latent"] is None is ceiling["latent"]
    assert originals["probe_accuracy"] == 1 > originals["chance"]
    for record in records.values():
        assert (record["dataset"], record["split"], record["images"]) == ("bars", "test", len(splats.entries))
        assert record["num_gaussians"] == 64
        assert record["chance"] == originals["chance"]
        assert record["probe_accuracy"] * 4 in range(5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LightningCLI's args", "ignore::DeprecationWarning", "ignore:The number")
def test_weights_that_training_exports_are_described(dataset, tmp_path):
    from fastgs.training.cli import main as train

    config = ROOT / "configs" / "autoencoder_conv.yaml"
    small = ("--model.latent=4", "--model.width=2", "--data.batch_size=8", "--trainer.max_epochs=2")
    losses = ("--data.parameters=anchored", "--model.parameter_weight=0.1", "--model.rendering_weight=1")
    quiet = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
    place = (f"--data.folder={dataset}", f"--trainer.default_root_dir={tmp_path / 'mine'}")
    assert train(["fit", f"--config={config}", *small, *losses, *quiet, *place]) == 0
    assert evaluate(dataset, tmp_path / "mine" / "weights", output=tmp_path / "r.json") == 0
    record = by_name(tmp_path / "r.json")["mine, test"]
    names = ("content", "model", "parameters", "per_attribute", "parameter_weight", "rendering_weight", "seed")
    assert [record[name] for name in names] == ["splats", "conv", "anchored", False, 0.1, 1.0, 0]


def test_records_repeat(autoencoder_records, dataset, weights, tmp_path):
    assert evaluate(dataset, *weights, output=tmp_path / "r.json") == 0
    again, before = (repeatable(load(path), AutoencoderRecord) for path in (tmp_path / "r.json", autoencoder_records))
    assert again == before


def test_error_of_a_tenth_in_every_pixel_is_20_db(dataset):
    images = Dataset(dataset, "val")
    facts = dict(splat_coder(images.index, 16, 16).facts, latent=5)

    def decode(codes):
        values = codes.view(-1, 3, 16, 16)
        return torch.where(values > 0.5, values - 0.1, values + 0.1)

    seen: list[float] = []
    coder = Coder("off", "1", lambda splats: splats.pixels.flatten(1) / 255, decode, facts)
    record = measuring.measure(images, coder, lambda share, state: seen.append(share))
    assert record.psnr == pytest.approx(20, abs=1e-4)
    assert record.psnr_std == pytest.approx(0, abs=1e-4)
    assert (record.bytes_latent, record.compression_image) == (20, 38.4)
    assert seen == [1.0]
    assert record.probe_accuracy == 1  # the codes that are measured are those that the probe gets
    assert record.result.startswith("20.00 dB  38.4:1  probe 100.0%")
    with pytest.raises(ValueError, match=r"^the reconstructions hold NaN; train the autoencoder again$"):
        measuring.measure(images, coder._replace(decode=lambda codes: decode(codes * math.nan)))


def test_tiny_images_without_classes_have_neither_probe_nor_ssim(bars, tmp_path, capsys):
    options = ("-k", 4, "--size", 4, "--iterations", 1, "--workers", 1, "--output", tmp_path / "bare")
    assert run("splats", "make", bars / "lies", *options) == 0
    save_weights(tmp_path / "w", tmp_path / "bare")
    capsys.readouterr()
    assert evaluate(tmp_path / "bare", tmp_path / "w", output=tmp_path / "r.json") == 0
    said, records = capsys.readouterr(), by_name(tmp_path / "r.json")
    assert list(records) == ["splats, test", "w, test"]
    assert said.err == ""
    assert said.out.splitlines()[1] == f"{tmp_path / 'bare'}: w, test split  {records['w, test']['psnr']:.2f} dB  2:1"
    assert all(each[name] is None for each in records.values() for name in ("ssim", "probe_accuracy", "chance"))
    assert run("table", tmp_path / "r.json", "--output", tmp_path) == 0
    assert "probe of the class" not in (tmp_path / "table.md").read_text("utf-8")
    assert (tmp_path / "psnr-latent.png").exists()
    assert not (tmp_path / "ssim-latent.png").exists()


def test_only_new_autoencoders_and_new_weights_are_measured(
    autoencoder_records, dataset, weights, tmp_path, monkeypatch
):
    output, again = tmp_path / "r.json", tmp_path / "split.safetensors"
    shutil.copy(autoencoder_records, output)
    made: list[str] = []

    def watched(dataset, coder, progress):
        made.append(f"{coder.name}, {dataset.split}")
        return measuring.measure(dataset, coder, progress)

    monkeypatch.setattr(splats_evaluating, "measure", watched)
    assert evaluate(dataset, *weights, output=output) == 0
    assert made == []
    assert output.read_bytes() == autoencoder_records.read_bytes()
    save_weights(again, dataset, parameters="plain", split=True, seed=1)
    assert evaluate(dataset, again, weights[0], output=output) == 0
    assert evaluate(dataset, weights[0], output=output, more=("--split", "val")) == 0
    assert made == ["split, test", "splats, val", "pixels, val", "conv, val"]
    before, after = by_name(autoencoder_records), by_name(output)
    assert list(after) == [
        *("plain-pixels, test", "splats, test", "pixels, test", "split, test", "conv, test"),
        *("splats, val", "pixels, val", "conv, val"),
    ]
    assert after["split, test"]["sha256"] != before["split, test"]["sha256"]
    assert all(after[name] == before[name] for name in before if name != "split, test")
    # The probe is the same, whatever split is measured.
    assert after["conv, val"]["probe_accuracy"] == before["conv, test"]["probe_accuracy"]


def test_damaged_shard_is_named_and_the_rest_replaces_the_whole(autoencoder_records, dataset, tmp_path, caplog):
    shutil.copytree(dataset, tmp_path / "bars")
    test = [entry for entry in read_index(dataset).entries if entry.split == "test"]
    shard = tmp_path / "bars" / test[0].shard
    shard.write_bytes(shard.read_bytes()[:-9])
    shutil.copy(autoencoder_records, tmp_path / "r.json")
    assert evaluate(tmp_path / "bars", output=tmp_path / "r.json") == 0
    assert str(shard) in caplog.text
    records = by_name(tmp_path / "r.json")
    assert len(records) == len(load(autoencoder_records))
    assert records["splats, test"]["images"] == sum(entry.shard != test[0].shard for entry in test)


def test_picture_shows_originals_fits_and_reconstructions(autoencoder_records, dataset, weights):
    """The images are the first, a middle one and the last; each pixel is a square."""
    picture = np.asarray(Image.open(autoencoder_records.parent / "bars-test.png"))
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
