"""Formats of Pillow at a given size: files that obey it, of the best quality."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from fastgs.evaluation.codecs import pillow
from fastgs.evaluation.codecs.pillow import FORMATS
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr

SMALL = [name for name in FORMATS if name != "avif"]  # which needs seconds


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return load_image(data.coffee()[100:196, 200:328].copy())


@pytest.mark.parametrize("name", FORMATS)
def test_encode_uses_the_bytes_and_obeys_the_limit(photo, name):
    scores = []
    for size in (800, 1600, 3200):
        file = pillow.encode(name, photo, size)
        assert 0.85 * size < len(file) <= size
        with Image.open(io.BytesIO(file)) as image:
            assert image.format == pillow.FORMATS[name].name
            expected = np.asarray(image.convert("RGB"))
        decoded = pillow.decode(file)
        assert decoded.dtype == torch.float32
        assert decoded.shape == photo.shape
        assert np.array_equal((decoded * 255).round().byte().permute(1, 2, 0).numpy(), expected)
        original = (photo * 255).round().permute(1, 2, 0).numpy()
        error = np.mean((original.astype(np.float64) - expected) ** 2)
        scores.append(psnr(decoded, photo))
        assert scores[-1] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-3)
    assert scores[0] + 1 < scores[1] < scores[2] - 1


@pytest.mark.parametrize("name", SMALL)
def test_encode_chooses_the_best_quality_that_fits(photo, name, monkeypatch):
    levels = {}
    save = pillow._save

    def remember(pixels, format_name, options):
        file = save(pixels, format_name, options)
        levels[str(options)] = file
        return file

    monkeypatch.setattr(pillow, "_save", remember)
    file = pillow.encode(name, photo, 1500)
    fitting = [psnr(pillow.decode(each), photo) for each in levels.values() if len(each) <= 1500]
    assert psnr(pillow.decode(file), photo) >= max(fitting) - 0.01
    assert len(levels) > 5


@pytest.mark.parametrize("name", FORMATS)
def test_encode_returns_none_below_the_smallest_file(photo, name):
    assert pillow.encode(name, photo, 60) is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (17, 5)])
@pytest.mark.parametrize("name", SMALL)
def test_tiny_images_come_back_in_their_shape(name, shape):
    image = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    assert pillow.decode(pillow.encode(name, image, 10_000)).shape == image.shape


def test_impossible_images_and_damaged_files_are_refused(photo):
    with pytest.raises(ValueError, match=r"^JPEG cannot hold an image of 1 x 65536 pixels \("):
        pillow.encode("jpeg", torch.zeros(3, 65_536, 1), 100_000)
    with pytest.raises(ValueError, match=r"^data: no image that Pillow can read"):
        pillow.decode(pillow.encode("webp", photo, 2000)[:300])
