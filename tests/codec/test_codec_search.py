"""The encoder of ours: symbols, the search for those worth their bits, and the control of size and quality."""

import io
import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from fastgs import codec
from fastgs.codec import decode, encode
from fastgs.codec import fastgs as ours
from fastgs.codec import rdo_kernels as search_kernels
from fastgs.codec.layer import encode_layers
from fastgs.codec.rate import RateError, _next_count, encode_to_psnr, encode_to_size
from fastgs.codec.rdo import PRICE, Found, layer_steps, search
from fastgs.codec.scheme import Encoded
from fastgs.codec.symbols import BASIS, LUMA, Layer, Steps, dequantize, values
from fastgs.fitting.densification import relocation
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import INITIALIZERS
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.render import render

NAMES = ("means", "scales", "rotations", "colors")
STEPS = Steps(position=1, area=0.2, shape=0.2, luma=0.035, chroma=0.05)


@pytest.fixture(scope="module")
def photo():
    return load_image(Image.fromarray(data.astronaut()).resize((128, 128), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def fitted(photo):
    start = INITIALIZERS["curvature"](photo, 400, torch.Generator().manual_seed(0))
    return fit(photo, start, FitOptions(150), densification=relocation(start)).gaussians


def error(gaussians, target):
    return float((render(gaussians).double() - target).square().sum())


def test_symbols_are_the_gaussians(fitted):
    """Values and dequantize are inverse to each other where steps are fine."""
    fine = Steps(position=6, area=2**-10, shape=2**-10, luma=2**-10, chroma=2**-10)
    symbols = np.rint(values(fitted) / fine.columns()).astype(np.int32)
    again = dequantize([Layer(symbols, fine)], fitted.height, fitted.width)
    assert torch.allclose(again.means, fitted.means, atol=0.01)
    assert torch.allclose(again.colors, fitted.colors, atol=1e-3)
    assert torch.allclose(render(again), render(fitted), atol=0.05)
    assert np.allclose(BASIS @ BASIS.T, np.eye(3))


def test_shape_of_a_known_ellipse():
    gaussians = Gaussians(
        torch.tensor([[3.0, 4.0]]), torch.tensor([[math.e, 1.0]]), torch.tensor([math.pi / 4]), torch.ones(1, 3), 8, 8
    )
    assert np.allclose(values(gaussians), [[3, 4, 1, 0, 1, math.sqrt(3), 0, 0]], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"position": 7}, {"area": 0.0}, {"luma": 1e9}, {"shape": math.nan}])
