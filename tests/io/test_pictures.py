"""Tests of pictures: what is read keeps all that the file has, and comes back when it is written."""

import numpy as np
import pytest
import torch
from image_files import CMYK, UNASSOCIATED, cmyk_profile, tiff
from picture_files import picture_files, premultiplied, samples
from PIL import Image

from fastgs.io.images import load_image
from fastgs.io.picture import Picture, read_picture
from fastgs.io.pixels import ImageError
from fastgs.io.writing import write_picture

FILES = {each.name: each for each in picture_files()}


@pytest.mark.parametrize("name", FILES)
def test_picture_file_is_read_as_computed(tmp_path, name, capfd):
    file = FILES[name]
    picture = read(tmp_path, file)
    assert tuple(picture.values.shape) == file.values.shape
    assert picture.values.dtype == torch.float32 and picture.values.is_contiguous()
    assert (picture.alpha, picture.depth, picture.transfer) == (file.alpha is not None, file.depth, file.transfer)
    assert picture.profile is None
    assert difference(picture.values, file.values) <= file.tolerance
    assert capfd.readouterr() == ("", "")  # decoders print nothing


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


def test_fully_opaque_alpha_is_left_out():
    pixels = np.full((4, 5, 4), 255, np.uint8)
    for source in (pixels, Image.fromarray(pixels), pixels[..., :2]):
        picture = read_picture(source)
        assert not picture.alpha and picture.channels in (1, 3)
    pixels[0, 0, 3] = 254
    assert read_picture(pixels).alpha


@pytest.mark.parametrize("background", [(255, 255, 255), (51, 0, 255)])
@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file.transfer == "srgb"])
def test_background_gives_what_load_image_gives(tmp_path, name, background):
    picture = read(tmp_path, FILES[name], background=background)
    image = load_image(tmp_path / name, background=background)
    assert not picture.alpha and picture.channels in (1, 3)
    if FILES[name].values.shape[0] < 3 and len(set(background)) == 1:
        assert picture.channels == 1  # gray stays gray
    assert image.shape == (3, *picture.values.shape[1:])
    assert torch.equal(picture.values.expand(3, -1, -1), image)
    kept = read_picture(tmp_path / name)
    assert difference(kept.composite(background).values, picture.values) <= 1e-6


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 32])
def test_tensors_are_taken_as_they_are(channels):
    tensor = torch.rand(channels, 5, 6, dtype=torch.float64, requires_grad=True)
    picture = read_picture(tensor)
    assert torch.equal(picture.values, tensor.detach().float()) and not picture.values.requires_grad
    assert (picture.alpha, picture.depth) == (False, 32)


def test_pictures_are_taken_as_they_are():
    picture = Picture(torch.rand(4, 5, 8).cumprod(0).flip(0), alpha=True, depth=16)
    assert read_picture(picture) is picture
    small = read_picture(picture, size=5)
    assert torch.equal(small.values, picture.values[:, :, 2:7]) and small.alpha and small.depth == 16
    assert read_picture(picture, background=(0, 0, 0)).channels == 3


def test_colours_stay_below_alpha_when_resized():
    random = torch.Generator().manual_seed(0)
    alpha = (torch.rand(1, 64, 80, generator=random) > 0.5).float()
    picture = Picture(torch.cat([torch.rand(3, 64, 80, generator=random) * alpha, alpha]), alpha=True)
    small = read_picture(picture, size=23)
    assert small.values.shape == (4, 23, 23)
    assert (small.values[:3] <= small.values[3:]).all() and small.values.min() >= 0 and small.values.max() <= 1


def test_linear_light_of_srgb_is_premultiplied():
    values = torch.tensor([0.25, 0.5, 0.5, 0.5]).view(4, 1, 1)
    linear = Picture(values, alpha=True).to_linear()
    decoded = ((0.5 + 0.055) / 1.055) ** 2.4 / 2
    torch.testing.assert_close(linear.flatten(), torch.tensor([decoded, 0.5, 0.5, 0.5]))
    with pytest.raises(ValueError, match=r"^picture: has a profile or a range of its own"):
        Picture(values, range=(0, 255)).to_linear()


def test_picture_refuses_what_does_not_fit():
    values = torch.rand(3, 4, 5)
    for arguments, reason in [
        ({"values": values[0]}, r"^values: expected shape \(1 to 32, H, W\), got \(4, 5\)$"),
        ({"values": torch.rand(33, 2, 2)}, r"^values: expected shape \(1 to 32, H, W\), got \(33, 2, 2\)$"),
        ({"values": values.int()}, r"^values: expected floating point, got torch\.int32$"),
        ({"values": values, "alpha": True}, r"^alpha: is the last of 2 or 4 channels, got 3$"),
        ({"values": values, "transfer": "hlg"}, r"^transfer: expected one of srgb, pq, log, got 'hlg'$"),
        ({"values": values, "range": (1, 0)}, r"^range: expected two ascending numbers, got \(1, 0\)$"),
    ]:
        with pytest.raises(ValueError, match=reason):
            Picture(**arguments)
    with pytest.raises(ValueError, match=r"^values: expected 3 channels, got 4$"):
        Picture(values).with_values(torch.rand(4, 4, 5))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (torch.full((3, 2, 2), torch.nan), "source: the tensor holds NaN or infinity; give finite values in [0, 1]"),
        (torch.full((3, 2, 2), 255.0), "source: expected values in [0, 1], got [255, 255]; divide by 255 or clamp"),
        (torch.zeros(33, 2, 2), "source: expected a floating-point tensor of shape (1 to 32, H, W), got torch.float32"),
        (
            torch.zeros(48, 64, 3),
            "source: expected a floating-point tensor of shape (1 to 32, H, W), got torch.float32 "
            "(48, 64, 3); move its last axis to the front",
        ),
        (torch.zeros(2, 2), "source: expected a floating-point tensor of shape (1 to 32, H, W), got torch.float32"),
        (np.zeros((2, 2, 5), np.uint8), "source: expected an array of shape (H, W) or (H, W, 1 to 4), got (2, 2, 5)"),
        (np.zeros((2, 2, 3)), "source: expected an array of uint8 or uint16, got float64; give floats as a tensor"),
        (7, "source: expected a path, PIL image, numpy array or tensor, got int"),
    ],
)
def test_read_picture_refuses_bad_sources(source, message):
    with pytest.raises(ImageError) as caught:
        read_picture(source)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_inks_with_alpha_cannot_be_kept(tmp_path):
    icc = cmyk_profile(np.linspace([95, 0, 0], [5, 0, 0], 16))
    data = tiff(samples(8, 5), 8, CMYK, extras=(UNASSOCIATED,), tags={34675: ("B", list(icc))})
    (tmp_path / "p.tif").write_bytes(data)
    assert read_picture(tmp_path / "p.tif").channels == 4
    with pytest.raises(ImageError, match=r"p\.tif: has inks and alpha, which cannot be kept together; leave out keep_"):
        read_picture(tmp_path / "p.tif", keep_profile=True)
