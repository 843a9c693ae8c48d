"""Tests of writing: modes and depths of each format, alpha undone, and one line for what a format cannot hold."""

import numpy as np
import pytest
import tifffile
import torch
from color_formulas import gray_profile
from PIL import Image

from fastgs.io.images import ImageError
from fastgs.io.picture import Picture, read_picture
from fastgs.io.writing import write_picture

KINDS = {"L": (1, False), "LA": (2, True), "RGB": (3, False), "RGBA": (4, True)}


def make(channels, alpha=False, height=19, width=22, **more):
    """Return a smooth picture, which lossy formats keep well, premultiplied."""
    ramp = torch.linspace(0, 1, height * width).view(1, height, width)
    values = torch.cat([ramp * 0.3 + index / 60 for index in range(channels)])
    if alpha:
        values[-1] = torch.linspace(0.2, 1, width)
        values[:-1] *= values[-1:]
    return Picture(values, alpha, **more)


@pytest.mark.parametrize("mode", KINDS)
@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "jp2", "webp", "avif"])
def test_mode_and_values_of_8_bits_come_back(tmp_path, mode, suffix):
    channels, alpha = KINDS[mode]
    picture = make(channels, alpha)
    write_picture(tmp_path / f"p.{suffix}", picture)
    with Image.open(tmp_path / f"p.{suffix}") as image:
        # WebP has no gray, and AVIF none with alpha as Pillow writes it.
        has_gray = suffix != "webp" and not (suffix == "avif" and alpha)
        wanted = mode if has_gray else mode.replace("L", "RGB")
        assert image.mode == wanted and image.size == (22, 19)
    again = read_picture(tmp_path / f"p.{suffix}")
    assert again.alpha == alpha
    values = picture.values if again.channels == channels else picture.values[[0, 0, 0, 1][: again.channels]]
    assert (again.values - values).abs().mean() <= (2 if suffix in ("webp", "avif") else 1) / 255


@pytest.mark.parametrize("mode", KINDS)
def test_16_bits_are_exact_for_other_programs(tmp_path, mode):
    channels, alpha = KINDS[mode]
    straight = np.random.default_rng(0).integers(0, 65536, (19, 22, channels)).astype(np.uint16)
    straight[..., -1] = np.maximum(straight[..., -1], 1) if alpha else straight[..., -1]  # 0 hides the colour
    values = torch.from_numpy(straight.astype(np.float32) / np.float32(65535)).permute(2, 0, 1).contiguous()
    if alpha:
        values[:-1] *= values[-1:]
    picture = Picture(values, alpha)
    write_picture(tmp_path / "p.tif", picture, bits=16)
    with tifffile.TiffFile(tmp_path / "p.tif") as file:
        page = file.pages[0]
        assert np.array_equal(page.asarray().reshape(straight.shape), straight)
        assert page.bitspersample == 16 and page.extrasamples == ((2,) if alpha else ())
    write_picture(tmp_path / "p.png", picture, bits=16)
    with Image.open(tmp_path / "p.png") as image:
        found = np.asarray(image)
    if mode == "L":
        assert np.array_equal(found, straight[..., 0])
    else:  # Pillow cuts colours to their upper 8 bits
        found = found[..., [0, 3]] if mode == "LA" and found.shape[2] == 4 else found
        assert np.array_equal(found, straight >> 8)
    assert torch.equal(read_picture(tmp_path / "p.png").values, picture.values)


def test_transparent_pixels_are_written_black(tmp_path):
    values = torch.full((4, 2, 2), 0.5)
    values[3, 0] = 0
    write_picture(tmp_path / "p.png", values, alpha=True)
    pixels = np.asarray(Image.open(tmp_path / "p.png"))
    assert pixels[0].tolist() == [[0, 0, 0, 0]] * 2 and pixels[1].tolist() == [[255, 255, 255, 128]] * 2


def test_values_are_clamped(tmp_path):
    values = torch.tensor([-1.0, 0.3, 0.9, 2, 0.5]).view(1, 1, 5).repeat(4, 1, 1)
    values[3] = torch.tensor([1.0, 0.6, 0.3, 2, -1])
    write_picture(tmp_path / "p.png", values.requires_grad_(), alpha=True)
    pixels = np.asarray(Image.open(tmp_path / "p.png"))[0]
    assert pixels[:, 0].tolist() == [0, 128, 255, 255, 0] and pixels[:, 3].tolist() == [255, 153, 76, 255, 0]


