"""The codecs of GaussianImage and GaussianImage++: their quantizers, their fits through them, and their files."""

import contextlib
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import skimage.data
import torch

from fastgs.codec import gaussianimage, gaussianimage_plus
from fastgs.codec.baseline import MAX_GAUSSIANS
from fastgs.codec.codebooks import ResidualVectors, k_means
from fastgs.codec.frame import FormatError, Frame, read_frame, write_frame
from fastgs.codec.gaussianimage_plus import Entries
from fastgs.codec.quantization_aware import ATTRIBUTES
from fastgs.codec.quantizers import Half, LearnedScalar, LogarithmicRange
from fastgs.fitting.covariance import SMALLEST
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr
from fastgs.render import render

SCHEMES = {each.SCHEME.name: each.SCHEME for each in (gaussianimage, gaussianimage_plus)}
QUANTIZERS = {
    "scalar": lambda: LearnedScalar(6, 3),
    "range": lambda: LogarithmicRange(10, 3, 1e-6),
    "half": lambda: Half(3),
    "vectors": lambda: ResidualVectors(2, 8, 3),
    "entries": lambda: Entries(10),
}
COUNT = 50
DATA = Path(__file__).parents[1] / "golden"
# Bits of one Gaussian before entropy coding, and bytes of the parameters of the quantizers.
PUBLISHED = {"gaussianimage": (32 + 18 + 6, 24 + 96), "gaussianimage-plus": (24 + 30 + 18, 16 + 16 + 8 + 24)}


@pytest.fixture(scope="module")
def image():
    pixels = skimage.data.chelsea()[100:164, 150:214]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def fitted(image):
    """By GaussianImage++, which is near its end in few steps."""
    return gaussianimage_plus.SCHEME.method(image, COUNT, FitOptions(150)).gaussians


@pytest.fixture(scope="module", params=SCHEMES)
def scheme(request):
    return SCHEMES[request.param]


@pytest.fixture(scope="module")
def frame(scheme, fitted, image):
    return scheme.tune(image, fitted, 10)[0]


def values(seed=0, count=200):
    return 0.1 + 3 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)).square()


def same(first, second):
    names = ("means", "scales", "rotations", "colors")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


# Quantizers


@pytest.mark.parametrize("name", QUANTIZERS)
def test_symbols_say_exactly_what_forward_gives(name):
    quantizer, data = QUANTIZERS[name](), values()
    quantizer.start(data)
    quantizer.learn(data)
    given, symbols = quantizer(data), quantizer.symbols(data)
    assert symbols.dtype == torch.int32 and symbols.shape == (len(data), len(quantizer.alphabets))
    assert (symbols >= 0).all() and (symbols < torch.tensor(quantizer.alphabets)).all()
    assert torch.equal(given.detach(), quantizer.dequantize(symbols))
    assert (given - data).square().mean() < 0.1
    # So does another one, from the file.
    other = QUANTIZERS[name]()
    stored = quantizer.to_bytes()
    assert len(stored) == quantizer.parameter_bytes() == other.parameter_bytes()
    other.load(stored)
    assert torch.equal(given.detach(), other.dequantize(symbols))
    assert other.to_bytes() == stored


@pytest.mark.parametrize("name", QUANTIZERS)
def test_gradients_pass_straight_through(name):
    quantizer, data = QUANTIZERS[name](), values()
    quantizer.start(data)
    data = data.requires_grad_()
    weights = torch.linspace(-1, 1, data.numel()).reshape(data.shape)
    given = quantizer(data)
    given.backward(weights)
    chain = (given / data).detach() if name == "range" else 1.0  # of exp(log)
    expected = weights * chain
    if name == "entries":
        expected[:, ::2] *= (given / data).detach()[:, ::2]
    # At the ends of a range, half of the gradient or none may be left.
    inside = ((data > data.amin(0)) & (data < data.amax(0))).detach()
    assert torch.allclose(data.grad[inside], expected[inside], rtol=1e-4)


def test_a_scalar_learns_offset_and_step_as_lsq_plus_says():
    quantizer = LearnedScalar(2, 1)
    with torch.no_grad():
        quantizer.step.fill_(0.5)
        quantizer.offset.fill_(1.0)
    data = torch.tensor([[0.2], [1.6], [2.3], [9.0]])  # below, 1.2 steps up, 2.6 steps up, above
    quantizer(data).sum().backward()
    share = 1 / (4 * 3) ** 0.5
    assert quantizer.step.grad.item() == pytest.approx(share * (0 - 0.2 + 0.4 + 3), rel=1e-5)
    assert quantizer.offset.grad.item() == pytest.approx(share * 2, rel=1e-5)
    assert quantizer.symbols(data).flatten().tolist() == [0, 1, 3, 3]


