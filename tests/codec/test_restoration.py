"""Restoration: the network without torch, its use by encoders, and files that ask for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from layer_data import sample_file

from fastgs.codec import decode, decode_arrays, decode_image, encode, read_frame, read_restoration, restoration
from fastgs.codec.fastgs import Fastgs
from fastgs.codec.frame import write_frame
from fastgs.codec.restoration import Corrected, add, choose, correct, draw, draw_planes, prepare
from fastgs.codec.restoration_entry import GAIN_UNIT, LATEST, MODELS, MOST_GAIN, Restoration
from fastgs.io.checkpoints import CHECKPOINTS, read_arrays
from fastgs.metrics.quality import psnr
from fastgs.models.restoration import RestorationNetwork
from fastgs.render import render
from fastgs.render.cpu_arrays import Region


@pytest.fixture(scope="module")
def network():
    """Return a network whose last layer is not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RestorationNetwork(width=12, blocks=1)
        torch.nn.init.normal_(network.layers[-1].weight, std=0.02)
    return network.requires_grad_(False)


@pytest.fixture
def installed(network, monkeypatch):
    """Use the network in place of the one that ships."""
    layers = prepare({name: weights.numpy() for name, weights in network.state_dict().items()})
    monkeypatch.setattr(restoration, "load", lambda model: layers)


