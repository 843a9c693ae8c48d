"""Image formats at a given size: files that obey it, of the best quality, by encoders that have a name."""

import importlib.util
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data

from fastgs.evaluation.codecs import formats
from fastgs.evaluation.codecs.formats import find_largest
from fastgs.evaluation.codecs.writers import FORMATS
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
NAMES = [
    pytest.param(
        name, marks=[] if name != "heif" or HAS_HEIF else pytest.mark.skip(reason="pillow-heif is not installed")
    )
    for name in FORMATS
]
ENCODERS = {
    "jpeg": r"libjpeg(-turbo)? \d[\w.]*, optimized, progressive, 4:[24]:[04]",
    "jpeg2000": r"OpenJPEG \d[\w.]*, irreversible, bare codestream",
    "webp": r"libwebp \d[\w.]*, method 6, 4:2:0",
    "avif": r"libavif \d[\w.]*, aom \d[\w.-]*, speed 0, tune psnr, 4:4:4",
    "jpegxl": r"libjxl \d[\w.]*, effort 10",
    "heif": r"libheif \d[\w.]*, x265 \d[\w.+-]*, preset placebo, tune psnr, 4:[24]:[04]",
}


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return load_image(data.coffee()[100:196, 200:328].copy())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_encode_uses_the_bytes_and_obeys_the_limit(photo, name):
    scores = []
    for size in (1000, 2000, 4000):
        file, encoder = formats.encode(name, photo, size)
        assert 0.85 * size < len(file) <= size
        assert re.fullmatch(ENCODERS[name], encoder)
        assert encoder.startswith(formats.describe(name))
        decoded = formats.decode(name, file)
        assert decoded.dtype == torch.float32
        assert decoded.shape == photo.shape
        assert torch.equal((decoded * 255).round() / 255, decoded)
        error = np.mean(((photo * 255).round() - decoded * 255).double().numpy() ** 2)
        scores.append(psnr(decoded, photo))
        assert scores[-1] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-3)
    assert scores[0] + 1 < scores[1] < scores[2] - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_encode_chooses_the_best_file_that_fits(photo, name, monkeypatch):
    written, drafts = [], []
    chosen = FORMATS[name]

    def remember(*arguments):
        file = chosen.save(*arguments)
        (drafts if arguments[-1] else written).append(file)
        return file

    monkeypatch.setitem(FORMATS, name, replace(chosen, save=remember))
    file = formats.encode(name, photo, 1800).data
    fitting = [psnr(formats.decode(name, each), photo) for each in written if len(each) <= 1800]
    assert psnr(formats.decode(name, file), photo) >= max(fitting) - 0.01
    if chosen.has_draft:
        assert len(written) <= 4 < len(drafts)
    else:
        assert len(written) > 5


@pytest.mark.parametrize("name", NAMES)
def test_encode_returns_none_below_the_smallest_file(photo, name):
    assert formats.encode(name, photo, 15) is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (17, 5)])
@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "webp", "jpegxl"])
def test_tiny_images_come_back_in_their_shape(name, shape):
    image = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    assert formats.decode(name, formats.encode(name, image, 10_000).data).shape == image.shape


def test_impossible_images_and_damaged_files_are_refused(photo):
    with pytest.raises(ValueError, match=r"^JPEG cannot hold an image of 1 x 65536 pixels \("):
        formats.encode("jpeg", torch.zeros(3, 65_536, 1), 100_000)
    for name in ("webp", "jpegxl"):
        with pytest.raises(ValueError, match=rf"^data: no image in the format {name} \("):
            formats.decode(name, formats.encode(name, photo, 2000).data[:300])


@pytest.mark.parametrize("levels", [1, 2, 63, 100])
def test_largest_level_is_found_from_any_guess_and_quickly_from_a_good_one(levels):
    for best in range(levels + 1):
        for guess in range(1, levels + 1):
            for step in (1, levels):
                tried = []

                def save(level, tried=tried):
                    tried.append(level)
                    return bytes(level)

                assert find_largest(save, levels, best, guess, step) == (best, bytes(best) if best else None)
                assert len(set(tried)) == len(tried) <= 2 * math.log2(levels + 1) + 2
                if step == 1 and abs(guess - max(best, 1)) <= 1:
                    assert len(tried) <= 4
