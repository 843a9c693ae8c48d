"""Tests of autoencoders: networks, the meaning of their numbers, their files and their data."""

import json
import re
from math import sqrt

import pytest
import torch
import torchvision
from networks import random_sets
from splat_data import make_splats
from torch import nn

from fastgs import Gaussians, render
from fastgs.autoencoders.networks import NETWORKS, Autoencoder, build_autoencoder
from fastgs.autoencoders.pretrained import TrainedAutoencoder, load_autoencoder, save_autoencoder
from fastgs.fitting.parametrization import Attributes
from fastgs.splats import SplatDataset
from fastgs.splats.channels import Normalization, to_channels
from fastgs.splats.index import load_splats, read_index

SMALL = {"rows": 8, "columns": 8, "width": 4}


pytestmark = pytest.mark.usefixtures("one_thread")


# Networks


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (11, 6), (3, 1)])
def test_networks_map_sets_to_latents_and_back(model, rows, columns):
    options = {"rows": rows, "columns": columns, "width": 2, "dropout": 0.1}
    network = build_autoencoder(model, [5], 7, batch_norm=rows == 16, **options)
    sets = random_sets(3, rows * columns, 5)
    latents, outputs = network.encode(sets), network(sets)
    assert latents.shape == (3, 7) and outputs.shape == sets.shape and outputs.abs().max() <= 1
    outputs.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in network.modules()) == (rows == 16)
    network.eval()
    assert torch.equal(network(sets), network.decode(network.encode(sets)))


def test_deep_has_four_linear_layers_each_way():
    network = build_autoencoder("deep", [8], 10, **SMALL)
    for half, first, last in ((network.encoder, 8 * 64, 10), (network.decoder, 10, 8 * 64)):
        layers = [layer for layer in half if isinstance(layer, nn.Linear)]
        assert len(layers) == 4 and (layers[0].in_features, layers[-1].out_features) == (first, last)


