"""Tests of pictures: what is read keeps all that the file has, and comes back when it is written."""

import pytest
import torch
from picture_files import picture_files, premultiplied

from fastgs.io.picture import read_picture
from fastgs.io.pixels import ImageError
from fastgs.io.writing import write_picture

FILES = {each.name: each for each in picture_files()}


@pytest.mark.parametrize("name", FILES)
def test_picture_file_is_read_as_computed(tmp_path, name):
    file = FILES[name]
    picture = read(tmp_path, file)
    assert tuple(picture.values.shape) == file.values.shape
    assert picture.values.dtype == torch.float32 and picture.values.is_contiguous()
    assert (picture.alpha, picture.depth, picture.transfer) == (file.alpha is not None, file.depth, file.transfer)
    assert picture.profile is None
    assert difference(picture.values, file.values) <= file.tolerance


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_written_picture_comes_back(tmp_path, name, suffix):
    file = FILES[name]
    picture = read(tmp_path, file)
    written = tmp_path / f"written.{suffix}"
    if file.transfer == "log" and suffix == "png":
        with pytest.raises(ImageError, match=r"written\.png: \.png cannot hold high dynamic range; use \.tif"):
            write_picture(written, picture, bits=16)
        return
    write_picture(written, picture, bits=16)
    again = read_picture(written)
    assert again.values.shape == picture.values.shape
    assert (again.alpha, again.profile, again.transfer) == (picture.alpha, None, picture.transfer)
    assert again.depth == (32 if picture.is_hdr and suffix == "tif" else 16)
    assert difference(again.values, picture.values) <= (1.01 if picture.alpha else 0.51) / 65535
    write_picture(written, again, bits=16)
    assert difference(read_picture(written).values, again.values) <= 0.05 / 65535


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file.profile])
def test_keep_profile_keeps_numbers_and_profile(tmp_path, name):
    file = FILES[name]
    picture = read(tmp_path, file, keep_profile=True)
    assert picture.profile == file.profile and picture.depth == file.depth
    numbers = file.numbers
    wanted = premultiplied(numbers, None) if file.alpha is None else premultiplied(numbers[..., :-1], numbers[..., -1])
    assert difference(picture.values, wanted) <= 0.51 / 65535
    for suffix in ("png", "tif", "webp", "avif"):
        lossy = suffix in ("webp", "avif")
        written = tmp_path / f"kept.{suffix}"
        if suffix == "webp" and picture.channels == 1:
            with pytest.raises(
                ImageError, match=r"kept\.webp: \.webp has no gray, which the profile is for; use \.png"
            ):
                write_picture(written, picture)
            continue
        write_picture(written, picture, bits=8 if lossy else 16)
        again = read_picture(written, keep_profile=True)
        assert again.profile == file.profile
        assert lossy or difference(again.values, picture.values) <= 1.01 / 65535
    converted, kept = read_picture(tmp_path / name), read_picture(tmp_path / "kept.png")
    assert difference(kept.values, converted.values) <= 1.5 / 255


def read(tmp_path, file, **options):
    (tmp_path / file.name).write_bytes(file.data)
    return read_picture(tmp_path / file.name, **options)


def difference(values, wanted):
    """Return the largest difference as a number, so that a failure prints no array."""
    return float((values.double() - torch.as_tensor(wanted).double()).abs().max())
