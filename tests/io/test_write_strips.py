"""TIFF files written in strips: the pixels of `write_picture`, and their pyramid."""

import numpy as np
import pytest
import tifffile

from fastgs.io.files import atomic_write
from fastgs.io.pixels import ImageError
from fastgs.io.reading import read_file
from fastgs.io.samples import Samples
from fastgs.io.strips import TILE, write_strips
from fastgs.io.writing import write_picture

HEIGHT, WIDTH = 601, 700


def make(channels, alpha=False):
    values = np.random.default_rng(0).random((channels, HEIGHT, WIDTH)).astype(np.float32) * 1.2 - 0.1
    if alpha:
        values[:-1] = np.minimum(values[:-1], values[-1:])
    return Samples(values, alpha)


def cut(samples):
    return (samples.values[:, top : top + TILE] for top in range(0, HEIGHT, TILE))


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize(("channels", "alpha"), [(1, False), (3, False), (4, True), (2, True), (5, False)])
def test_strips_have_the_pixels_of_the_picture(tmp_path, channels, alpha, bits):
    samples = make(channels, alpha)
    write_strips(tmp_path / "a.tif", cut(samples), samples, HEIGHT, WIDTH, bits=bits)
    write_picture(tmp_path / "b.tif", samples, bits=bits)
    with tifffile.TiffFile(tmp_path / "a.tif") as ours, tifffile.TiffFile(tmp_path / "b.tif") as theirs:
        assert np.array_equal(ours.asarray(), theirs.asarray())
        assert ours.pages[0].is_tiled and len(ours.pages) == 1
        for name in ("photometric", "extrasamples", "bitspersample", "iccprofile"):
            assert getattr(ours.pages[0], name) == getattr(theirs.pages[0], name)


@pytest.mark.parametrize(("channels", "alpha", "bits"), [(3, False, 8), (1, False, 16), (4, True, 8), (3, False, 32)])
def test_pyramid_has_halves_down_to_a_tile(tmp_path, channels, alpha, bits):
    samples = make(channels, alpha)
    write_strips(tmp_path / "a.tif", cut(samples), samples, HEIGHT, WIDTH, bits=bits, pyramid=True)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        levels = file.series[0].levels
        assert [level.shape[:2] for level in levels] == [(601, 700), (301, 350), (151, 175)]
        assert all(level.pages[0].is_tiled for level in levels)
        last = levels[1].asarray().astype(np.float64)
    values = np.pad(samples.values.clip(0, 1), ((0, 0), (0, 1), (0, 0)), mode="edge")
    halves = values.reshape(channels, 301, 2, 350, 2).mean((2, 4))
    expected = Samples(halves, alpha).straight().transpose(1, 2, 0)
    expected = expected if channels > 1 else expected[..., 0]
    visible = np.ones(last.shape, bool) if not alpha else np.broadcast_to(halves[-1][..., None] > 0.05, last.shape)
    limit = 1 if bits == 32 else 2**bits - 1
    assert np.abs(last / limit - expected)[visible].max() < 0.6 / 255
    assert np.array_equal(read_file(tmp_path / "a.tif").colors.shape[:2], (HEIGHT, WIDTH))


def test_nothing_is_left_of_a_file_that_fails(tmp_path):
    samples = make(3)
    samples.values[0, 300, 7] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        write_strips(tmp_path / "a.tif", cut(samples), samples, HEIGHT, WIDTH, pyramid=True)
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "b.tif"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