def test_resnet_of_width_64_is_resnet_18():
    network = build_autoencoder("resnet", [8], 10, rows=8, columns=8, width=64)
    ours, theirs = (
        [tuple(layer.weight.shape) for layer in each.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
        for each in (network.encoder, torchvision.models.resnet18())
    )
    assert sorted(ours[1:]) == sorted(theirs[1:]) and ours[0] == (64, 8, 3, 3)


def test_split_autoencoder_keeps_attributes_apart():
    network = build_autoencoder("deep", [2, 3, 3], 10, **SMALL).eval()
    assert [part.latent for part in network.parts] == [4, 3, 3] and (network.latent, network.channels) == (10, 8)
    sets = random_sets(2, 64, 8)
    latents, other = network.encode(sets), sets.clone()
    other[..., 4] += 0.5
    changed = (network.encode(other) != latents).any(0)
    assert not changed[:4].any() and changed[4:7].all() and not changed[7:].any()
    latents_changed = latents.clone()
    latents_changed[:, 8] += 1
    changed = (network.decode(latents_changed) != network.decode(latents)).any(0).any(0)
    assert changed.tolist() == [False] * 5 + [True] * 3


def test_weight_init_sets_range_and_biases():
    networks = {
        name: build_autoencoder("deep", [8], 10, weight_init=name, **SMALL) for name in ("default", "xavier", "kaiming")
    }
    first = {name: network.encoder.requires_grad_(False)[1] for name, network in networks.items()}
    bound = sqrt(6 / (512 + 64))
    assert first["xavier"].weight.abs().max() == pytest.approx(bound, rel=1e-3)
    assert first["kaiming"].weight.std() == pytest.approx(sqrt(2 / 512), rel=0.02)
    assert first["default"].weight.abs().max() == pytest.approx(1 / sqrt(512), rel=1e-3)
    assert [bool(layer.bias.any()) for layer in first.values()] == [True, False, False]


@pytest.mark.parametrize(
    ("groups", "options", "message"),
    [
        ([8], {"latent": 0}, "latent: must be at least 1, one number for each attribute, got 0"),
        ([2, 3, 3], {"latent": 2}, "latent: must be at least 3, one number for each attribute, got 2"),
        ([8], {"width": 0}, "width: must be at least 1, got 0"),
        ([8], {"dropout": 1.0}, "dropout: must be in [0, 1), got 1.0"),
        ([8], {"weight_init": "zeros"}, "weight_init: expected one of default, xavier, kaiming, got 'zeros'"),
    ],
)
def test_wrong_arguments_are_named(groups, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_autoencoder("conv", groups, **{"latent": 10, **SMALL, **options})


# Meaning of the numbers


class Copier(Autoencoder):
    """Autoencoder without any loss."""

    parts = ()

    def __init__(self, rows, columns, channels):
        super().__init__()
        self.rows, self.columns, self.channels, self.latent = rows, columns, channels, rows * columns * channels

    def encode(self, sets):
        return sets.flatten(1)

    def decode(self, latents):
        return latents.unflatten(1, (self.rows * self.columns, self.channels))


@pytest.mark.parametrize("parameters", ["plain", "anchored"])
def test_normalization_and_rendering_lose_nothing(parameters):
    """The 300 images are more than go through a network at a time."""
    attributes = Attributes(
        *(random_sets(300, 16, 2, seed=1) * 3 + 4, random_sets(300, 16, 2, seed=2) + 1.2),
        *(random_sets(300, 16, seed=3), random_sets(300, 16, 3, seed=4) / 2 + 0.5),
    )
    channels = to_channels(attributes, parameters, 8, 8)
    low, high = channels.amin((0, 1)) - 0.1, channels.amax((0, 1)) + 0.1
    normalization = Normalization(parameters, low, high, (low + high) / 2, high - low)
    autoencoder = TrainedAutoencoder("splats", Copier(4, 4, 8), 8, 8, normalization)
    assert (autoencoder.parameters, autoencoder.num_gaussians) == (parameters, 16)
    latents = autoencoder.encode(attributes)
    assert latents.shape == (300, 128) and latents.abs().max() <= 1
    expected = torch.stack([render(Gaussians(*each, 8, 8)) for each in zip(*attributes, strict=True)])
    assert torch.allclose(autoencoder.reconstruct(attributes), expected, atol=1e-4)
    decoded = autoencoder.decode(latents)
    assert torch.allclose(decoded.means, attributes.means, atol=1e-5)
    assert torch.allclose(decoded.scales.sort(-1).values, attributes.scales.sort(-1).values, atol=1e-5)


def test_pixels_are_their_own_picture():
    pixels = random_sets(3, 3, 5, 7) / 2 + 0.5
    autoencoder = TrainedAutoencoder("pixels", Copier(5, 7, 3), 5, 7)
    assert (autoencoder.parameters, autoencoder.num_gaussians) == (None, None)
    assert autoencoder.encode(pixels)[0, :3].tolist() == pytest.approx((pixels[0, :, 0, 0] * 2 - 1).tolist())
    for restored in (autoencoder.reconstruct(pixels), autoencoder.decode(autoencoder.encode(pixels))):
        assert torch.allclose(restored, pixels, atol=1e-6)


def make_autoencoder(splats_folder, content="splats", groups=(2, 3, 3), model="conv"):
    """Return an autoencoder with random weights."""
    torch.manual_seed(0)
    normalization = read_index(splats_folder).normalizations["anchored"] if content == "splats" else None
    side = 8 if content == "splats" else 16
    network = build_autoencoder(model, groups, 10, rows=side, columns=side, width=4).eval()
    return TrainedAutoencoder(content, network, 16, 16, normalization)


def test_images_of_other_kind_are_refused(splats_folder):
    splats = load_splats(splats_folder)
    pixels = splats.pixels / 255
    with pytest.raises(
        ValueError, match=r"^images: expected 64 Gaussians each, got pixels of shape \(12, 3, 16, 16\)$"
    ):
        make_autoencoder(splats_folder).encode(pixels)
    fewer = Attributes(*(each[:, :49] for each in splats.attributes))
    with pytest.raises(ValueError, match=r"^images: expected 64 Gaussians each, got Gaussians of shape \(12, 49, 2\)$"):
        make_autoencoder(splats_folder).encode(fewer)
    autoencoder = make_autoencoder(splats_folder, "pixels", [3])
    with pytest.raises(ValueError, match=r"^images: expected pixels \(N, 3, 16, 16\), got pixels of shape "):
        autoencoder.encode(pixels[..., :8])
    with pytest.raises(
        ValueError, match=r"^network: expected rows, columns and channels of \(16, 16, 8\) for splats of "
    ):
        TrainedAutoencoder("splats", autoencoder.network, 16, 16, make_autoencoder(splats_folder).normalization)


# Files


@pytest.mark.parametrize("content", ["splats", "pixels"])
def test_saved_autoencoder_is_loaded(splats_folder, tmp_path, content):
    autoencoder = make_autoencoder(splats_folder, content, [2, 3, 3] if content == "splats" else [3])
    for name in ("first.json", "deeper/second"):
        save_autoencoder(tmp_path / name, autoencoder, {"seed": 3})
    paths = [tmp_path / "first", tmp_path / "deeper/second.safetensors"]
    assert len({path.with_suffix(".safetensors").read_bytes() for path in paths}) == 1
    assert json.loads((tmp_path / "first.json").read_text())["training"] == {"seed": 3}
    splats = load_splats(splats_folder)
    images = splats.attributes if content == "splats" else splats.pixels / 255
    before = torch.random.get_rng_state()
    for path in paths:
        loaded = load_autoencoder(path)
        assert torch.equal(loaded.reconstruct(images), autoencoder.reconstruct(images))
        assert (loaded.content, loaded.parameters) == (content, autoencoder.parameters)
    assert torch.equal(torch.random.get_rng_state(), before)


RANGE = {"low": [0.0] * 8, "high": [0.0] * 8, "mean": [0.0] * 8, "std": [0.0] * 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "fastgs.weights"}, "describes no autoencoder (is of the format 'fastgs.weights')"),
        ({"content": "sounds"}, "content: expected one of splats, pixels, got 'sounds'"),
        ({"content": "pixels"}, "normalization: splats have one and pixels have none; the content is pixels"),
        ({"normalization": None}, "normalization: splats have one"),
        ({"normalization": RANGE}, "anchored: a channel has no range"),
        ({"parameters": ["plain"]}, "parameters: expected one of plain, anchored, got ['plain']"),
        ({"height": 16.0}, "height: expected an integer of at least 1, got 16.0"),
        (
            {"width": 64},
            "network: expected rows, columns and channels of (4, 16, 8) for splats of 16 x 64 pixels",
        ),
        ({"width": 23}, "num_gaussians: 64 cells make no grid"),
        ({"model": ["conv"]}, "model: expected one of deep, conv, resnet"),
        ({"networks": []}, "networks: expected a list of the arguments of each"),
        ({"networks": [{"latent": 3}]}, "networks: expected just channels (int), rows (int), columns (int), "),
    ],
)
def test_damaged_files_are_reported_in_one_line(splats_folder, tmp_path, changes, message):
    save_autoencoder(tmp_path / "small", make_autoencoder(splats_folder), {})
    path = tmp_path / "small.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}") as raised:
        load_autoencoder(path)
    assert "\n" not in str(raised.value)


