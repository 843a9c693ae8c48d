"""The search for the symbols that are worth their bits."""

import math
from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest
import torch
from layer_data import dequantize

from fastgs.codec import rdo_image_kernels, rdo_kernels
from fastgs.codec.channels import RGB, Channels
from fastgs.codec.layer import bit_breakdown, encode_layers
from fastgs.codec.prices import price_by_model
from fastgs.codec.rdo import PRICE, Search, layer_steps, search
from fastgs.codec.symbol_models import LATEST
from fastgs.codec.symbols import COLOR
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import INITIALIZERS
from fastgs.metrics.quality import psnr
from fastgs.render import render


def error(gaussians, target):
    return float((render(gaussians).double() - target).square().sum())


def count(layers):
    return sum(len(layer.symbols) for layer in layers)


def test_search_recovers_most_of_what_rounding_loses(astronaut, fitted):
    canvas = fitted.height, fitted.width
    rounded, found = (search(astronaut, fitted, sweeps=sweeps) for sweeps in (0, 10))
    whole = psnr(render(fitted), astronaut)
    lost, left = (whole - psnr(render(dequantize(each.layers, *canvas)), astronaut) for each in (rounded, found))
    assert lost > 1.5 and left < 0.5 * lost
    # Its own error is that of the image that a decoder draws.
    assert found.error == pytest.approx(error(dequantize(found.layers, *canvas), astronaut), rel=1e-3)


@pytest.fixture(scope="module")
def fit_channels(photo, seeded):
    """Return a function that makes an image of some channels and Gaussians fitted to it."""

    def make(channels, count=300):
        planes = torch.cat([photo, photo.flip(1), photo.flip(2), 1 - photo])[: channels.count].clone()
        if channels.alpha:
            planes[-1] = 20 - torch.hypot(
                *torch.meshgrid(torch.arange(-24.0, 24), torch.arange(-32.0, 32), indexing="ij")
            )
            planes[-1].clamp_(0, 1)
            planes[:-1] *= planes[-1]
        start = replace(INITIALIZERS["curvature"](planes, count, seeded()), alpha=channels.alpha)
        return planes, fit(planes, start, FitOptions(60)).gaussians

    return make


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4, 5, 9, 11])
def test_search_of_any_number_of_channels_knows_its_error(fit_channels, count):
    """Nine and eleven channels are two groups, and the latter has a plane of 0."""
    channels = Channels(count)
    target, gaussians = fit_channels(channels)
    rounded, found = (search(target, gaussians, sweeps=sweeps) for sweeps in (0, 5))
    decoded = dequantize(found.layers, gaussians.height, gaussians.width, channels)
    mixed = found.layers[0].mixing is not None
    assert mixed == (count in (2, 4, 5))  # for the bytes of nine, 300 Gaussians are too few
    # Rounding to bytes makes matrices not quite orthonormal.
    assert found.error == pytest.approx(error(decoded, target), rel=0.02 if mixed else 1e-3)
    assert found.error < 0.85 * rounded.error


@pytest.mark.parametrize("count", [2, 4])
def test_search_takes_the_colour_of_gaussians_where_an_image_is_transparent(fit_channels, count):
    channels = Channels(count, alpha=True)
    target, gaussians = fit_channels(channels)
    found = search(target, gaussians)
    decoded = dequantize(found.layers, gaussians.height, gaussians.width, channels)
    assert found.error == pytest.approx(error(decoded, target), rel=1e-3)
    radius = torch.hypot(*(decoded.means - torch.tensor([32.0, 24.0])).T)
    clear = (decoded.colors == 0).all(1)
    assert clear.sum() > 10 and radius[clear].min() > 18


def test_search_holds_the_fine_steps_of_a_small_error(random_gaussians):
    """Symbols of colours are larger than 512 then."""
    gaussians = random_gaussians(200)
    target = render(gaussians)
    layers = search(target, gaussians, sweeps=3).layers
    assert max(np.abs(layer.symbols[:, COLOR:]).max() for layer in layers) > 600
    assert psnr(render(dequantize(layers, gaussians.height, gaussians.width)), target) > 50


