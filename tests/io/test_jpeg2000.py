"""Tests of JPEG 2000 files: right to their own depth, by pixels computed here, or refused in one line."""

import itertools

import imagecodecs
import numpy as np
import pytest
from load_checks import assert_loads, assert_opened_loads_equal, composited, save_bytes
from picture_files import samples
from PIL import Image

from fastgs.io.images import ImageError, load_image


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_jpeg_2000_pixels_are_exact(tmp_path, bits):
    for channels, codec in itertools.product((1, 2, 3, 4), ("jp2", "j2k")):
        values = samples(bits, channels)
        data = imagecodecs.jpeg2k_encode(
            values.squeeze(), level=0, reversible=True, bitspersample=bits, codecformat=codec
        )
        numbers = values / (2**bits - 1)
        color = channels - (channels + 1) % 2
        path = save_bytes(tmp_path, f"p.{codec}", data)
        assert_loads(path, composited(numbers[..., :color], numbers[..., color] if color < channels else None))
        assert_opened_loads_equal(path)


def test_jpeg_2000_of_other_kinds_is_read_or_refused(tmp_path):
    inks = samples(8, 4)
    Image.fromarray(inks, "CMYK").save(tmp_path / "cmyk.jp2", irreversible=False)
    assert_loads(tmp_path / "cmyk.jp2", composited((1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255)))
    signed = samples(8, 1).astype(np.int16)[..., 0]
    path = save_bytes(tmp_path, "signed.jp2", imagecodecs.jpeg2k_encode(signed, level=0, reversible=True))
    with pytest.raises(ImageError, match=r"signed\.jp2: holds signed samples, which do not say what is white; convert"):
        load_image(path)
    path = save_bytes(tmp_path, "cut.jp2", (tmp_path / "cmyk.jp2").read_bytes()[:120])
    with pytest.raises(ImageError, match=r"cut\.jp2: "):
        load_image(path)
