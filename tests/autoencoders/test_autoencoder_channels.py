"""Autoencoders of images that are not RGB: through the command line from the files to the records, and mixing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgs.autoencoders.networks import NETWORKS, build_autoencoder
from fastgs.autoencoders.pretrained import TrainedAutoencoder, load_autoencoder, save_autoencoder, set_shape
from fastgs.cli import main as cli
from fastgs.splats import load_splats, read_index
from fastgs.splats.channels import COLORS, attribute_slices

CONFIG = Path(__file__).parents[2] / "configs" / "autoencoder_anchored.yaml"

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings(
        "ignore:LightningCLI's args", "ignore::DeprecationWarning", "ignore::UserWarning:lightning", "ignore:.*LeafSpec"
    ),
]


def run(*arguments) -> int:
    return cli.main(["splats", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Return datasets of the same images of two classes, with each kind of channels."""
    folder = tmp_path_factory.mktemp("datasets")
    numbers = np.random.default_rng(0)
    for number in range(16):
        label = ("lies", "stands")[number % 2]
        pixels = numbers.integers(0, 60, (16, 16, 4), dtype=np.uint8)
        pixels[..., 3] = 200
        pixels[6:9, 2:14] += 50
        (folder / "photos" / label).mkdir(parents=True, exist_ok=True)
        turned = pixels if number % 2 else pixels.swapaxes(0, 1)
        Image.fromarray(np.ascontiguousarray(turned)).save(folder / "photos" / label / f"{number}.png")
    for channels in COLORS:
        options = ("-k", 64, "--size", 16, "--iterations", 5, "--workers", 1, "--channels", channels)
        assert run("make", folder / "photos", *options, "--output", folder / channels) == 0
    return {channels: folder / channels for channels in COLORS}


def make_autoencoder(folder: Path, content="splats", model="conv", per_attribute=False) -> TrainedAutoencoder:
    """Return an autoencoder for a dataset, with random weights."""
    index = read_index(folder)
    colors = index.settings.colors
    rows, columns, channels = set_shape(content, 64, 16, 16, colors)
    slices = attribute_slices("anchored", colors).values()
    groups = [part.stop - part.start for part in slices] if per_attribute else [channels]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_autoencoder(model, groups, 6, rows=rows, columns=columns, width=2).eval()
    return TrainedAutoencoder(
        content, network, 16, 16, index.normalizations["anchored"] if content == "splats" else None
    )


@pytest.mark.slow
def test_gray_dataset_is_made_trained_on_and_evaluated(made, tmp_path, capsys):
    """The configuration is that of RGB, without a change."""
    from fastgs.training.cli import main as train

    trainer = ("--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.devices=1", "--data.batch_size=4",
               "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
               "--trainer.check_val_every_n_epoch=1", "--trainer.num_sanity_val_steps=0", "--model.width=2",
               "--model.latent=6", "--model.warmup_steps=1")  # fmt: skip
    folders = (f"--trainer.default_root_dir={tmp_path / 'coder'}", f"--data.folder={made['gray']}")
    assert train(["fit", f"--config={CONFIG}", *trainer, *folders]) == 0
    options = ("--output", tmp_path / "records.json", "--pictures", tmp_path)
    assert run("evaluate", made["gray"], "--autoencoders", tmp_path / "coder" / "weights", *options) == 0
    records = {record["autoencoder"]: record for record in json.loads((tmp_path / "records.json").read_text())}
    assert records.keys() == {"splats", "pixels", "coder"}
    for record in records.values():
        assert (record["bytes_image"], record["bytes_splats"]) == (256, 64 * 4 * 6)
        assert 0 <= record["probe_accuracy"] <= 1 and 0 < record["ssim"] <= 1
    fits = [entry.psnr for entry in load_splats(made["gray"], "test").entries]
    assert records["splats"]["psnr"] == pytest.approx(sum(fits) / len(fits), abs=1e-2)
    assert Image.open(tmp_path / "gray-test.png").mode == "RGB"
    # A dataset of other channels is refused.
    assert run("evaluate", made["rgb"], "--autoencoders", tmp_path / "coder" / "weights", *options) == 2
    assert capsys.readouterr().err.endswith(
        f"argument --autoencoders: {tmp_path / 'coder' / 'weights'}: is for gray images, and the dataset's are rgb; "
        "name others\n"
    )


@pytest.mark.parametrize("channels", COLORS)
def test_every_kind_of_channels_is_evaluated(made, tmp_path, channels):
    for content in ("splats", "pixels"):
        save_autoencoder(tmp_path / f"of-{content}", make_autoencoder(made[channels], content), {})
    options = ("--output", tmp_path / "r.json", "--pictures", tmp_path)
    coders = (tmp_path / "of-splats", tmp_path / "of-pixels")
    assert run("evaluate", made[channels], "--autoencoders", *coders, *options) == 0
    records = json.loads((tmp_path / "r.json").read_text())
    assert len(records) == 4 and {record["bytes_image"] for record in records} == {256 * len(COLORS[channels])}


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("channels", ["gray", "rgba"])
def test_saved_autoencoder_of_other_channels_is_loaded(made, tmp_path, model, channels):
    splats, count = load_splats(made[channels]), len(COLORS[channels])
    for content, per_attribute in (("splats", False), ("splats", True), ("pixels", False)):
        autoencoder = make_autoencoder(made[channels], content, model, per_attribute)
        assert autoencoder.colors == count
        save_autoencoder(tmp_path / "coder", autoencoder, {})
        images = splats.attributes if content == "splats" else splats.pixels / 255
        restored = load_autoencoder(tmp_path / "coder").reconstruct(images)
        assert restored.shape == (16, count, 16, 16)
        assert torch.equal(restored, autoencoder.reconstruct(images))


def test_images_of_other_channels_are_refused(made):
    gray, rgb = load_splats(made["gray"]), load_splats(made["rgb"])
    with pytest.raises(ValueError, match=r"^images: expected Gaussians of 1 colour channels, got 3$"):
        make_autoencoder(made["gray"]).encode(rgb.attributes)
    with pytest.raises(ValueError, match=r"^images: expected pixels \(N, 3, 16, 16\), got pixels of shape \(16, 1, "):
        make_autoencoder(made["rgb"], "pixels").encode(gray.pixels / 255)
    network, normalizations = make_autoencoder(made["rgb"]).network, read_index(made["gray"]).normalizations
    with pytest.raises(ValueError, match=r"^network: expected rows, columns and channels of \(8, 8, 6\) for splats "):
        TrainedAutoencoder("splats", network, 16, 16, normalizations["anchored"])
