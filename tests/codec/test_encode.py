"""The scheme "fastgs": encoding and decoding images, files of a given size, and files that are cut."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fastgs.codec import SCHEMES, Frame, decode, decode_image, encode, rate
from fastgs.codec.layer import encode_layers
from fastgs.codec.symbols import Layer, Steps, values
from fastgs.gaussians import Gaussians
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr
from fastgs.render import render


@pytest.mark.slow
def test_file_beats_jpeg(astronaut):
    """The JPEG file is no smaller; both are whole files."""
    encoded = encode(astronaut, bpp=0.8, iterations=300)
    pixels = Image.fromarray((astronaut.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    for quality in range(1, 96):
        stream = io.BytesIO()
        pixels.save(stream, "JPEG", quality=quality, optimize=True, progressive=True)
        if stream.tell() >= len(encoded.data):
            break
    jpeg = load_image(Image.open(stream))
    assert psnr(render(decode(encoded.data)), astronaut) > psnr(jpeg, astronaut) + 2


def test_first_layers_are_a_coarse_image(astronaut):
    encoded = encode(astronaut, num_gaussians=800, iterations=150)
    whole = decode(encoded.data)
    assert torch.equal(render(whole), render(encoded.gaussians))
    assert (render(whole, backend="reference") - render(whole)).abs().max() < 1e-4
    coarse = render(decode(encoded.data[: len(encoded.data) // 3], partial=True))
    mean = astronaut.mean((1, 2), keepdim=True)
    assert (coarse.mean((1, 2), keepdim=True) - mean).abs().max() < 0.1  # no black holes
    assert psnr(coarse, astronaut) > psnr(mean.expand_as(astronaut), astronaut) + 1


def test_holes_of_a_cut_file_are_filled_with_the_nearest_colour():
    """The one Gaussian lies in a corner of a wide canvas, and the holes reach to the other end."""
    color, canvas = torch.tensor([[0.2, 0.5, 0.7]]), (12, 64)
    corner = Gaussians(torch.tensor([[4.0, 4.0]]), torch.tensor([[2.0, 2.0]]), torch.zeros(1), color, *canvas)
    fine = Steps(position=6, area=2**-10, shape=2**-10, luma=2**-10, chroma=2**-10)
    layer = Layer(np.rint(values(corner) / fine.columns()).astype(np.int32), fine)
    cut = Frame("fastgs", *canvas, encode_layers([layer], canvas), whole=False)
    filled = render(SCHEMES["fastgs"].decode(cut))
    torch.testing.assert_close(filled, color.view(3, 1, 1).expand_as(filled), rtol=0.11, atol=0)


def test_bpp_is_rounded_down_to_bytes_and_bounded(monkeypatch):
    sizes = []
    monkeypatch.setattr(rate, "encode_to_size", lambda scheme, image, size, **_options: sizes.append(size))
    for bpp in (1.0, 0.99, 24.0, 1e9):
        encode(torch.zeros(3, 8, 9), bpp=bpp)
    assert sizes == [9, 8, 216, 216]  # no more than the image itself takes


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
def test_encode_rejects_wrong_arguments(photo, sizes, message):
    with pytest.raises(ValueError, match=message):
        encode(photo, **sizes)


@pytest.mark.parametrize("color", [(0.0,), (0.5, 0.5), (1.0, 1.0, 1.0), (0.8, 0.05, 0.3)])
def test_an_image_of_one_color_is_fitted_once(color):
    image = torch.tensor(color)[:, None, None].expand(len(color), 24, 31)
    encoded = encode(image, bpp=4.0)
    assert len(encoded.data) < 90 and len(decode(encoded.data)) == 1
    torch.testing.assert_close(decode_image(encoded.data), image, rtol=0, atol=0.5 / 255)
    assert sum(entry.iteration == 0 for entry in encoded.history) == 1