def test_a_scalar_starts_with_the_range_and_survives_a_step_below_zero():
    quantizer, data = LearnedScalar(6, 3), values()
    quantizer.start(data)
    assert quantizer.symbols(data).amin(0).tolist() == [0, 0, 0]
    assert quantizer.symbols(data).amax(0).tolist() == [63, 63, 63]
    assert ((quantizer(data) - data).abs() <= 0.501 * quantizer.step).all()
    with torch.no_grad():
        quantizer.step[1] = -1
    LearnedScalar(6, 3).load(quantizer.to_bytes())
    quantizer.start(torch.ones(5, 3))  # no range at all
    assert torch.equal(quantizer(torch.ones(5, 3)), torch.ones(5, 3))


def test_half_keeps_numbers_that_are_too_large_finite():
    half = Half(1)
    assert half.dequantize(half.symbols(torch.tensor([[1e9], [-1e9], [0.1]])))[:2].tolist() == [[65504], [-65504]]


def test_k_means_finds_clusters_and_copes_with_few_points():
    centres = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]])
    points = (centres[:, None] + 0.01 * values(count=20)).reshape(-1, 3)
    found = k_means(points, 4)
    assert (torch.cdist(centres, found).amin(1) < 0.1).all()
    assert torch.isfinite(k_means(points[:2], 8)).all()
    assert torch.equal(k_means(points, 4), found)


def test_codebooks_follow_the_vectors_and_hold_them():
    quantizer, data = ResidualVectors(2, 8, 3), values()
    quantizer.start(data)
    moved = (data + 1).requires_grad_()
    before = (quantizer(moved) - moved).square().mean()
    loss = quantizer.learn(moved)
    loss.backward()
    # Towards the entry of the first book, and towards the sum of both.
    assert (moved.grad != 0).any() and loss.item() > before.item()
    for _ in range(30):
        quantizer.learn(moved.detach())
    after = (quantizer(moved) - moved).square().mean()
    assert after < 0.4 * before
    assert torch.equal(quantizer.books, quantizer.books.half().float())


# Files


def test_encodes_and_decodes_exactly(scheme, image):
    entries = []
    encoded = scheme.encode(image, COUNT, iterations=40, seed=3, callback=entries.append)
    decoded = scheme.decode(read_frame(encoded.data))
    assert same(decoded, encoded.gaussians)
    assert (decoded.height, decoded.width, decoded.blend) == (64, 64, "sum")
    assert 0 < len(decoded) <= COUNT
    assert entries == encoded.history
    iterations = [entry.iteration for entry in entries]
    assert iterations == sorted(iterations) and iterations[-1] == 40
    assert scheme.encode(image, COUNT, iterations=40, seed=3).data == encoded.data
    assert scheme.encode(image, COUNT, iterations=40, seed=4).data != encoded.data


def test_the_file_has_the_best_state_of_the_history(scheme, image, fitted):
    frame, history = scheme.tune(image, fitted, 40)
    assert psnr(render(scheme.decode(frame)), image) == pytest.approx(max(entry.psnr for entry in history), abs=1e-3)


def test_the_best_state_is_not_always_the_last(scheme, image, fitted):
    """Rates that are far too high from the middle on."""
    optimization = replace(scheme.optimization, schedule=lambda progress, _: 1.0 if progress < 0.5 else 30_000.0)
    frame, history = replace(scheme, optimization=optimization).tune(image, fitted, 40)
    best = max(entry.psnr for entry in history)
    assert history[-1].psnr < best - 1
    assert psnr(render(scheme.decode(frame)), image) == pytest.approx(best, abs=1e-3)


def test_codebooks_follow_a_fit(image, fitted):
    """As their entries are no variables of the fit, only what they learn beside it moves them."""
    books = [gaussianimage.SCHEME.tune(image, fitted, steps)[0].layers[0][28:124] for steps in (0, 40)]
    assert books[0] != books[1]


def test_what_is_no_covariance_when_rounded_is_left_out(image, fitted):
    angles = torch.linspace(0.2, 1.3, 8)
    needles = Gaussians(
        torch.full((8, 2), 32.0), torch.tensor([[30.0, 0.01]]).expand(8, 2), angles, torch.zeros(8, 3), 64, 64, "sum"
    )
    names = ("means", "scales", "rotations", "colors")
    both = {name: torch.cat([getattr(each, name) for each in (fitted, needles)]) for name in names}
    scheme = gaussianimage_plus.SCHEME
    decoded = scheme.decode(scheme.tune(image, replace(fitted, **both), 0)[0])
    assert len(fitted) < len(decoded) < len(fitted) + 8
    assert decoded.scales.min() > 1.001 * SMALLEST
    assert torch.allclose(decoded.means[: len(fitted)], fitted.means, atol=0.02)