def test_arguments_of_other_networks_are_refused(splats_folder, tmp_path):
    """The sizes are impossible, do not fit the weights, or do not fit each other."""
    for change, name, message in (
        ({"width": -1}, "json: no network can be built from this ", "(width: must be at least 1, got -1)"),
        ({"latent": 9}, "safetensors: parts.0.encoder.", "expected torch.float32 of shape (9, "),
        ({"rows": 16}, "json: ", "networks: expected one or more, all of the same rows and columns"),
    ):
        save_autoencoder(tmp_path / "small", make_autoencoder(splats_folder), {})
        path = tmp_path / "small.json"
        info = json.loads(path.read_text())
        info["networks"][0] |= change
        path.write_text(json.dumps(info))
        with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path}/small.{name}')}.*{re.escape(message)}"):
            load_autoencoder(path)
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path}/none.safetensors: no such file; give the path "):
        load_autoencoder(tmp_path / "none")


# Data


def test_layouts_hold_the_same_numbers(splats_folder):
    datasets = {layout: SplatDataset(splats_folder, "train", "plain", layout) for layout in ("set", "flat", "image")}
    splats = load_splats(splats_folder, "train")
    for index in (0, len(splats.entries) - 1):
        samples = {layout: dataset[1, index] for layout, dataset in datasets.items()}
        inputs = samples["set"].inputs
        assert inputs.shape == (64, 8) and inputs.abs().max() <= 1
        assert torch.equal(samples["flat"].inputs, inputs.reshape(-1))
        assert torch.equal(samples["image"].inputs[5, 2, 3], inputs[2 * 8 + 3, 5])
        assert torch.equal(samples["set"].pixels, splats.pixels[index] / 255)
        assert datasets["set"].labels[samples["set"].label] in splats.entries[index].source
        means = datasets["set"].normalization.channels(inputs)[:, :2] * 16
        inside = (inputs[:, :2].abs() < 1).all(1)
        assert inside.sum() > 50 and torch.allclose(means[inside], splats.attributes.means[index][inside], atol=1e-4)


def test_data_without_grid_are_refused_where_grid_is_needed(tmp_path):
    gridless = make_splats(tmp_path, 6, num_gaussians=31, initialization="random")
    assert len(SplatDataset(gridless, "train", "plain", "flat")) == 4
    with pytest.raises(ValueError, match=f"^{gridless}: has no 'anchored' parameters, as its fits did not start from "):
        SplatDataset(gridless, "train", "anchored")
    with pytest.raises(ValueError, match=r"^num_gaussians: 31 cells make no grid of 6 rows "):
        SplatDataset(gridless, "train", "plain", "image")
    with pytest.raises(ValueError, match=r"^layout: expected one of set, flat, image, got 'cube'$"):
        SplatDataset(gridless, "train", "plain", "cube")
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path}/nowhere/index.json: no such file; make the dataset with"):
        SplatDataset(tmp_path / "nowhere", "train")
