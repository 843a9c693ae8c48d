"""Datasets of gray, RGBA and gray-alpha images: what is read, fitted and kept, and RGB files that stay as they were."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgs import render
from fastgs.data.symmetry import turn_image
from fastgs.fitting.parametrization import Attributes
from fastgs.io.images import ImageError
from fastgs.metrics.quality import psnr
from fastgs.splats import Entry, Index, SplatDataset, load_splats, read_index
from fastgs.splats.channels import COLORS, Normalization, attribute_slices, channel_names, from_channels, to_channels
from fastgs.splats.index import write_index
from fastgs.splats.making import check_folder, make
from fastgs.splats.shards import Content, Row, Settings, read_shard, write_shard
from fastgs.splats.sources import Source, find_sources, listing, load_channels

SIDE = 16
LUMA = np.array([0.299, 0.587, 0.114])
SHARD = "shard-00000.safetensors"


def draw(number: int) -> np.ndarray:
    """Return the (16, 16, 4) uint8 pixels of a disc with a soft edge, coloured where it is transparent, too."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    numbers = np.random.default_rng(number)
    alpha = np.clip((numbers.uniform(4, 7) - np.hypot(x - 8, y - 8)) * 100, 0, 255)
    colors = [np.full((SIDE, SIDE), level) + slope * x for level, slope in numbers.uniform(20, 80, (3, 2)) / [1, 12]]
    return np.stack([*colors, alpha], axis=-1).astype(np.uint8)


def save_image(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    return path


def expected_values(pixels: np.ndarray, channels: str) -> torch.Tensor:
    """Return what RGBA pixels should be read as, by the definitions."""
    values = pixels.astype(np.float64) / 255
    colors, alpha = values[..., :3], values[..., 3:]
    colors = colors * alpha if channels in ("rgba", "gray-alpha") else colors * alpha + 1 - alpha
    if channels.startswith("gray"):
        colors = (colors @ LUMA)[..., None]
    kept = [colors, alpha] if channels in ("rgba", "gray-alpha") else [colors]
    return torch.from_numpy(np.concatenate(kept, axis=-1)).permute(2, 0, 1).float()


def settings(channels, sources, **changes) -> Settings:
    given = {"num_gaussians": 64, "initialization": "grid", "iterations": 10, "seed": 0, "size": SIDE, "crops": None}
    return Settings(**{**given, **changes}, shard_size=8, sources=listing(sources), channels=channels)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(9):
        save_image(folder / f"{number}.png", draw(number))
    return folder


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory) -> dict[str, Path]:
    """Return a dataset of the same images with each kind of channels."""
    sources, folders = find_sources(photos), {}
    for channels in COLORS:
        folders[channels] = tmp_path_factory.mktemp(channels)
        make(sources, settings(channels, sources), folders[channels])
    return folders


# Reading


@pytest.mark.parametrize("channels", COLORS)
def test_image_is_converted_to_channels(tmp_path, channels):
    whole = draw(0)
    opaque = np.concatenate([whole[..., :3], np.full((SIDE, SIDE, 1), 255, np.uint8)], axis=-1)
    gray = whole[..., [0, 0, 0, 3]]
    files = {
        "rgba.png": (whole, whole),
        "rgb.png": (whole[..., :3], opaque),
        "gray.png": (gray[..., 0], np.concatenate([gray[..., :3], opaque[..., 3:]], axis=-1)),
        "gray-alpha.png": (gray[..., 2:], gray),
    }
    for name, (stored, pixels) in files.items():
        for source in (save_image(tmp_path / name, stored), stored):
            values = load_channels(source, channels)
            assert values.dtype == torch.float32 and values.is_contiguous()
            torch.testing.assert_close(values, expected_values(pixels, channels), atol=1e-6, rtol=0)


def test_numbers_that_are_no_colours_are_refused(tmp_path):
    np.save(tmp_path / "stack.npy", np.random.default_rng(0).random((5, SIDE, SIDE), np.float32))
    Image.fromarray(np.full((SIDE, SIDE), 7, np.float32)).save(tmp_path / "light.tif")
    for name, reason in (
        ("stack.npy", "has 5 channels that are not gray or RGB; convert it to PNG"),
        ("light.tif", "has high dynamic range, which a dataset cannot hold; convert it to sRGB"),
        ("none.png", "no such file"),
    ):
        source = Source(name, tmp_path / name)
        with pytest.raises(ImageError, match=f"^{reason}") as raised:
            source.read("gray")
        assert "\n" not in str(raised.value)


# Datasets


@pytest.mark.parametrize("channels", COLORS)
def test_dataset_renders_with_the_psnr_of_the_fits(made, photos, channels):
    dataset = SplatDataset(made[channels], "train", "plain")
    count = len(COLORS[channels])
    assert (dataset.channels, dataset.colors) == (channels, count)
    assert dataset.pixels.shape == (len(dataset), count, SIDE, SIDE)
    for number, entry in enumerate(dataset.entries):
        gaussians, sample = dataset.gaussians(number), dataset[number]
        assert (gaussians.channels, gaussians.alpha) == (count, channels in ("rgba", "gray-alpha"))
        assert sample.inputs.shape == (64, 5 + count)
        target = expected_values(np.array(Image.open(photos / entry.source)), channels)
        torch.testing.assert_close(sample.pixels, target, atol=0.51 / 255, rtol=0)
        assert psnr(render(gaussians), sample.pixels) == pytest.approx(entry.psnr, abs=1e-3) and entry.psnr > 25
        if gaussians.alpha:
            assert (sample.pixels[:-1] <= sample.pixels[-1:]).all()