@pytest.mark.parametrize("channels", [2, 4, 5, 9, 32])
def test_many_channels_are_written_as_bands(tmp_path, channels):
    picture = make(channels, depth=16)
    for bits in (8, 16, 32):
        write_picture(tmp_path / "p.tif", picture, bits=bits)
        with tifffile.TiffFile(tmp_path / "p.tif") as file:
            bands = file.asarray()
        assert bands.shape == (19, 22, channels) and bands.dtype == {8: "u1", 16: "u2", 32: "f4"}[bits]
        limit = 1 if bits == 32 else 2**bits - 1
        assert np.abs(bands / limit - picture.values.permute(1, 2, 0).numpy()).max() <= 0.51 / limit or bits == 32
    write_picture(tmp_path / "p.npy", picture)
    assert np.array_equal(np.load(tmp_path / "p.npy"), picture.values.numpy())


def test_float_tiff_of_srgb_comes_back_exactly(tmp_path):
    picture = make(3)
    write_picture(tmp_path / "p.tif", picture, bits=32)
    assert torch.equal(read_picture(tmp_path / "p.tif").values, picture.values)


LIGHT = make(3, transfer="log")
NO_ALPHA = "holds no transparency; use .png, or composite on a background"


@pytest.mark.parametrize(
    ("name", "picture", "bits", "reason"),
    [
        ("p.jpg", make(4, True), 8, f".jpg {NO_ALPHA}"),
        ("p.bmp", make(2, True), 8, f".bmp {NO_ALPHA}"),
        ("p.hdr", make(4, True), 8, ".hdr holds no transparency; use .tif or .exr, or composite on a background"),
        ("p.jpg", make(3), 16, ".jpg is written with 8 bits only; use .tif or .png"),
        ("p.png", make(3), 32, ".png is written with 8 bits only; use .tif"),
        ("p.png", make(5), 8, ".png cannot hold 5 channels without alpha; use .tif"),
        ("p.png", make(4), 8, ".png cannot hold 4 channels without alpha; use .tif"),
        ("p.png", LIGHT, 16, ".png cannot hold high dynamic range; use .tif, .hdr or .exr"),
        ("p.jpg", LIGHT, 8, ".jpg cannot hold high dynamic range; use .tif, .hdr or .exr"),
        ("p.png", make(3, transfer="pq"), 8, ".png cannot hold high dynamic range; use .tif, .hdr or .exr"),
        ("p.bmp", make(1, profile=gray_profile(1.0)), 8, ".bmp holds no colour profile; use .png or .tif"),
        ("p.png", make(3, profile=gray_profile(1.0)), 8, "its profile is of gray colours, the image has 3 colour"),
        ("p.hdr", make(1, profile=gray_profile(1.0)), 8, "holds linear light of gray or RGB only; use .tif or .npy"),
        ("p.hdr", make(5), 8, "holds linear light of gray or RGB only; use .tif or .npy"),
        ("p.xyz", make(3), 8, "unknown image suffix '.xyz'; use .png, .jpg, .webp or .tif"),
        ("p.png", torch.full((2, 3, 4), torch.nan), 8, "cannot write an image that holds NaN"),
        ("p.png", torch.zeros(3, 4), 8, "cannot write an image of shape (3, 4) (values: expected shape (1 to 32, H"),
        ("p.png", torch.zeros(33, 4, 4), 8, "cannot write an image of shape (33, 4, 4) (values: expected shape"),
        ("p.png", torch.zeros(3, 4, 4, dtype=torch.uint8), 8, "cannot write an image of shape (3, 4, 4) (values: exp"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, picture, bits, reason):
    with pytest.raises(ImageError) as caught:
        write_picture(tmp_path / name, picture, bits=bits)
    assert str(caught.value).startswith(f"{tmp_path / name}: {reason}") and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_arguments_of_writing_are_checked(tmp_path):
    with pytest.raises(ImageError, match=r"^bits: expected 8, 16 or 32, got 12$"):
        write_picture(tmp_path / "p.png", make(3), bits=12)
    with pytest.raises(ImageError, match=r"p\.png: cannot write an image of shape .* \(alpha: is the last of 2 or 4"):
        write_picture(tmp_path / "p.png", torch.rand(3, 4, 5), alpha=True)
    with pytest.raises(ImageError, match=r"p\.tif: cannot write an image of shape .* \(transfer: expected one of"):
        write_picture(tmp_path / "p.tif", torch.rand(3, 4, 5), transfer="gamma")
