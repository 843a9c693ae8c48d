"""Files of gray, alpha and any number of channels: they come back, cost what they must, and break in one line."""

import contextlib

import numpy as np
import pytest
import torch

from fastgs.codec import decode, encode
from fastgs.codec.frame import FormatError, read_frame
from fastgs.metrics.quality import psnr
from fastgs.render import render

KINDS = [(1, False), (2, True), (4, True), (2, False), (5, False), (9, False)]


def make_image(photo, count, alpha):
    """Return an image of a kind; alpha is a disc with soft edges."""
    channels = torch.cat([photo, photo.flip(2), photo.flip(1)])[:count].clone()
    if count == 1 or (count == 2 and alpha):
        channels[0] = photo.mean(0)
    if alpha:
        _, height, width = photo.shape
        y, x = torch.meshgrid(torch.arange(height) - height / 2, torch.arange(width) - width / 2, indexing="ij")
        channels[-1] = (20 - torch.hypot(x, y)).clamp(0, 1)
        channels[:-1] *= channels[-1]
    return channels.contiguous()


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}{'a' * kind[1]}")
def encoded(request, photo):
    count, alpha = request.param
    image = make_image(photo, count, alpha)
    return image, alpha, encode(image, alpha=alpha, num_gaussians=400, iterations=60)


@pytest.mark.slow
def test_file_of_any_kind_comes_back(encoded):
    image, alpha, result = encoded
    gaussians = decode(result.data)
    assert (gaussians.channels, gaussians.alpha) == (len(image), alpha)
    for name in ("means", "scales", "rotations", "colors"):
        assert torch.equal(getattr(gaussians, name), getattr(result.gaussians, name))
    assert psnr(render(gaussians), image) > 22
    assert result.data[3] == 2  # version of the format


def test_cut_file_of_any_kind_gives_a_coarse_image(encoded):
    image, alpha, result = encoded
    assert len(read_frame(result.data).layers) == 4
    half = result.data[: len(result.data) * 3 // 4]
    with pytest.raises(FormatError, match="is cut short"):
        decode(half)
    coarse = decode(half, partial=True)
    assert (coarse.channels, coarse.alpha) == (len(image), alpha)
    mean = image.mean((1, 2), keepdim=True).expand_as(image)
    assert psnr(render(coarse), image) > psnr(mean, image)


def test_damaged_file_of_any_kind_decodes_or_raises_format_error(encoded):
    _, _, result = encoded
    random = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(result.data)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            data[place] = random.integers(0, 256)
        with contextlib.suppress(FormatError):
            decode(bytes(data), partial=bool(random.integers(0, 2)))


def test_bit_breakdown_of_any_kind_adds_up(encoded):
    from fastgs.codec import SCHEMES

    image, alpha, result = encoded
    bits = SCHEMES["fastgs"].bit_breakdown(read_frame(result.data))
    assert sum(bits.values()) == 8 * len(result.data)
    assert ("alpha" in bits) == alpha
    if len(image) - alpha == 1:
        assert not bits.get("chroma")


def test_opaque_alpha_costs_nothing(photo):
    opaque = torch.cat([photo, torch.ones_like(photo[:1])])
    with_alpha = encode(opaque, alpha=True, num_gaussians=60, iterations=10)
    assert with_alpha.data == encode(photo, num_gaussians=60, iterations=10).data


def test_gray_is_smaller_than_rgb(photo):
    gray = photo.mean(0, keepdim=True)
    sizes = [
        len(encode(image, num_gaussians=150, iterations=40).data)
        for image in (gray, gray.expand(3, -1, -1).contiguous())
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("scheme", ["gaussianimage", "gaussianimage-plus"])
def test_published_schemes_refuse_other_channels_in_one_line(photo, scheme):
    with pytest.raises(ValueError, match=r"^[^\n]*RGB[^\n]*$"):
        encode(photo[:1], scheme=scheme, num_gaussians=20, iterations=2)


def test_encode_refuses_too_many_channels():
    with pytest.raises(ValueError, match=r"^channels: must be from 1 to 32, got 33"):
        encode(torch.rand(33, 8, 8), num_gaussians=5, iterations=1)