def test_search_keeps_gaussians_that_symbols_give_exactly(fitted):
    first = search(render(fitted), fitted, sweeps=0)
    exact = dequantize(first.layers, fitted.height, fitted.width)
    again = search(render(exact).clamp(0, 1), exact, sweeps=0)
    assert count(again.layers) == len(fitted)


def test_search_is_deterministic(astronaut, fitted):
    one, two = (search(astronaut, fitted, sweeps=3) for _ in range(2))
    assert one.error == two.error
    for left, right in zip(one.layers, two.layers, strict=True):
        assert left.steps == right.steps and np.array_equal(left.symbols, right.symbols)


def test_layers_hold_gaussians_of_falling_size(astronaut, fitted):
    layers = search(astronaut, fitted, sweeps=0).layers
    sizes = [(layer.symbols * layer.steps.columns())[:, 2] for layer in layers]
    assert [len(each) for each in sizes] == [64, 112, 112, 112]
    assert all(larger.min() >= smaller.max() - 0.5 for larger, smaller in pairwise(sizes))
    assert layers[0].steps.luma < layers[3].steps.luma  # as they cover more pixels


def test_layer_steps_follow_size_and_error():
    """Steps of positions are powers of two; coarseness does not change them."""
    areas, layers = 2 * math.log(4) * np.array([1, 1, -1, -1]), np.array([0, 0, 1, 1])  # sizes of 4 and 1 / 4
    large, small = layer_steps(areas, layers, 1.0, 1.0)
    assert (large.position, small.position) == (0, 2)
    assert [large.area, small.area, large.luma, small.chroma] == pytest.approx([0.2, 0.2, 0.0175, 0.07], rel=1e-3)
    large, small = layer_steps(areas, layers, 2.0, 4.0)
    assert (large.position, small.position) == (-2, 0)
    assert [large.shape, large.luma, small.luma] == pytest.approx([1.6, 0.14, 0.56], rel=1e-3)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_search_uses_larger_steps_for_larger_errors(astronaut, fitted, seeded, noise):
    target = astronaut + noise * torch.randn(astronaut.shape, generator=seeded())
    expected = 0.2 * 10 ** (0.6 * (34.5 - psnr(render(fitted), target)) / 20)
    assert search(target, fitted, sweeps=0).layers[0].steps.area == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("model", [None, LATEST])
def test_search_estimates_the_bits_of_the_file(astronaut, fitted, monkeypatch, model):
    """The price of a bit is `PRICE` times error over bits, and these bits are about those of the file."""
    prices = []
    sweep = rdo_kernels.sweep
    monkeypatch.setattr(rdo_kernels, "sweep", lambda *arguments: prices.append(arguments[10]) or sweep(*arguments))
    search(astronaut, fitted, sweeps=2, model=model)
    rounded = search(astronaut, fitted, sweeps=0)
    bits = PRICE * rounded.error / prices[0]
    assert 8 * sum(map(len, encode_layers(rounded.layers, (128, 128), model=model))) == pytest.approx(bits, rel=0.2)