@pytest.mark.parametrize(("height", "width"), [(40, 50), (41, 51), (2, 2), (1, 1), (6, 131)])
def test_kernel_is_the_network(network, installed, random_gaussians, height, width):
    arrays = random_gaussians(60, height, width).arrays()
    drawn, correction = correct(arrays)
    np.testing.assert_allclose(drawn, render(decode_like(arrays)).numpy(), atol=1e-6)
    planes = np.pad(draw_planes(arrays), ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    wanted = network(torch.from_numpy(planes)[None])[0, :, :height, :width]
    np.testing.assert_allclose(correction, wanted.numpy(), atol=1e-5)
    assert np.abs(correction).max() > 1e-3


def decode_like(arrays):
    from fastgs.gaussians import Gaussians

    return Gaussians.from_arrays(arrays)


def test_planes_of_one_gaussian_are_its_own(random_gaussians):
    """In the middle of one Gaussian, areas are its own, nothing deviates, and the sum of weights is 1."""
    arrays = replace(random_gaussians(1, 8, 8), scales=torch.tensor([[3.0, 5.0]]), means=torch.tensor([[4.0, 4.0]]))
    planes = draw_planes(arrays.arrays())
    # The background of the blend is black, with the weight of EPSILON.
    assert planes[3, 4, 4] == pytest.approx(0.5 * np.log(15) - 1, abs=0.02)
    assert planes[4, 4, 4] == pytest.approx(5 * 0.01, abs=0.3)
    assert planes[5, 4, 4] == pytest.approx(0.4 * np.log(1.01), abs=0.02)


def test_a_part_equals_the_whole_bit_by_bit(installed, random_gaussians):
    arrays, entry = random_gaussians(80, 61, 83).arrays(), Restoration(1, (64, 32, 16))
    whole, rng = draw(arrays, entry), np.random.default_rng(0)
    for _ in range(8):
        x, y = int(rng.integers(83)), int(rng.integers(61))
        region = Region(x, y, int(rng.integers(1, 84 - x)), int(rng.integers(1, 62 - y)))
        part = draw(arrays, entry, region)
        assert np.array_equal(part, whole[:, y : y + region.height, x : x + region.width]), region


def test_strips_give_the_whole_bit_by_bit(installed, random_gaussians, monkeypatch):
    arrays = random_gaussians(80, 61, 83).arrays()
    whole = correct(arrays)
    monkeypatch.setattr(restoration, "STRIP_PIXELS", 7 * 83 + 1)
    assert all(np.array_equal(*pair) for pair in zip(correct(arrays), whole, strict=True))


def test_gains_are_those_of_least_squares(installed, random_gaussians):
    arrays = random_gaussians(60, 30, 40).arrays()
    corrected = drawn, correction = correct(arrays)
    for gains in ((0.25, 1.0, 2.5), (0.0, 0.5, 0.0)):
        image = drawn + np.float32(gains)[:, None, None] * correction
        assert choose(corrected, image) == Restoration(LATEST, tuple(round(gain / GAIN_UNIT) for gain in gains))
    assert choose(corrected, drawn) is None  # nothing is missing
    assert choose(corrected, drawn - correction) is None  # the network makes it worse
    assert choose(corrected, drawn + 9 * correction).gains == (MOST_GAIN,) * 3
    assert choose(corrected, drawn + correction + 0.1, least=20) is None


def test_correction_is_multiplied_by_the_gains():
    corrected = Corrected(np.zeros((3, 1, 1), np.float32), np.ones((3, 1, 1), np.float32))
    assert add(corrected, Restoration(1, (0, 64, 255)))[:, 0, 0].tolist() == [0, 1, 255 / 64]


def test_encoder_asks_for_restoration_where_it_helps(installed, astronaut):
    plain = Fastgs(restores=False).encode(astronaut, 300, iterations=60)
    encoded = encode(astronaut, num_gaussians=300, iterations=60)
    assert read_restoration(plain.data) is None
    assert torch.equal(encoded.gaussians.means, plain.gaussians.means)
    wanted = choose(correct(plain.gaussians.arrays()), astronaut.numpy())
    assert read_restoration(encoded.data) == encoded.restoration == wanted
    restored, rendered = decode_image(encoded.data), render(decode(encoded.data))
    assert torch.equal(encoded.draw(), restored)
    assert psnr(restored, astronaut) >= psnr(rendered, astronaut) + 0.01 * (wanted is not None)


def test_files_of_other_channels_are_not_restored(astronaut):
    data = encode(astronaut.mean(0, keepdim=True), num_gaussians=50, iterations=5).data
    assert data[3] == 2 and read_restoration(data) is None


def test_size_counts_the_entry(astronaut):
    data = encode(astronaut, bpp=0.5, iterations=40).data
    assert 0.97 * 1024 <= len(data) <= 1024


def test_cut_files_are_drawn_as_they_are(installed):
    frame = read_frame(sample_file())
    data = write_frame(replace(frame, restoration=Restoration(1, (64, 64, 64))))
    assert read_restoration(data) == Restoration(1, (64, 64, 64))
    assert not torch.equal(decode_image(data), render(decode(data)))
    cut = data[:-5]
    assert read_restoration(cut, partial=True) is None
    assert torch.equal(decode_image(cut, partial=True), render(decode(cut, partial=True)))
    arrays = decode_arrays(data)
    assert np.array_equal(decode_image(data).numpy(), draw(arrays, Restoration(1, (64, 64, 64))))


@pytest.mark.parametrize(("number", "name"), MODELS.items())
def test_numbers_stand_for_shipped_networks(random_gaussians, number, name):
    """Each has at most 50,000 weights, in 200 KB, and is what files of its number are restored by."""
    path = CHECKPOINTS / f"{name}.safetensors"
    weights = read_arrays(path, restoration.FORMAT, restoration.VERSION, "network of restoration")
    assert sum(each.size for each in weights.values()) <= 50_000
    assert path.stat().st_size <= 200_000
    network = RestorationNetwork().requires_grad_(False)
    network.load_exported(weights)
    arrays = random_gaussians(60, 32, 48).arrays()
    correction = network(torch.from_numpy(draw_planes(arrays))[None])[0]
    restored = draw(arrays, Restoration(number, (64, 32, 0))) - render(decode_like(arrays)).numpy()
    wanted = correction.numpy() * np.array([1, 0.5, 0], np.float32)[:, None, None]
    np.testing.assert_allclose(restored, wanted, atol=1e-5)