def test_committed_files_decode_to_committed_gaussians(scheme):
    """Made by `write_frame(scheme.tune(image, few, 0)[0])` of the first 12 of `fitted`."""
    expected = json.loads((DATA / "peers.json").read_text())[scheme.name]
    decoded = scheme.decode(read_frame((DATA / f"{scheme.name}.fgs").read_bytes()))
    for name, values in expected.items():
        torch.testing.assert_close(getattr(decoded, name), torch.tensor(values), rtol=1e-4, atol=1e-4)


def test_tuning_loses_less_than_rounding(scheme, image, fitted):
    rounded, tuned = (scheme.tune(image, fitted, steps)[0] for steps in (0, 150))
    before, after = (psnr(render(scheme.decode(each)), image) for each in (rounded, tuned))
    assert before < psnr(render(fitted), image)
    assert after > before + 0.1
    assert len(write_frame(tuned)) < 1.2 * len(write_frame(rounded))


def test_the_ledger_adds_up(scheme, frame):
    bits = scheme.bit_breakdown(frame)
    assert set(bits) == {*ATTRIBUTES, "header"}
    assert sum(bits.values()) == 8 * len(write_frame(frame))
    assert all(each > 0 for each in bits.values())
    count = len(scheme.decode(frame))
    per_gaussian, parameters = PUBLISHED[scheme.name]
    assert scheme.analytic_bits(frame) == count * per_gaussian + 8 * parameters
    # The rest of the file is 8 columns with their histograms.
    assert 0.5 * count * per_gaussian < sum(bits.values()) - 8 * parameters < count * per_gaussian + 8 * 100


def test_a_single_gaussian(scheme, image):
    encoded = scheme.encode(image, 1, iterations=10)
    assert same(scheme.decode(read_frame(encoded.data)), encoded.gaussians)


def test_says_how_many_gaussians_there_can_be(scheme, image):
    for count in (0, MAX_GAUSSIANS + 1):
        with pytest.raises(ValueError, match="num_gaussians: must be from 1 to"):
            scheme.encode(image, count, iterations=1)


# What no encoder wrote


def broken(frame, change):
    return replace(frame, layers=[bytes(change(bytearray(frame.layers[0])))])


def put(place, data):
    def change(layer):
        layer[place : place + len(data)] = data
        return layer

    return change


NAN, ZERO, HUGE = b"\x00\x00\xc0\x7f", b"\x00\x00\x00\x00", b"\xff\xff\x7f\x7f"


@pytest.mark.parametrize("number", [NAN, b"\x00\x00\x80\xff", ZERO, HUGE])
@pytest.mark.parametrize("name", SCHEMES)
def test_parameters_that_make_no_sense(name, number, image, fitted):
    scheme = SCHEMES[name]
    frame = scheme.tune(image, fitted, 0)[0]
    with pytest.raises(FormatError, match=r"^is damaged") as caught:
        scheme.decode(broken(frame, put(4, number)))  # the first step
    assert "\n" not in str(caught.value)


def test_a_codebook_with_infinity(image, fitted):
    scheme = gaussianimage.SCHEME
    frame = scheme.tune(image, fitted, 0)[0]
    with pytest.raises(FormatError, match="a quantizer holds NaN or infinity"):
        scheme.decode(broken(frame, put(4 + 24, b"\x00\x7c")))


def test_positions_that_are_no_numbers():
    with pytest.raises(FormatError, match="16-bit floating-point number"):
        Half(1).dequantize(torch.tensor([[0x7C00]]))


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: b"",
        lambda layer: layer[:3],
        lambda layer: layer[:20],
        lambda layer: layer[:-1],
        lambda layer: layer + b"\0",
        put(0, b"\xff\xff\xff\xff"),
        put(0, (MAX_GAUSSIANS + 1).to_bytes(4, "little")),
    ],
)
def test_lengths_that_make_no_sense(scheme, frame, change):
    with pytest.raises(FormatError, match=r"^is (damaged|cut)"):
        scheme.decode(broken(frame, change))
    with pytest.raises(FormatError, match=r"^is (damaged|cut)"):
        scheme.bit_breakdown(broken(frame, change))


@pytest.mark.parametrize("layers", [0, 2])
def test_more_or_fewer_layers_than_one(scheme, frame, layers):
    with pytest.raises(FormatError, match="layers instead of 1"):
        scheme.decode(Frame(frame.scheme, 64, 64, layers * frame.layers))


def test_any_bytes_give_gaussians_or_the_one_error(scheme, frame):
    source = random.Random(0)
    for _ in range(150):
        layer = bytearray(frame.layers[0])
        for _ in range(source.randint(1, 4)):
            layer[source.randrange(4, len(layer))] = source.randrange(256)
        with contextlib.suppress(FormatError):
            scheme.decode(replace(frame, layers=[bytes(layer)]))
