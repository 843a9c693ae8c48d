"""The codecs of GaussianImage and GaussianImage++: their quantization-aware fits and their files."""

import contextlib
import json
import random
from dataclasses import replace

import pytest
import skimage.data
import torch
from layer_data import GOLDEN

from fastgs.codec import gaussianimage, gaussianimage_plus
from fastgs.codec.baseline import MAX_GAUSSIANS
from fastgs.codec.frame import FormatError, Frame, read_frame, write_frame
from fastgs.codec.quantization_aware import ATTRIBUTES
from fastgs.fitting.covariance import SMALLEST
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.metrics.quality import psnr
from fastgs.render import render

SCHEMES = {each.SCHEME.name: each.SCHEME for each in (gaussianimage, gaussianimage_plus)}
TENSORS = ("means", "scales", "rotations", "colors")
COUNT = 50
# Bits of one Gaussian before entropy coding, and bytes of the parameters of the quantizers.
PUBLISHED = {"gaussianimage": (32 + 18 + 6, 24 + 96), "gaussianimage-plus": (24 + 30 + 18, 16 + 16 + 8 + 24)}


@pytest.fixture(scope="module")
def image():
    pixels = skimage.data.chelsea()[100:164, 150:214]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def fitted(image):
    """Return Gaussians fitted by GaussianImage++, which converges in few steps."""
    return gaussianimage_plus.SCHEME.method(image, COUNT, FitOptions(150)).gaussians


@pytest.fixture(scope="module", params=SCHEMES)
def scheme(request):
    return SCHEMES[request.param]


@pytest.fixture(scope="module")
def frame(scheme, fitted, image):
    return scheme.tune(image, fitted, 10)[0]


def assert_same(first, second):
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in TENSORS)


def test_decoded_file_is_what_encode_returns(scheme, image):
    entries = []
    encoded = scheme.encode(image, COUNT, iterations=40, seed=3, callback=entries.append)
    decoded = scheme.decode(read_frame(encoded.data))
    assert_same(decoded, encoded.gaussians)
    assert (decoded.height, decoded.width, decoded.blend) == (64, 64, "sum")
    assert 0 < len(decoded) <= COUNT
    assert entries == encoded.history
    iterations = [entry.iteration for entry in entries]
    assert iterations == sorted(iterations) and iterations[-1] == 40


def test_encode_repeats_for_a_seed(scheme, image):
    first, again, other = (scheme.encode(image, COUNT, iterations=10, seed=seed).data for seed in (3, 3, 4))
    assert first == again != other


def test_single_gaussian_round_trip(scheme, image):
    encoded = scheme.encode(image, 1, iterations=10)
    assert_same(scheme.decode(read_frame(encoded.data)), encoded.gaussians)


@pytest.mark.parametrize("count", [0, MAX_GAUSSIANS + 1])
def test_encode_rejects_numbers_of_gaussians_out_of_range(scheme, image, count):
    with pytest.raises(ValueError, match="num_gaussians: must be from 1 to"):
        scheme.encode(image, count, iterations=1)


def test_file_holds_the_best_state_of_the_history(scheme, image, fitted):
    frame, history = scheme.tune(image, fitted, 40)
    assert psnr(render(scheme.decode(frame)), image) == pytest.approx(max(entry.psnr for entry in history), abs=1e-3)


def test_file_holds_the_best_state_of_a_fit_that_diverges(scheme, image, fitted):
    optimization = replace(scheme.optimization, schedule=lambda progress, _: 1.0 if progress < 0.5 else 30_000.0)
    frame, history = replace(scheme, optimization=optimization).tune(image, fitted, 40)
    best = max(entry.psnr for entry in history)
    assert history[-1].psnr < best - 1
    assert psnr(render(scheme.decode(frame)), image) == pytest.approx(best, abs=1e-3)


def test_tuning_moves_codebooks(image, fitted):
    """Their entries are no variables of the fit, so only `Quantizer.learn` moves them."""
    books = [gaussianimage.SCHEME.tune(image, fitted, steps)[0].layers[0][28:124] for steps in (0, 40)]
    assert books[0] != books[1]


def test_tuning_loses_less_than_rounding(scheme, image, fitted):
    rounded, tuned = (scheme.tune(image, fitted, steps)[0] for steps in (0, 150))
    before, after = (psnr(render(scheme.decode(each)), image) for each in (rounded, tuned))
    assert before < psnr(render(fitted), image)
    assert after > before + 0.1
    assert len(write_frame(tuned)) < 1.2 * len(write_frame(rounded))


