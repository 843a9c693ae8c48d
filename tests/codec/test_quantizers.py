"""Quantizers of the codecs of GaussianImage and GaussianImage++."""

import pytest
import torch

from fastgs.codec.codebooks import ResidualVectors, k_means
from fastgs.codec.frame import FormatError
from fastgs.codec.gaussianimage_plus import Entries
from fastgs.codec.quantizers import Half, LearnedScalar, LogarithmicRange

QUANTIZERS = {
    "scalar": lambda: LearnedScalar(6, 3),
    "range": lambda: LogarithmicRange(10, 3, 1e-6),
    "half": lambda: Half(3),
    "vectors": lambda: ResidualVectors(2, 8, 3),
    "entries": lambda: Entries(10),
}


def random_values(count=200):
    return 0.1 + 3 * torch.rand(count, 3, generator=torch.Generator().manual_seed(0)).square()


@pytest.mark.parametrize("name", QUANTIZERS)
def test_dequantized_symbols_equal_forward(name):
    quantizer, data = QUANTIZERS[name](), random_values()
    quantizer.start(data)
    quantizer.learn(data)
    quantized, symbols = quantizer(data), quantizer.symbols(data)
    assert symbols.dtype == torch.int32 and symbols.shape == (len(data), len(quantizer.alphabets))
    assert (symbols >= 0).all() and (symbols < torch.tensor(quantizer.alphabets)).all()
    assert torch.equal(quantized.detach(), quantizer.dequantize(symbols))
    assert (quantized - data).square().mean() < 0.1
    # A quantizer that is loaded from the file gives the same.
    loaded = QUANTIZERS[name]()
    stored = quantizer.to_bytes()
    assert len(stored) == quantizer.parameter_bytes() == loaded.parameter_bytes()
    loaded.load(stored)
    assert torch.equal(quantized.detach(), loaded.dequantize(symbols))
    assert loaded.to_bytes() == stored


@pytest.mark.parametrize("name", QUANTIZERS)
def test_gradients_pass_straight_through(name):
    quantizer, data = QUANTIZERS[name](), random_values()
    quantizer.start(data)
    data = data.requires_grad_()
    weights = torch.linspace(-1, 1, data.numel()).reshape(data.shape)
    quantized = quantizer(data)
    quantized.backward(weights)
    expected = weights.clone()
    logarithmic = {"range": slice(None), "entries": slice(None, None, 2)}.get(name, slice(0))
    expected[:, logarithmic] *= (quantized / data).detach()[:, logarithmic]  # d exp(log v) by the chain rule
    # At the ends of a range, half of the gradient or none may be left.
    inside = ((data > data.amin(0)) & (data < data.amax(0))).detach()
    assert torch.allclose(data.grad[inside], expected[inside], rtol=1e-4)


def test_learned_scalar_has_the_gradients_of_lsq_plus():
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


def test_learned_scalar_starts_with_the_range():
    quantizer, data = LearnedScalar(6, 3), random_values()
    quantizer.start(data)
    assert quantizer.symbols(data).amin(0).tolist() == [0, 0, 0]
    assert quantizer.symbols(data).amax(0).tolist() == [63, 63, 63]
    assert ((quantizer(data) - data).abs() <= 0.501 * quantizer.step).all()


def test_learned_scalar_bears_steps_that_are_not_positive():
    quantizer = LearnedScalar(6, 3)
    quantizer.start(random_values())
    with torch.no_grad():
        quantizer.step[1] = -1
    LearnedScalar(6, 3).load(quantizer.to_bytes())
    quantizer.start(torch.ones(5, 3))  # a range of 0
    assert torch.equal(quantizer(torch.ones(5, 3)), torch.ones(5, 3))


def test_half_keeps_large_numbers_finite():
    half = Half(1)
    assert half.dequantize(half.symbols(torch.tensor([[1e9], [-1e9], [0.1]])))[:2].tolist() == [[65504], [-65504]]


def test_half_refuses_symbols_of_infinity():
    with pytest.raises(FormatError, match="16-bit floating-point number"):
        Half(1).dequantize(torch.tensor([[0x7C00]]))


def test_k_means_finds_clusters():
    centres = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]])
    points = (centres[:, None] + 0.01 * random_values(20)).reshape(-1, 3)
    found = k_means(points, 4)
    assert (torch.cdist(centres, found).amin(1) < 0.1).all()
    assert torch.equal(k_means(points, 4), found)
    assert torch.isfinite(k_means(points[:2], 8)).all()  # fewer points than clusters


def test_codebooks_follow_the_vectors():
    quantizer, data = ResidualVectors(2, 8, 3), random_values()
    quantizer.start(data)
    moved = (data + 1).requires_grad_()
    before = (quantizer(moved) - moved).square().mean()
    loss = quantizer.learn(moved)
    loss.backward()
    # The commitment loss pulls towards the entry of the first book, and towards the sum of both.
    assert (moved.grad != 0).any() and loss.item() > before.item()
    for _ in range(30):
        quantizer.learn(moved.detach())
    after = (quantizer(moved) - moved).square().mean()
    assert after < 0.4 * before
    assert torch.equal(quantizer.books, quantizer.books.half().float())
