"""Tests of colour profiles: applied as by another program, written as tags, and ignored with a warning if damaged."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
import torch
from color_formulas import P3, SRGB, change_primaries, curve, encode, gray_profile, profile_of
from image_files import RGB, chunk, cmyk_profile, icc_chunk, png_of, tiff
from picture_files import samples
from PIL import Image, ImageCms
from skimage.color import rgb2lab

from fastgs.io.images import load_image
from fastgs.io.picture import Picture, read_picture
from fastgs.io.pixels import Encoding, ImageWarning
from fastgs.io.profiles import make_profile, profile_fault
from fastgs.io.writing import write_picture

WIDE = profile_of(P3, 2.2)
MANY = 10**6
DAMAGED = {
    "cut": (WIDE[:200], "it states 600 bytes but has 200"),
    "junk": (b"junk" * 50, "it is not an ICC profile"),
    "too_large": (struct.pack(">I", MANY) + WIDE[4:], f"it states {MANY} bytes but has 600"),
    "too_small": (struct.pack(">I", 140) + WIDE[4:], "it states 140 bytes, too few for its 11 tags"),
    "tag_outside": (WIDE[:136] + struct.pack(">I", 590) + WIDE[140:], "it states 600 bytes, but its tags need 6"),
    "gray": (gray_profile(1.0), "it is of GRAY colours, the image has 3 channels"),
    "lab": (WIDE[:16] + b"Lab " + WIDE[20:], "it is of Lab colours, the image has 3 channels"),
    "no_curves": (WIDE.replace(b"TRC", b"XXX"), "it cannot be applied"),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("suffix", ["png", "deep.png", "tif", "jpg", "webp"])
def test_damaged_profile_is_one_warning_and_numbers_as_they_are(tmp_path, kind, suffix, capfd):
    profile, fault = DAMAGED[kind]
    depth = 16 if suffix == "deep.png" else 8
    values = samples(depth, 3)
    path = tmp_path / f"photo.{suffix}"
    if suffix.endswith("png"):
        path.write_bytes(png_of(values, depth, 2, icc_chunk(profile)))
    elif suffix == "tif":
        path.write_bytes(tiff(values, depth, RGB, tags={34675: ("B", list(profile))}))
    else:
        options = {"lossless": True} if suffix == "webp" else {"quality": 100, "subsampling": 0}
        Image.fromarray(values).save(path, icc_profile=profile, **options)
    for keep in (False, True):
        with pytest.warns(ImageWarning) as caught:
            picture = read_picture(path, keep_profile=keep)
        (message,) = [str(each.message) for each in caught]
        assert message.startswith(f"{path}: its colour profile is damaged or does not fit ({fault}")
        assert message.endswith("the numbers are taken as they are") and "\n" not in message
        assert picture.profile is None
        if suffix != "jpg":
            wanted = torch.from_numpy(values.astype(np.float32) / np.float32(2**depth - 1)).permute(2, 0, 1)
            assert torch.equal(picture.values, wanted)
    assert capfd.readouterr() == ("", "")  # decoders print nothing of their own


def test_profile_that_cannot_be_unpacked_is_a_warning(tmp_path, capfd):
    for depth in (8, 16):
        values = samples(depth, 3)
        packed = chunk(b"iCCP", b"p\0\0" + zlib.compress(WIDE)[:50])
        (tmp_path / "p.png").write_bytes(png_of(values, depth, 2, packed))
        with pytest.warns(ImageWarning, match=r"p\.png: its colour profile is damaged \(it cannot be unpacked\)"):
            picture = read_picture(tmp_path / "p.png")
        assert np.abs(picture.values.numpy() - values.transpose(2, 0, 1) / (2**depth - 1)).max() < 1e-7
    assert capfd.readouterr() == ("", "")


def test_padded_profile_is_applied_without_a_warning(tmp_path):
    values = samples(8, 3)
    Image.fromarray(values).save(tmp_path / "p.png", icc_profile=WIDE)
    Image.fromarray(values).save(tmp_path / "padded.png", icc_profile=WIDE + bytes(40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        padded = read_picture(tmp_path / "padded.png")
    assert torch.equal(padded.values, read_picture(tmp_path / "p.png").values)


@pytest.mark.parametrize("kind", ["wide", "swapped", "cmyk"])
def test_conversion_equals_that_of_pillow(tmp_path, kind):
    """Compare with perceptual intent and black point compensation."""
    corners = np.random.default_rng(0).uniform(0.2, 0.8, (16, 3))
    corners[0], corners[1::2] = 1, 0  # paper, and black: releases of LittleCMS do not agree where no ink is black
    icc = {
        "wide": WIDE,
        "swapped": profile_of((SRGB[1], SRGB[0], SRGB[2]), 1.8),
        "cmyk": cmyk_profile(rgb2lab(corners[None])[0]),
    }[kind]
    mode = "CMYK" if kind == "cmyk" else "RGB"
    image = Image.fromarray(samples(8, len(mode)), mode)
    transform = ImageCms.buildTransform(
        io.BytesIO(icc), ImageCms.createProfile("sRGB"), mode, "RGB",
        ImageCms.Intent.PERCEPTUAL, ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip
    wanted = np.asarray(ImageCms.applyTransform(image, transform)) / 255
    image.save(tmp_path / "p.tif", icc_profile=icc)
    assert np.abs(read_picture(tmp_path / "p.tif").values.permute(1, 2, 0).numpy() - wanted).max() <= 1 / 255


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("encoding", [Encoding(), Encoding(1.0), Encoding(2.2, (0.3127, 0.3290, *sum(P3, ())))])
def test_made_profile_means_its_encoding(gray, encoding):
    profile = make_profile(encoding, gray)
    assert profile_fault(profile) is None
    assert profile == make_profile.__wrapped__(encoding, gray)  # no date in it
    ImageCms.ImageCmsProfile(io.BytesIO(profile))
    values = samples(16, 1 if gray else 3)
    numbers = values / 65535
    linear = numbers**encoding.exponent if encoding.exponent else None
    if not gray and encoding.exponent == 2.2:
        wanted = load_reference(values, WIDE)
    else:
        wanted = numbers if linear is None else curve(linear)
    found = load_reference(values, profile)
    assert np.abs(found - wanted).max() <= 40 / 65535  # a profile has 16 bits, and sRGB is 13 times as steep near black


def load_reference(values, profile):
    """Return (H, W, C) colours of samples of 16 bits with a profile."""
    data = png_of(values, 16, 0 if values.shape[2] == 1 else 2, icc_chunk(profile))
    with Image.open(io.BytesIO(data)) as image:
        return read_picture(image).values.permute(1, 2, 0).double().numpy()


def test_encoding_is_kept_as_a_profile(tmp_path):
    """A file with gamma or primaries instead of a profile comes back with a profile of the same meaning."""
    values = samples(16, 3)
    for extra in (chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"cICP", bytes([12, 13, 0, 1]))):
        (tmp_path / "p.png").write_bytes(png_of(values, 16, 2, extra))
        kept = read_picture(tmp_path / "p.png", keep_profile=True)
        assert kept.profile is not None
        assert np.abs(kept.values.numpy() - values.transpose(2, 0, 1) / 65535).max() < 1e-7
        write_picture(tmp_path / "kept.png", kept, bits=16)
        written, converted = read_picture(tmp_path / "kept.png"), read_picture(tmp_path / "p.png")
        assert (written.values - converted.values).abs().max() <= 40 / 65535


def test_written_files_are_tagged_as_srgb(tmp_path):
    for channels in (1, 3, 4):
        picture = Picture(torch.rand(channels, 9, 8).cumprod(0).flip(0), alpha=channels == 4)
        for suffix, bits in (("png", 8), ("png", 16), ("tif", 8), ("tif", 16), ("jpg", 8), ("webp", 8), ("avif", 8)):
            if suffix == "jpg" and channels == 4:
                continue
            path = tmp_path / f"p.{suffix}"
            write_picture(path, picture, bits=bits)
            first = path.read_bytes()
            write_picture(path, picture, bits=bits)
            assert path.read_bytes() == first
            if suffix == "tif":
                with tifffile.TiffFile(path) as file:
                    found = file.pages[0].iccprofile
            else:
                with Image.open(path) as image:
                    found = image.info.get("icc_profile")
            if suffix == "png":
                assert found is None and chunk(b"sRGB", b"\0") in first
            elif suffix == "avif":
                assert struct.pack(">4s4sHH", b"colr", b"nclx", 1, 13) in first
            else:
                assert found == make_profile(gray=channels == 1 and suffix != "webp")


def test_inks_are_kept_with_their_profile(tmp_path):
    icc = cmyk_profile(np.linspace([95, 0, 0], [5, 0, 0], 16))
    inks = samples(8, 4)
    tifffile.imwrite(tmp_path / "p.tif", inks, photometric="separated", iccprofile=icc)
    picture = read_picture(tmp_path / "p.tif", keep_profile=True)
    assert (picture.channels, picture.alpha, picture.profile) == (4, False, icc)
    write_picture(tmp_path / "kept.tif", picture)
    write_picture(tmp_path / "kept.jpg", picture)
    with tifffile.TiffFile(tmp_path / "kept.tif") as file:
        assert np.array_equal(file.asarray(), inks) and file.pages[0].photometric == 5
    with Image.open(tmp_path / "kept.jpg") as image:
        assert image.mode == "CMYK" and image.info["icc_profile"] == icc
    converted = load_image(tmp_path / "p.tif")
    assert torch.equal(load_image(tmp_path / "kept.tif"), converted)


def test_gray_file_with_a_profile_of_rgb_stays_gray(tmp_path):
    values = samples(8, 1)
    linear = profile_of(SRGB, 1.0)
    Image.fromarray(values[..., 0]).save(tmp_path / "p.png", icc_profile=linear)
    picture = read_picture(tmp_path / "p.png")
    assert picture.channels == 1
    assert np.abs(picture.values.numpy() - curve(values / 255).transpose(2, 0, 1)).max() <= 1 / 255


def test_linear_profile_of_light_beyond_white_is_applied(tmp_path):
    light = 4 * samples(32, 3, "f")
    matrix = profile_of(P3, 1.0)
    tifffile.imwrite(tmp_path / "p.tif", light, photometric="rgb", iccprofile=matrix)
    picture = read_picture(tmp_path / "p.tif")
    assert picture.transfer == "pq" and picture.profile is None

    wanted = encode(change_primaries(light.astype(float), P3), "pq").transpose(2, 0, 1)
    assert np.abs(picture.values.numpy() - wanted).max() <= 1 / 255