def test_gaussians_that_round_to_no_covariance_are_left_out(image, fitted):
    angles = torch.linspace(0.2, 1.3, 8)
    needles = Gaussians(
        torch.full((8, 2), 32.0), torch.tensor([[30.0, 0.01]]).expand(8, 2), angles, torch.zeros(8, 3), 64, 64, "sum"
    )
    both = {name: torch.cat([getattr(each, name) for each in (fitted, needles)]) for name in TENSORS}
    scheme = gaussianimage_plus.SCHEME
    decoded = scheme.decode(scheme.tune(image, replace(fitted, **both), 0)[0])
    assert len(fitted) < len(decoded) < len(fitted) + 8
    assert decoded.scales.min() > 1.001 * SMALLEST
    assert torch.allclose(decoded.means[: len(fitted)], fitted.means, atol=0.02)


def test_golden_file_decodes_to_its_gaussians(scheme):
    """The files were made by `write_frame(scheme.tune(image, few, 0)[0])` of the first 12 of `fitted`."""
    expected = json.loads((GOLDEN / "peers.json").read_text(encoding="utf-8"))[scheme.name]
    decoded = scheme.decode(read_frame((GOLDEN / f"{scheme.name}.fgs").read_bytes()))
    for name, values in expected.items():
        torch.testing.assert_close(getattr(decoded, name), torch.tensor(values), rtol=1e-4, atol=1e-4)


def test_bit_breakdown_adds_up(scheme, frame):
    bits = scheme.bit_breakdown(frame)
    assert set(bits) == {*ATTRIBUTES, "header"}
    assert sum(bits.values()) == 8 * len(write_frame(frame))
    assert all(each > 0 for each in bits.values())
    count = len(scheme.decode(frame))
    per_gaussian, parameters = PUBLISHED[scheme.name]
    assert scheme.analytic_bits(frame) == count * per_gaussian + 8 * parameters
    # The rest of the file is 8 columns with their histograms.
    assert 0.5 * count * per_gaussian < sum(bits.values()) - 8 * parameters < count * per_gaussian + 8 * 100


# Files that no encoder wrote


def change_layer(frame, change):
    return replace(frame, layers=[bytes(change(bytearray(frame.layers[0])))])


def put(place, data):
    """Return a change that puts bytes at a place."""

    def change(layer):
        layer[place : place + len(data)] = data
        return layer

    return change


NAN, ZERO, HUGE = b"\x00\x00\xc0\x7f", b"\x00\x00\x00\x00", b"\xff\xff\x7f\x7f"


@pytest.mark.parametrize("number", [NAN, b"\x00\x00\x80\xff", ZERO, HUGE])
def test_decode_refuses_parameters_out_of_range(scheme, number, image, fitted):
    frame = scheme.tune(image, fitted, 0)[0]
    with pytest.raises(FormatError, match=r"^is damaged") as caught:
        scheme.decode(change_layer(frame, put(4, number)))  # the first step
    assert "\n" not in str(caught.value)


def test_decode_refuses_a_codebook_with_infinity(image, fitted):
    scheme = gaussianimage.SCHEME
    frame = scheme.tune(image, fitted, 0)[0]
    with pytest.raises(FormatError, match="a quantizer holds NaN or infinity"):
        scheme.decode(change_layer(frame, put(4 + 24, b"\x00\x7c")))


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
def test_decode_refuses_layers_of_wrong_length(scheme, frame, change):
    with pytest.raises(FormatError, match=r"^is (damaged|cut)"):
        scheme.decode(change_layer(frame, change))
    with pytest.raises(FormatError, match=r"^is (damaged|cut)"):
        scheme.bit_breakdown(change_layer(frame, change))


@pytest.mark.parametrize("layers", [0, 2])
def test_decode_refuses_other_numbers_of_layers_than_one(scheme, frame, layers):
    with pytest.raises(FormatError, match="layers instead of 1"):
        scheme.decode(Frame(frame.scheme, 64, 64, layers * frame.layers))


def test_damaged_layers_decode_or_raise_format_error(scheme, frame):
    source = random.Random(0)
    for _ in range(80):
        layer = bytearray(frame.layers[0])
        for _ in range(source.randint(1, 4)):
            layer[source.randrange(4, len(layer))] = source.randrange(256)
        with contextlib.suppress(FormatError):
            scheme.decode(replace(frame, layers=[bytes(layer)]))
