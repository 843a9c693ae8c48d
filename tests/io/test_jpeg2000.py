"""Tests of JPEG 2000 files: right to their own depth, by pixels computed here, or refused in one line."""

import itertools

import imagecodecs
import numpy as np
import pytest
from load_checks import assert_loads, assert_opened_loads_equal, composited, save_bytes
from picture_files import samples
from PIL import Image

from fastgs.io.images import ImageError, load_image

SIZ = b"\xff\x4f\xff\x51"  # the beginning of a codestream


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
    path = save_bytes(tmp_path, "cut.jp2", (tmp_path / "cmyk.jp2").read_bytes()[:120])
    with pytest.raises(ImageError, match=r"cut\.jp2: "):
        load_image(path)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_signed_jpeg_2000_begins_at_black(tmp_path, bits):
    for channels, codec in itertools.product((1, 2, 3, 4), ("jp2", "j2k")):
        values = samples(bits, channels)
        signed = (values.astype(int) - 2 ** (bits - 1)).astype(np.int8 if bits == 8 else np.int16)
        data = imagecodecs.jpeg2k_encode(
            signed.squeeze(), level=0, reversible=True, bitspersample=bits, codecformat=codec
        )
        assert data[data.index(SIZ) + 42] == 0x80 + bits - 1
        numbers = values / (2**bits - 1)
        color = channels - (channels + 1) % 2
        path = save_bytes(tmp_path, f"p.{codec}", data)
        assert_loads(path, composited(numbers[..., :color], numbers[..., color] if color < channels else None))
        assert_opened_loads_equal(path)


def with_depths(values, depths, signed=0, reversible=True):
    """Make a JPEG 2000 file of 16 bits, and let its header state other depths of the channels.

    What is compressed is the distance from the middle of the range, so that it has to be the same in either depth.
    """
    shifted = values + 2**15 - 2 ** (np.array(depths) - 1)
    data = imagecodecs.jpeg2k_encode(
        shifted.astype(np.uint16), level=0, reversible=reversible, bitspersample=16, mct=False
    )
    data, place = bytearray(data), data.index(SIZ) + 42
    assert data[place : place + 3 * len(depths) : 3] == b"\x0f" * len(depths)
    for index, depth in enumerate(depths):
        data[place + 3 * index] = depth - 1 + 0x80 * (signed >> index & 1)
    return bytes(data)


@pytest.mark.parametrize("signed", [0, 6])
@pytest.mark.parametrize("depths", [(8, 8, 8, 1), (5, 6, 5), (12, 16, 4, 8), (8, 16), (16, 8)])
def test_jpeg_2000_of_mixed_depths_is_exact(tmp_path, depths, signed):
    """Channels 1 and 2 are signed in half of the cases."""
    values = np.concatenate([samples(depth, 1, seed=seed) for seed, depth in enumerate(depths)], axis=2).astype(int)
    numbers = values / (2.0 ** np.array(depths) - 1)
    color = 3 if len(depths) > 2 else 1
    path = save_bytes(tmp_path, "mixed.jp2", with_depths(values, depths, signed))
    assert_loads(path, composited(numbers[..., :color], numbers[..., color] if color < len(depths) else None))
    assert_opened_loads_equal(path)
    if max(depths) <= 8:
        with Image.open(path) as image:  # Pillow fills numbers up to 8 bits with zeros
            assert np.array_equal(np.asarray(image), values << (8 - np.array(depths)))


def test_jpeg_2000_of_mixed_depths_with_loss_is_refused(tmp_path):
    """Its steps depend on the depth, so that the channels cannot be decoded as if they were of one depth."""
    path = save_bytes(tmp_path, "lossy.jp2", with_depths(samples(8, 3).astype(int), (8, 8, 4), reversible=False))
    with pytest.raises(ImageError, match=r"lossy\.jp2: has samples of mixed depths that are compressed with loss"):
        load_image(path)