@pytest.mark.parametrize("channels", COLORS)
def test_files_name_their_channels(made, channels):
    item = json.loads((made[channels] / "index.json").read_text())
    header, content = read_shard(made[channels] / SHARD)
    if channels == "rgb":
        assert item["version"] == "1" and "channels" not in item["settings"]
    else:
        assert item["version"] == "2" and item["settings"]["channels"] == channels
    index = read_index(made[channels])
    assert index.channels == header.settings.channels == channels
    for normalization in index.normalizations.values():
        assert normalization.colors == content.attributes.colors.shape[-1] == len(COLORS[channels])


def test_gray_and_crops_and_whole_images_of_any_size(photos, tmp_path):
    sources = find_sources(photos)[:3]
    for name, changes in (("crops", {"size": 7, "crops": 2}), ("whole", {"size": None}), ("resized", {"size": 9})):
        (tmp_path / name).mkdir()
        given = settings("gray-alpha", sources, num_gaussians=20, initialization="random", iterations=1, **changes)
        make(sources, given, tmp_path / name)
        splats = load_splats(tmp_path / name)
        side = changes["size"] or SIDE
        assert {tuple(image.shape) for image in splats.pixels} == {(2, side, side)}
        assert all((image[0] <= image[1]).all() for image in splats.pixels)


def test_folder_of_other_channels_is_refused(made, photos):
    sources = find_sources(photos)
    with pytest.raises(ValueError, match=r"holds another dataset \(channels gray, not rgb\); choose another folder"):
        check_folder(made["gray"], settings("rgb", sources))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"channels": "cmyk"}, "has channels 'cmyk', which version '2' does not have"),
        ({"channels": "rgb"}, "has channels 'rgb', which version '2' does not have"),
        ({"channels": 1}, "has an improper channels"),
        ({"channels": "rgba"}, "has normalizations of other channels than rgba"),
    ],
)
def test_index_with_improper_channels_is_refused(made, tmp_path, changes, reason):
    item = json.loads((made["gray"] / "index.json").read_text())
    item["settings"] |= changes
    (tmp_path / "index.json").write_text(json.dumps(item))
    with pytest.raises(
        ValueError, match=f"^{tmp_path / 'index.json'}: {reason}; delete it, and make the dataset again"
    ):
        read_index(tmp_path)


def test_rgb_files_keep_their_bytes(tmp_path):
    """The hashes are those of files that were written before datasets had other channels."""

    def ramp(*shape):
        return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape) / 64 + 1

    given = Settings(4, "grid", 10, 3, 2, None, 8, "0" * 64)
    content = Content(
        Attributes(ramp(1, 4, 2), ramp(1, 4, 2), ramp(1, 4), ramp(1, 4, 3)), torch.arange(12, dtype=torch.uint8)
    )
    header = write_shard(tmp_path / SHARD, given, "", [Row(0, 0, 0, 2, 2, 30.5)], [], content)
    ends = torch.arange(8.0)
    entries = [Entry("a.png", 0, 0, 2, 2, None, 30.5, "train", SHARD, 0)]
    normalizations = {"plain": Normalization("plain", ends, ends + 1, ends, ends)}
    write_index(tmp_path, Index(given, [], entries, normalizations, {SHARD: header.sha256}))
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert hashes == {
        "index.json": "ea360b71fa37419949c5c79915c03fe7288bb06dde1325932069ca301be83572",
        SHARD: "60fba1f3d23cfc064add725857af6aea322fba404aab6de6620fb0dfec7f8a90",
    }
    assert torch.equal(load_splats(tmp_path).pixels, torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2))


# Channels of Gaussians


def test_channels_have_names():
    assert channel_names("plain", 1)[-2:] == ("rotation", "gray")
    assert channel_names("anchored", 2)[-2:] == ("gray", "alpha")
    assert channel_names("plain")[5:] == ("red", "green", "blue")
    assert channel_names("plain", 4)[5:] == ("red", "green", "blue", "alpha")
    assert channel_names("anchored", 9)[4:7] == ("stretch_q", "color_1", "color_2")
    for parameters in ("plain", "anchored"):
        slices = attribute_slices(parameters, 9)
        names = [name for part in slices.values() for name in channel_names(parameters, 9)[part]]
        assert tuple(names) == channel_names(parameters, 9)


@pytest.mark.parametrize("colors", [1, 2, 4, 9, 32])
@pytest.mark.parametrize("parameters", ["plain", "anchored"])
def test_channels_of_any_number_of_colours_are_restored(colors, parameters):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 16, 2), (2, 16, 2), (2, 16), (2, 16, colors))
    gaussians = Attributes(*(torch.rand(shape, generator=generator) + 0.5 for shape in shapes))
    channels = to_channels(gaussians, parameters, 8, 8)
    assert channels.shape == (2, 16, len(channel_names(parameters, colors)))
    back = from_channels(channels, parameters, 8, 8)
    torch.testing.assert_close(back.means, gaussians.means)
    assert torch.equal(back.colors, gaussians.colors)
    normalization = Normalization.from_values(channels, parameters)
    again = Normalization.from_json(parameters, normalization.as_json())
    assert again.colors == colors and again.normalized(channels).shape == channels.shape


def test_turned_images_keep_alpha(made):
    still, turned = (SplatDataset(made["rgba"], "train", turn=turn) for turn in (False, True))
    for epoch in range(4):
        symmetry = turned.symmetry(epoch, 0)
        assert torch.equal(turned[epoch, 0].pixels, turn_image(still[0].pixels, symmetry))
        assert torch.equal(turned[epoch, 0].inputs[:, 5:].sort(0).values, still[0].inputs[:, 5:].sort(0).values)
