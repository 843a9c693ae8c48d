"""Kernels of the search: what a trial tells, and what a sweep moves."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from layer_data import STEPS, dequantize

from fastgs.codec import rdo_image_kernels, rdo_kernels
from fastgs.codec.rdo import search
from fastgs.codec.rdo_image_kernels import GOALS, WEIGHT, WIDE, Scene
from fastgs.codec.symbols import COLOR, Layer
from fastgs.gaussians import Gaussians
from fastgs.render import render
from fastgs.render.reference import EPSILON

CANVAS, UNITS = (24, 60), STEPS.columns()[None]
EXACT = [
    [12, 20, 16, 3, 0, 30, 2, 0],
    [40, 8, 14, 0, 4, 10, 0, 3],
    [60, 40, 17, -3, 2, 20, -4, 1],
    [84, 12, 15, 2, -2, 5, 6, 0],
    [110, 30, 16, 0, 0, 36, 0, -5],
]


def make_scene(symbols, target=None):
    """Return the scene of all Gaussians, with which a sweep starts; by default of a black target."""
    scene = Scene.make(np.zeros((3, *CANVAS)) if target is None else target)
    rdo_image_kernels.add_all(scene, symbols * UNITS)
    return scene


def draw(scene):
    """Return the (C, H, W) image of a scene."""
    height, width, channels = scene.size
    vectors = scene.pixels.reshape(height, -1, GOALS + 2 * channels, WIDE).transpose(2, 0, 1, 3)
    planes = vectors.reshape(GOALS + 2 * channels, height, -1)[:, :, :width]
    return planes[GOALS : GOALS + channels] - planes[GOALS + channels :] / planes[WEIGHT]


def sweep_one(symbols, number, target, bits, price):
    """Move one of the Gaussians ten times."""
    layers, alive = np.zeros(len(symbols), np.int64), np.ones(len(symbols), bool)
    order = np.full(10, number)
    flags, bases = np.array([[np.inf, 0.0]]), np.zeros((1, 8), np.int64)  # none
    rdo_kernels.sweep(
        *(make_scene(symbols, target), symbols, UNITS, layers, bits, bases, layers, flags),
        *(512, 0.0, price, 0.0, order, alive),
    )


@pytest.mark.parametrize("importance", [None, np.random.default_rng(1).random(CANVAS).astype(np.float32)])
@pytest.mark.parametrize("count", [1, 3, 11])
def test_trial_tells_the_error_of_a_gaussian_of_any_colour(count, importance):
    """Trials and scenes tell the squared errors of images that the reference draws."""
    rng = np.random.default_rng(0)
    target, colors = rng.random((count, *CANVAS)), rng.random((len(EXACT), count)) - 0.2
    symbols = np.array(EXACT)[:, :COLOR]
    shapes = symbols * UNITS[:, :COLOR]
    scene = Scene.make(target, importance)
    planes = scene.size[2]
    rows = np.pad(np.concatenate([shapes, colors], 1), [(0, 0), (0, planes - count)])
    factors = np.ones(CANVAS) if importance is None else importance

    def measure(gaussians):
        weights = np.stack([draw_weight(row) for row in gaussians])
        image = np.einsum("khw,kc->chw", weights, gaussians[:, COLOR : COLOR + count]) / (weights.sum(0) + EPSILON)
        return float((factors * np.square(image - target)).sum())

    assert rdo_image_kernels.add_all(scene, rows) == pytest.approx(measure(rows), rel=1e-5)
    for number, row in enumerate(rows):
        others = np.delete(rows, number, 0)
        rdo_image_kernels.add(scene, row, -1.0)
        sums = np.zeros(rdo_image_kernels.PULL + planes)
        rdo_image_kernels.sum_trial(scene, row, sums)
        square, rest, pull = np.split(sums, [1, 2])
        color = row[COLOR:]
        told = rest + (square * color**2 - 2 * color * pull).sum()
        assert told == pytest.approx(measure(rows) - measure(others), rel=1e-3, abs=1e-4)
        rdo_image_kernels.add(scene, row, 1.0)
    again = rdo_image_kernels.add_all(scene, rows[:0])
    assert again == pytest.approx(measure(rows), rel=1e-4)


def draw_weight(row):
    """Return the (H, W) weights of a Gaussian of values (5 + C,), by the reference rasterizer."""
    area, u, v = row[2:COLOR]
    ratio = math.hypot(u, v)
    gaussian = Gaussians(
        means=torch.tensor(row[None, :2]).float(),
        scales=torch.tensor([[math.exp((area + ratio) / 2), math.exp((area - ratio) / 2)]]),
        rotations=torch.tensor([0.5 * math.atan2(v, u)]),
        colors=torch.ones(1, 1),
        height=CANVAS[0],
        width=CANVAS[1],
        blend="sum",
    )
    return render(gaussian)[0].numpy()


def test_sweep_reduces_the_error_of_moved_symbols():
    """Bits are free, the symbol is off by two in either direction, in any column, anywhere on a wide canvas."""
    exact = np.array(EXACT)
    target = draw(make_scene(exact))
    for number, column, away in product(range(len(exact)), range(COLOR), (-2, 2)):
        symbols = exact.copy()
        symbols[number, column] += away
        before = np.square(draw(make_scene(symbols)) - target).sum()
        sweep_one(symbols, number, target, np.zeros((1, 8, 1025)), 0.0)
        assert np.square(draw(make_scene(symbols)) - target).sum() < 0.4 * before
        assert (symbols[:, COLOR:] == exact[:, COLOR:]).all()


def test_sweep_moves_two_symbols_together():
    """Along a thin Gaussian that lies diagonally; each step of one coordinate alone is a step across it."""
    exact = np.array([[60, 24, 25, 0, 0, 5, 0, 0], [60, 24, 10, 0, 14, 60, 2, 0]])
    target = draw(make_scene(exact))

    def move(right, down):
        moved = exact.copy()
        moved[1, :2] += right, down
        return moved

    def measure(right, down):
        return np.square(draw(make_scene(move(right, down))) - target).sum()

    assert measure(1, 1) < measure(2, 2) < min(measure(1, 2), measure(3, 2), measure(2, 1), measure(2, 3))
    symbols = move(2, 2)
    sweep_one(symbols, 1, target, np.zeros((1, 8, 1025)), 0.0)
    assert (symbols == exact).all()


def test_rounding_keeps_positions_on_a_wide_canvas():
    gaussians = dequantize([Layer(np.array(EXACT, np.int32), STEPS)], *CANVAS)
    again = dequantize(search(render(gaussians).clamp(0, 1), gaussians, sweeps=0).layers, *CANVAS)
    assert (again.means - gaussians.means).abs().max() <= 0.5


@pytest.mark.parametrize("cheap", [-1, 1])
def test_sweep_finds_cheaper_colours_beside_the_best(cheap):
    symbols, bits = np.array(EXACT[:1]), np.ones((1, 8, 1025))
    for column in range(COLOR, 8):
        bits[0, column, 512 + EXACT[0][column] + cheap] = 0
    sweep_one(symbols, 0, draw(make_scene(symbols)), bits, 1e3)
    assert (symbols[0, COLOR:] - EXACT[0][COLOR:]).tolist() == [cheap] * 3


@pytest.mark.parametrize(
    ("column", "symbol", "allowed"),
    [(0, 120, 1), (0, 121, 0), (0, -1, 0), (1, 48, 1), (1, 49, 0), (2, -11, 1), (2, -13, 0), (3, 27, 1), (3, 29, 0)],
)
def test_sweep_allows_symbols_on_the_canvas_and_axes_from_a_third_of_a_pixel(column, symbol, allowed):
    """The canvas has 60 x 24 pixels, and twice as many positions; the shortest axis is 0.3 pixels, log 0.3^2 = -2.4."""
    symbols = np.array([12, 20, 16, 0, 0, 30, 2, 0])
    symbols[column] = symbol
    assert rdo_kernels._is_allowed(symbols, column, UNITS[0], CANVAS, 512) == allowed
