"""Tests of the networks without gradients against themselves with gradients."""

import copy
import threading
from pathlib import Path

import pytest
import torch
from networks import attribute_network, disturbed, initializer
from seeds import seeded

from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.models import inference
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.pretrained import load_weights
from fastgs.render import render
from fastgs.runtime import threads

pytestmark = pytest.mark.usefixtures("one_thread")

SAMPLE = Path(__file__).parents[2] / "assets" / "coffee.png"
TENSORS = ("means", "scales", "rotations", "colors")


def photos(count=1, height=24, width=30):
    return torch.rand(count, 3, height, width, generator=seeded(1))


def predict(networks, images, counts, fast, precision=None):
    sources = [seeded(index) for index in range(len(counts))]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        return networks(images, counts, sources, fast=fast)


@pytest.fixture
def all_encoded(monkeypatch):
    """Apply encoder and decoder in every pass, so that only rounding differs."""
    monkeypatch.setattr(inference, "ENCODED", 1000)


@pytest.mark.usefixtures("all_encoded")
@pytest.mark.parametrize("size", [(16, 24), (24, 30), (31, 17), (3, 17), (1, 40)])
def test_answers_are_those_of_dense_convolutions(size):
    """Sizes that are no multiple of the encoder's are padded: Gaussians in the last row and column repeat."""
    networks = LearnedInitializer(None, disturbed(attribute_network()))
    counts = [size[0] * size[1] // 5, 7]
    for fast, dense in zip(*(predict(networks, photos(2, *size), counts, fast) for fast in (True, False)), strict=True):
        for name in TENSORS:
            torch.testing.assert_close(getattr(fast, name), getattr(dense, name), rtol=1e-4, atol=1e-4)


def test_density_is_that_of_position_network():
    networks = initializer()
    for size in ((16, 24), (25, 31)):
        images = photos(2, *size)
        fast, dense = (networks.densities(images, [40, 90], fast=fast) for fast in (True, False))
        torch.testing.assert_close(fast, dense, rtol=1e-4, atol=1e-8)


def test_surroundings_are_kept_after_the_first_passes(monkeypatch):
    calls = []
    kept = inference.PreparedAttribute.surroundings
    monkeypatch.setattr(
        inference.PreparedAttribute, "surroundings", lambda *arguments: calls.append(1) or kept(*arguments)
    )
    networks = LearnedInitializer(None, attribute_network(passes=4))
    predict(networks, photos(), [40], fast=True)
    assert len(calls) == inference.ENCODED == 2


def test_many_gaussians_take_the_dense_way(monkeypatch):
    monkeypatch.setattr(inference.FastPasses, "__call__", None)
    networks = LearnedInitializer(None, attribute_network())
    for count in (0, 24 * 30):
        assert len(predict(networks, photos(), [count], fast=True)[0]) == count


def test_changed_weights_are_noticed():
    networks = LearnedInitializer(None, disturbed(attribute_network()))
    first = predict(networks, photos(), [40], fast=True)[0]
    assert torch.equal(predict(copy.deepcopy(networks), photos(), [40], fast=True)[0].colors, first.colors)
    with torch.no_grad():
        networks.attribute.unet.head.bias += 0.5
    changed = predict(networks, photos(), [40], fast=True)[0]
    assert (changed.colors - first.colors).abs().max() > 1e-3
    dense = predict(networks, photos(), [40], fast=False)[0]
    torch.testing.assert_close(changed.colors, dense.colors, rtol=1e-4, atol=1e-4)


def test_training_is_left_alone():
    """After a prediction the parameters have the same values and precision, and gradients."""
    networks = initializer().train()
    before = copy.deepcopy(networks.state_dict())
    networks.initialize(photos()[0], 40, seeded())
    after = networks.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())
    assert all(parameter.requires_grad for parameter in networks.parameters())
    images = photos()
    densities = networks.densities(images, [40])
    *_, last = networks.correct(images, densities, networks.place(images, densities, [40], [seeded()]))
    (last.render() - images).square().mean().backward()
    assert all(parameter.grad is not None for parameter in networks.attribute.parameters())


def test_result_does_not_depend_on_other_threads():
    """Every prediction has its own planes."""
    networks, results = initializer(), {}

    def work(index):
        results[index] = networks.initialize(photos()[0], 40, seeded())

    workers = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(torch.equal(results[0].colors, each.colors) for each in results.values())


def test_result_does_not_depend_on_number_of_threads():
    networks, image, results = load_weights("base"), load_image(SAMPLE, 128)[:, :, :99], []
    for number in (1, 2, 3):
        with threads.reserved(number):
            results.append(networks.initialize(image, 600, seeded(0)))
    for name in TENSORS:
        assert all(torch.equal(getattr(results[0], name), getattr(each, name)) for each in results), name


def test_trained_networks_are_as_good_and_repeat():
    """The whole of what is shipped: PSNR at once within 0.05 dB of the networks in float32, and the same bits twice."""
    networks, image = load_weights("base"), load_image(SAMPLE, 256)
    dense = predict(networks, image[None], [2500], fast=False)[0]
    first, second = (networks.initialize(image, 2500, seeded(0)) for _ in range(2))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in TENSORS)
    assert psnr(render(first), image) > psnr(render(dense), image) - 0.05