def test_wrong_steps(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Steps(**{**vars(STEPS), **wrong})


def test_search_is_better_than_rounding(photo, fitted):
    """It wins back most of what rounding loses, and its own error is that of the image that a decoder draws."""
    canvas = fitted.height, fitted.width
    rounded, found = (search(photo, fitted, sweeps=sweeps) for sweeps in (0, 10))
    lost, left = (psnr(render(fitted), photo) - psnr(render(dequantize(each.layers, *canvas)), photo)
                  for each in (rounded, found))  # fmt: skip
    assert lost > 1.5 and left < 0.5 * lost
    assert found.error == pytest.approx(error(dequantize(found.layers, *canvas), photo), rel=1e-3)


def test_search_keeps_what_is_exact(fitted):
    """An image that symbols give exactly has no better ones."""
    canvas = fitted.height, fitted.width
    first = search(render(fitted), fitted, sweeps=0)
    exact = dequantize(first.layers, *canvas)
    again = search(render(exact).clamp(0, 1), exact, sweeps=0)
    assert sum(len(layer.symbols) for layer in again.layers) == len(fitted)


def test_search_repeats(photo, fitted):
    one, two = (search(photo, fitted, sweeps=3) for _ in range(2))
    assert one.error == two.error
    for left, right in zip(one.layers, two.layers, strict=True):
        assert left.steps == right.steps and np.array_equal(left.symbols, right.symbols)


def test_layers_fall_in_size(photo, fitted):
    """So that the first ones are a coarse image."""
    layers = search(photo, fitted, sweeps=0).layers
    sizes = [(layer.symbols * layer.steps.columns())[:, 2] for layer in layers]
    assert [len(each) for each in sizes] == [50, 150, 200]
    assert sizes[0].min() >= sizes[1].max() - 0.5 and sizes[1].min() >= sizes[2].max() - 0.5
    assert layers[0].steps.luma < layers[2].steps.luma  # as they cover more


def test_steps_by_size_and_error(photo, fitted):
    """Sizes of 4 and 1 / 4: positions in powers of two by the root, colours by its inverse; all by the error."""
    areas, layers = 2 * math.log(4) * np.array([1, 1, -1, -1]), np.array([0, 0, 1, 1])
    large, small = layer_steps(areas, layers, 1.0, 1.0)
    assert (large.position, small.position) == (0, 2)
    assert [large.area, small.area, large.luma, small.chroma] == pytest.approx([0.2, 0.2, 0.0175, 0.07], rel=1e-3)
    large, small = layer_steps(areas, layers, 2.0, 4.0)  # coarseness is not for positions
    assert (large.position, small.position) == (-2, 0)
    assert [large.shape, large.luma, small.luma] == pytest.approx([1.6, 0.14, 0.56], rel=1e-3)
    for noise in (0.0, 0.2):
        target = photo + noise * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
        expected = 0.2 * 10 ** (0.6 * (34.5 - psnr(render(fitted), target)) / 20)
        assert search(target, fitted, sweeps=0).layers[0].steps.area == pytest.approx(expected, rel=1e-3)


def test_the_search_knows_what_a_file_costs(photo, fitted, monkeypatch):
    """The price of a bit is twice the slope of error over bits, which are those of the file, about."""
    prices = []
    sweep = search_kernels.sweep
    monkeypatch.setattr(search_kernels, "sweep", lambda *arguments: prices.append(arguments[8]) or sweep(*arguments))
    search(photo, fitted, sweeps=1)
    rounded = search(photo, fitted, sweeps=0)
    bits = PRICE * rounded.error / prices[0]
    assert 8 * sum(map(len, encode_layers(rounded.layers, (128, 128)))) == pytest.approx(bits, rel=0.2)


CANVAS, UNITS = (24, 60), STEPS.columns()[None]
EXACT = [
    [12, 20, 16, 3, 0, 30, 2, 0],
    [40, 8, 14, 0, 4, 10, 0, 3],
    [60, 40, 17, -3, 2, 20, -4, 1],
    [84, 12, 15, 2, -2, 5, 6, 0],
    [110, 30, 16, 0, 0, 36, 0, -5],
]


def sums_of(symbols):
    """What a sweep starts from: numerator and weight of all, and the image that they are."""
    numerator, weight = np.zeros((3, *CANVAS), np.float32), np.zeros(CANVAS, np.float32)
    for row in symbols * UNITS:
        search_kernels.add(numerator, weight, row, 1.0)
    return numerator, weight, numerator / (weight + search_kernels.EPS)


def sweep(symbols, number, target, bits, price):
    """Move one of them, ten times."""
    numerator, weight, _ = sums_of(symbols)
    layers, alive = np.zeros(len(symbols), np.int64), np.ones(len(symbols), bool)
    often = np.full(10, number)
    search_kernels.sweep(numerator, weight, target, symbols, UNITS, layers, bits, 0.0, price, 0.0, often, alive)


def test_sweeps_find_most_of_the_way_back():
    """Where bits cost nothing, from two symbols away, either way, in any column and wherever on a wide canvas."""
    exact = np.array(EXACT)
    target = sums_of(exact)[2]
    for number, column, away in product(range(len(exact)), range(LUMA), (-2, 2)):
        symbols = exact.copy()
        symbols[number, column] += away
        before = np.square(sums_of(symbols)[2] - target).sum()
        sweep(symbols, number, target, np.zeros((1, 8, 1025)), 0.0)
        assert np.square(sums_of(symbols)[2] - target).sum() < 0.4 * before
        assert (symbols[:, LUMA:] == exact[:, LUMA:]).all()


def test_rounding_keeps_places_on_a_wide_canvas():
    gaussians = dequantize([Layer(np.array(EXACT, np.int32), STEPS)], *CANVAS)
    again = dequantize(search(render(gaussians).clamp(0, 1), gaussians, sweeps=0).layers, *CANVAS)
    assert (again.means - gaussians.means).abs().max() <= 0.5


def test_colours_that_cost_less():
    """Those next to the best one are looked at, too."""
    for cheap in (-1, 1):
        symbols, bits = np.array(EXACT[:1]), np.ones((1, 8, 1025))
        for column in range(LUMA, 8):
            bits[0, column, 512 + EXACT[0][column] + cheap] = 0
        sweep(symbols, 0, sums_of(symbols)[2], bits, 1e3)
        assert (symbols[0, LUMA:] - EXACT[0][LUMA:]).tolist() == [cheap] * 3


@pytest.mark.parametrize(
    ("column", "symbol", "allowed"),
    [(0, 120, 1), (0, 121, 0), (0, -1, 0), (1, 48, 1), (1, 49, 0), (2, -11, 1), (2, -13, 0), (3, 27, 1), (3, 29, 0)],
)
def test_symbols_that_can_be_written(column, symbol, allowed):
    """On a canvas of 60 x 24 pixels, twice as many positions; no axis is thinner than 0.3 pixels: log 0.3^2 = -2.4."""
    symbols = np.array([12, 20, 16, 0, 0, 30, 2, 0])
    symbols[column] = symbol
    assert search_kernels._allowed(symbols, column, UNITS[0], CANVAS, 512) == allowed


def test_idle_gaussians_are_dropped(photo, fitted):
    """One that is hidden in a much heavier one of its colour spares no error."""
    hidden = 40
    small = Gaussians(
        fitted.means[:hidden],
        torch.full((hidden, 2), 0.3),
        torch.zeros(hidden),
        render(fitted)[
            :, fitted.means[:hidden, 1].long().clamp(0, 127), fitted.means[:hidden, 0].long().clamp(0, 127)
        ].T,
        128,
        128,
    )
    joined = Gaussians(*(torch.cat([getattr(each, name) for each in (fitted, small)]) for name in NAMES), 128, 128)
    kept = [sum(len(layer.symbols) for layer in search(photo, each).layers) for each in (fitted, joined)]
    assert 0.9 * len(fitted) < kept[0] <= len(fitted)
    assert kept[1] - kept[0] < hidden / 2


def test_far_axes(photo):
    """Fits leave needles of any length at the border."""
    gaussians = Gaussians(
        torch.tensor([[5.0, 5.0], [60.0, 60.0], [-3.0, 140.0]]),
        torch.tensor([[1e9, 0.3], [40.0, 30.0], [2.0, 1e-3]]),
        torch.zeros(3),
        torch.rand(3, 3, generator=torch.Generator().manual_seed(0)),
        128,
        128,
    )
    found = search(photo, gaussians)
    assert math.isfinite(found.error)
    for layer in found.layers:
        assert (np.abs(layer.symbols[:, LUMA:]) <= 512).all()
        assert (layer.symbols[:, :2] >= 0).all() and (layer.symbols[:, :2] * 2.0**-layer.steps.position <= 128).all()


def test_beats_jpeg(photo):
    """A whole file of ours against a whole file of JPEG that is no smaller."""
    encoded = encode(photo, bpp=0.8, iterations=300)
    pixels = Image.fromarray((photo.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    for quality in range(1, 96):
        stream = io.BytesIO()
        pixels.save(stream, "JPEG", quality=quality, optimize=True, progressive=True)
        if stream.tell() >= len(encoded.data):
            break
    ours, theirs = psnr(render(decode(encoded.data)), photo), psnr(load_image(Image.open(stream)), photo)
    assert ours > theirs + 2


def test_first_layers_are_a_coarse_image(photo):
    encoded = encode(photo, num_gaussians=800, iterations=150)
    whole = decode(encoded.data)
    assert torch.equal(render(whole), render(encoded.gaussians))
    assert (render(whole, backend="reference") - render(whole)).abs().max() < 1e-4
    coarse = decode(encoded.data[: len(encoded.data) // 3], partial=True)
    assert render(coarse).mean((1, 2)).sub(photo.mean((1, 2))).abs().max() < 0.1  # no black holes
    assert psnr(render(coarse), photo) > psnr(photo.mean((1, 2), keepdim=True).expand_as(photo), photo) + 1


def test_holes_of_a_wide_image_are_filled():
    """As far as the other end, with the colour of what is nearest."""
    color = torch.tensor([[0.2, 0.5, 0.7]])
    corner = Gaussians(torch.tensor([[4.0, 4.0]]), torch.tensor([[2.0, 2.0]]), torch.zeros(1), color, 12, 64)
    filled = render(ours._fill_holes(corner))
    torch.testing.assert_close(filled, color.view(3, 1, 1).expand_as(filled), rtol=0.11, atol=0)


# Control of the rate, with schemes whose files are known


@dataclass
class Fake:
    """Files of so many bytes, and images of so many dB, by K."""

    size: object
    quality: object = None
    bits: float = 40.0
    calls: int = 0
    most: int = 0
    name: str = "fastgs"

    def encode(self, image, num_gaussians, **_options):
        self.calls += 1
        self.most = max(self.most, num_gaussians)
        level = 10 ** (-self.quality(num_gaussians) / 20) if self.quality else 0.5
        middle = torch.tensor([[image.shape[2] / 2, image.shape[1] / 2]])
        flat = Gaussians(middle, torch.full((1, 2), 1e4), torch.zeros(1), torch.full((1, 3), level), *image.shape[1:])
        return Encoded(bytes(self.size(num_gaussians)), flat, [])


@pytest.mark.parametrize("bits", [10.0, 40.0, 160.0])
def test_size(bits):
    """Whatever a Gaussian is thought to cost at first, with a header that K does not change."""
    for size in (200, 1_000, 50_000):
        scheme = Fake(lambda count: 40 + 5 * count, bits=bits)
        found = encode_to_size(scheme, torch.zeros(3, 8, 8), size)
        assert 0.97 * size <= len(found.data) <= size and scheme.calls <= 6


@pytest.mark.parametrize(("first", "calls"), [(1.001, 2), (1.0, 1), (0.971, 1), (0.969, 2)])
def test_the_first_file_is_good_enough_or_not(first, calls):
    """Never larger, be it by a thousandth; from 97 % on, it is not worth another fit."""
    scheme = Fake(lambda count: round(first * 10 * count), bits=80.0)
    found = encode_to_size(scheme, torch.zeros(3, 200, 200), 20_000)
    assert 0.97 * 20_000 <= len(found.data) <= 20_000 and scheme.calls == calls


def test_the_largest_file_that_fits():
    """Where files grow by leaps, and none is within 3 %; whether the first ones are larger or smaller."""
    for bits in (60.0, 160.0, 800.0):
        scheme = Fake(lambda count: 150 * (1 + count // 10), bits=bits)
        assert len(encode_to_size(scheme, torch.zeros(3, 200, 200), 1_000).data) == 900


def test_never_more_gaussians_than_pixels():
    cheap = Fake(lambda count: 40 + count, bits=0.5)
    assert len(encode_to_size(cheap, torch.zeros(3, 8, 8), 60).data) == 60 and cheap.most == 64
    poor = Fake(lambda count: count, quality=lambda count: 20 - 1 / count)
    with pytest.raises(RateError):
        encode_to_psnr(poor, torch.zeros(3, 8, 8), 30)
    assert poor.most == 64


def test_trials_lie_between_what_is_known():
    """Wherever a straight line through the last one leads."""
    assert _next_count(20, {20: 120}, 1_000) == 164
    assert _next_count(100, {100: 5_000}, 1_000) == 20
    assert _next_count(20, {100: 5_000, 20: 120}, 1_000) == 99
    assert _next_count(100, {100: 5_000, 20: 120}, 1_000) == 21


def test_size_that_none_has():
    with pytest.raises(RateError, match=r"^30 bytes are too few for this image: the smallest file .* has 45$"):
        encode_to_size(Fake(lambda count: 40 + 5 * count), torch.zeros(3, 8, 8), 30)


class Rounded:
    """Stands for the search: files of so many bytes by the coarseness of their steps."""

    def __init__(self, monkeypatch, size):
        self.tried = []
        monkeypatch.setattr(ours, "search", self.search)
        monkeypatch.setattr(ours, "encode_layers", lambda layers, canvas: [bytes(size(self.tried[-1]))])
        monkeypatch.setattr(ours, "write_frame", lambda frame: frame.layers[0])

    def search(self, image, gaussians, coarseness):
        self.tried.append(coarseness)
        return Found([Layer(np.zeros((1_000, 8), np.int32), STEPS)], 0.0)


def test_steps_fill_the_room(monkeypatch, fitted):
    """As bytes fall with their coarseness; at its bounds, what is nearest, if need be too large or too small."""
    for cost, room, allowed in ((4_000, 4_000, 0.972), (5_500, 5_000, 0.972), (3_500, 4_000, 0.972), (2_000, 4_000, 0)):
        steps = Rounded(monkeypatch, lambda coarseness, cost=cost: round(cost - 600 * math.log2(coarseness)))
        data = ours._fill(None, fitted, room)
        assert allowed * room <= len(data) <= room and len(steps.tried) <= 5
        assert all(0.5 <= each <= 2 for each in steps.tried)
    assert len(data) == 2_600 and len(steps.tried) == 2
    steps = Rounded(monkeypatch, lambda coarseness: round(8_000 - 600 * math.log2(coarseness)))
    assert len(ours._fill(None, fitted, 4_000)) == 7_400 and len(steps.tried) == 2


@pytest.mark.parametrize(("first", "largest"), [(2_800, 3_800), (4_500, 3_800), (3_900, 3_900)])
def test_the_largest_of_roundings_that_fit(monkeypatch, fitted, first, largest):
    """Where no coarseness fills the room, as sizes leap."""
    leaps = iter([first, 4_300, 3_500, 4_200, 3_700, 4_400, 3_600, 3_800])
    Rounded(monkeypatch, lambda _: next(leaps))
    assert len(ours._fill(None, fitted, 4_050)) == largest


def test_bytes_of_bits_per_pixel(monkeypatch):
    """Rounded down; no more than the image itself takes."""
    sizes = []
    monkeypatch.setattr(codec, "encode_to_size", lambda scheme, image, size, **_options: sizes.append(size))
    for bpp in (1.0, 0.99, 24.0, 1e9):
        encode(torch.zeros(3, 8, 9), bpp=bpp)
    assert sizes == [9, 8, 216, 216]


@pytest.mark.parametrize(("more", "calls"), [(-0.05, 2), (0.0, 1), (0.2, 1), (0.3, 2)])
def test_the_first_quality_is_good_enough_or_not(more, calls):
    """Never worse, be it by a twentieth of a dB; nor better by more than a quarter if a smaller file can do."""
    black = torch.zeros(3, 100, 100)
    scheme = Fake(lambda count: count, quality=lambda count: 10 + 3.3 * math.log2(count))
    target = psnr(render(scheme.encode(black, 40).gaussians), black) - more
    found = encode_to_psnr(scheme, black, target)
    assert target <= psnr(render(found.gaussians), black) <= target + 0.25
    assert scheme.calls == 1 + calls and np.sign(len(found.data) - 40) == (calls == 2) * -np.sign(more)


def test_quality():
    for target in (12.0, 20.0, 27.0):
        scheme = Fake(lambda count: count, quality=lambda count: 10 + 3.3 * math.log2(count))
        found = encode_to_psnr(scheme, torch.zeros(3, 8, 8), target)
        reached = psnr(render(found.gaussians), torch.zeros(3, 8, 8))
        assert target <= reached and scheme.calls <= 8
        assert reached <= target + 1.7  # a Gaussian more or less, where they are few


def test_quality_that_none_has():
    scheme = Fake(lambda count: count, quality=lambda count: 20 - 1 / count)
    with pytest.raises(RateError, match=r"^30 dB were not reached; the best file that was found has (19|20)\.\d\d dB$"):
        encode_to_psnr(scheme, torch.zeros(3, 8, 8), 30)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({}, "give one of bpp, target_psnr, num_gaussians, got none"),
        ({"bpp": 1, "num_gaussians": 5}, "give one of bpp, target_psnr, num_gaussians, got bpp and num_gaussians"),
        ({"bpp": 0}, "bpp: must be positive and finite, got 0"),
        ({"target_psnr": math.inf}, "target_psnr: must be positive and finite, got inf"),
        ({"num_gaussians": 5, "scheme": "mp3"}, "scheme: expected one of fastgs, gaussianimage, gaussianimage-plus"),
    ],
)
def test_wrong_arguments(photo, sizes, message):
    with pytest.raises(ValueError, match=message):
        encode(photo, **sizes)