def test_the_best_move_of_two_symbols_is_found_by_few_trials(photo, fit_channels):
    """It is the best of all forty, but where the cost is far from a parabola."""
    planes, gaussians = fit_channels(RGB)
    searching = Search(planes, gaussians)
    searching.run(6)
    scene, memory = searching._scene, (np.zeros(8), np.zeros(5))
    colors, best, around = np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros((COLOR, 2))
    tables, bases, flags = np.zeros((8, 1025)), np.zeros(8, np.int64), np.array([np.inf, 0.0])
    same = []
    for number in range(len(gaussians)):
        unit = searching._units[searching._layers[number]]
        symbols = searching._symbols[number].copy()
        rule = (unit, tables, bases, flags, 512, 0.0)
        rdo_image_kernels.add(scene, symbols * unit, -1.0)

        def measure(moved, rule=rule, unit=unit):
            allowed = (rdo_kernels._is_allowed(moved, each, unit, scene.size[:2], 512) for each in range(COLOR))
            return rdo_kernels._find_cost(scene, moved, rule, colors, memory) if all(allowed) else math.inf

        before = measure(symbols)
        rest = symbols.copy()
        if rdo_kernels._move_one(scene, rest, rule, before, best, colors, around, memory) == before < math.inf:
            costs = [
                measure(symbols + one * np.eye(8, dtype=np.int64)[first] + two * np.eye(8, dtype=np.int64)[second])
                for first, second in combinations(range(COLOR), 2)
                for one, two in product((-1, 1), repeat=2)
            ]
            found = rdo_kernels._move_two(scene, rest, rule, before, best, colors, around, memory)
            assert found == pytest.approx(measure(rest))
            same.append(found == pytest.approx(min(before, *costs)))
        rdo_image_kernels.add(scene, searching._symbols[number] * unit, 1.0)
    assert len(same) > 30 and np.mean(same) > 0.95


def test_prices_of_the_model_are_the_bits_that_a_file_takes(astronaut, fitted):
    """Up to the floor of its tables, which are as wide as the largest residual."""
    parts, canvas = search(astronaut, fitted, sweeps=2).layers, (128, 128)
    symbols = np.concatenate([layer.symbols for layer in parts]).astype(np.int64)
    layers, alive = (
        np.repeat(np.arange(len(parts)), [len(layer.symbols) for layer in parts]),
        np.ones(len(symbols), bool),
    )
    shuffled = np.random.default_rng(0).permutation(len(symbols))
    symbols, layers = symbols[shuffled], layers[shuffled]
    prices = price_by_model(symbols, layers, alive, [layer.steps for layer in parts], canvas, LATEST)
    payloads = encode_layers(parts, canvas, model=LATEST)
    breakdown = bit_breakdown(payloads, canvas, model=LATEST)
    columns = sum(bits[name] for bits in breakdown for name in ("area", "shape", "luma", "chroma"))
    assert prices.sum(symbols, layers, alive) == pytest.approx(columns, rel=0.05)


def test_search_drops_gaussians_that_save_no_error(astronaut, fitted):
    """A Gaussian that is hidden in a much heavier one of its colour saves none."""
    hidden = 40
    means = fitted.means[:hidden]
    columns, rows = means.long().clamp(0, 127).T
    parts = {
        "means": means,
        "scales": torch.full((hidden, 2), 0.3),
        "rotations": torch.zeros(hidden),
        "colors": render(fitted)[:, rows, columns].T,
    }
    joined = replace(fitted, **{name: torch.cat([getattr(fitted, name), part]) for name, part in parts.items()})
    kept, more = (count(search(astronaut, each).layers) for each in (fitted, joined))
    assert 0.9 * len(fitted) < kept <= len(fitted)
    assert more - kept < hidden / 2


def test_search_bounds_axes_and_positions_off_the_canvas(astronaut, seeded):
    """Fits leave needles of any length at the border."""
    gaussians = Gaussians(
        torch.tensor([[5.0, 5.0], [60.0, 60.0], [-3.0, 140.0]]),
        torch.tensor([[1e9, 0.3], [40.0, 30.0], [2.0, 1e-3]]),
        torch.zeros(3),
        torch.rand(3, 3, generator=seeded()),
        128,
        128,
    )
    found = search(astronaut, gaussians)
    assert math.isfinite(found.error)
    for layer in found.layers:
        assert (np.abs(layer.symbols[:, COLOR:]) <= 512).all()
        assert (layer.symbols[:, :2] >= 0).all() and (layer.symbols[:, :2] * 2.0**-layer.steps.position <= 128).all()
