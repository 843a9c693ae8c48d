"""Tests of WebP, AVIF and JPEG files of 8 bits, by pixels computed here."""

import numpy as np
import pytest
from load_checks import assert_loads, composited
from picture_files import samples
from PIL import Image


@pytest.mark.parametrize("suffix", ["webp", "avif", "jpg"])
def test_formats_of_8_bits_are_read(tmp_path, suffix):
    modes = {"webp": ("RGB", "RGBA"), "avif": ("RGB", "RGBA"), "jpg": ("L", "RGB", "CMYK")}[suffix]
    options = {
        "webp": {"lossless": True, "exact": True},
        "avif": {"quality": 100, "subsampling": "4:4:4"},
        "jpg": {"quality": 100, "subsampling": 0},
    }[suffix]
    for mode in modes:
        values = (
            samples(8, len(mode)) if suffix == "webp" else np.full((16, 16, len(mode)), (200, 100, 50, 90)[: len(mode)])
        )
        values = values.astype(np.uint8)
        Image.fromarray(values.squeeze(), mode).save(tmp_path / f"p.{suffix}", **options)
        numbers = values / 255
        if mode == "CMYK":
            wanted = composited((1 - numbers[..., :3]) * (1 - numbers[..., 3:]))
        else:
            wanted = composited(numbers[..., :3], numbers[..., 3] if mode == "RGBA" else None)
        assert_loads(tmp_path / f"p.{suffix}", wanted, (0.01 if suffix == "webp" else 1.5) / 255)
