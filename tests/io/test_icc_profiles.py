"""Tests of ICC profiles and code points in files of every format, by colours computed here."""

import io
import itertools
import struct

import imagecodecs
import numpy as np
import pytest
import torch
from color_formulas import P3, SRGB, gray_profile, in_srgb, profile_of, uncurve
from image_files import ASSOCIATED, CMYK, RGB, UNASSOCIATED, chunk, cmyk_profile, icc_chunk, png_of, tiff
from load_checks import assert_loads, assert_opened_loads_equal, composited, save_bytes
from picture_files import samples
from PIL import Image
from skimage.color import rgb2lab

from fastgs.io.images import ImageError, load_image

SWAPPED = (SRGB[1], SRGB[0], SRGB[2])


def with_profile(jp2, icc):
    """Replace the box colr of a JP2 file by an ICC profile."""
    header, start = jp2.index(b"jp2h") - 4, jp2.index(b"colr") - 4
    old = int.from_bytes(jp2[start : start + 4], "big")
    box = struct.pack(">I", 11 + len(icc)) + b"colr\x02\0\0" + icc
    size = int.from_bytes(jp2[header : header + 4], "big") - old + len(box)
    return jp2[:header] + struct.pack(">I", size) + jp2[header + 4 : start] + box + jp2[start + old :]


@pytest.mark.parametrize(("primaries", "gamma"), [(P3, 2.2), (SWAPPED, 2.2), (SRGB, 1.0)])
def test_icc_profiles_are_applied(tmp_path, primaries, gamma):
    """Try every format that can hold one, to the depth of the file."""
    icc = profile_of(primaries, gamma)
    values = samples(8, 3)
    wanted = in_srgb(values / 255, primaries, gamma)
    for suffix, options in [("png", {}), ("tif", {}), ("webp", {"lossless": True})]:
        Image.fromarray(values).save(tmp_path / f"p.{suffix}", icc_profile=icc, **options)
        assert_loads(tmp_path / f"p.{suffix}", wanted, 0.51 / 255)
        assert_opened_loads_equal(tmp_path / f"p.{suffix}")
    flat = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    for suffix, options in [("jpg", {"quality": 100, "subsampling": 0}), ("avif", {"quality": 100})]:
        Image.fromarray(flat).save(tmp_path / f"p.{suffix}", icc_profile=icc, **options)
        assert_loads(tmp_path / f"p.{suffix}", in_srgb(flat / 255, primaries, gamma), 2 / 255)
    # A profile rounds its matrix to 16 bits, and sRGB is 13 times as steep near black.
    exact = 40 / 65535
    deep = samples(16, 4)
    colors, alpha = in_srgb(deep[..., :3] / 65535, primaries, gamma), deep[..., 3] / 65535
    data = png_of(deep, 16, 6, icc_chunk(icc))
    assert_loads(save_bytes(tmp_path, "deep.png", data), composited(colors, alpha), exact)
    tags = {34675: ("B", list(icc))}
    data = tiff(deep, 16, RGB, extras=(UNASSOCIATED,), tags=tags)
    assert_loads(save_bytes(tmp_path, "deep.tif", data), composited(colors, alpha), exact)
    straight = samples(32, 4, "f")
    straight[..., 3] = 0.25 + 0.75 * straight[..., 3]
    premultiplied = np.concatenate([straight[..., :3] * straight[..., 3:], straight[..., 3:]], axis=2)
    colors = in_srgb(straight[..., :3].astype(float), primaries, gamma)
    data = tiff(premultiplied, 32, RGB, extras=(ASSOCIATED,), tags=tags)
    assert_loads(save_bytes(tmp_path, "deep.tif", data), composited(colors, straight[..., 3]), exact)
    jp2 = with_profile(imagecodecs.jpeg2k_encode(deep[..., :3], level=0, reversible=True), icc)
    assert_loads(save_bytes(tmp_path, "deep.jp2", jp2), in_srgb(deep[..., :3] / 65535, primaries, gamma), exact)


@pytest.mark.filterwarnings("ignore::fastgs.io.pixels.ImageWarning")
def test_icc_profiles_that_change_nothing_or_do_not_fit_are_ignored(tmp_path):
    values = samples(8, 3)
    exact = torch.from_numpy(values.astype(np.float32) / np.float32(255)).permute(2, 0, 1)
    gray = gray_profile(1.0)
    for icc in (imagecodecs.cms_profile("srgb"), b"junk" * 50, profile_of(P3, 2.2)[:200], gray):
        Image.fromarray(values).save(tmp_path / "p.png", icc_profile=icc)
        assert torch.equal(load_image(tmp_path / "p.png"), exact)


def test_icc_profiles_of_gray_images_are_applied(tmp_path):
    """Try a profile of gray, and one of RGB for a gray image."""
    values = samples(8, 1)
    wanted = composited(in_srgb(np.repeat(values / 255, 3, axis=2), SRGB, 1.0))
    gray = gray_profile(1.0)
    for icc in (gray, profile_of(SRGB, 1.0)):
        Image.fromarray(values[..., 0]).save(tmp_path / "p.png", icc_profile=icc)
        assert_loads(tmp_path / "p.png", wanted, 0.6 / 255)


def test_icc_profile_of_cmyk_is_applied(tmp_path):
    """The profile has random corners, which no formula gives. In JPEG the inks are inverted, as Adobe has them."""
    corners = np.random.default_rng(0).uniform(0.2, 0.8, (16, 3))
    corners[0], corners[1::2] = 1, 0  # paper, and black ink; the darkest colour would be stretched to black
    icc = cmyk_profile(rgb2lab(corners[None])[0])  # its white is not that of profiles, hence the tolerance
    inks = 255 * np.array(list(itertools.product((0, 1), repeat=4)), dtype=np.uint8)[None]
    data = tiff(inks, 8, CMYK, tags={34675: ("B", list(icc))})
    assert_loads(save_bytes(tmp_path, "inks.tif", data), corners[None], 12 / 255)
    data = tiff(inks.astype(np.uint16) * 257, 16, CMYK, tags={34675: ("B", list(icc))})
    assert_loads(save_bytes(tmp_path, "deep.tif", data), corners[None], 12 / 255)
    for index in range(16):
        Image.fromarray(np.repeat(np.repeat(inks[:, index : index + 1], 16, 0), 16, 1), "CMYK").save(
            tmp_path / "inks.jpg", quality=100, icc_profile=icc
        )
        assert_loads(tmp_path / "inks.jpg", np.broadcast_to(corners[index], (16, 16, 3)), 14 / 255)


def test_code_points_are_applied_or_refused(tmp_path):
    """Display P3 with the curve of sRGB is read in PNG and AVIF; high dynamic range is refused."""
    values = samples(8, 3)
    linear = uncurve(values / 255)
    path = save_bytes(tmp_path, "p3.png", png_of(values, 8, 2, chunk(b"cICP", bytes([12, 13, 0, 1]))))
    assert_loads(path, in_srgb(linear, P3, 1.0), 1 / 65535)
    flat = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    straight = uncurve(flat / 255)
    Image.fromarray(flat).save(buffer := io.BytesIO(), "AVIF", quality=100, subsampling="4:4:4")
    points = struct.pack(">4s4sHH", b"colr", b"nclx", 1, 13)
    assert points in buffer.getvalue()
    display, wide = (
        buffer.getvalue().replace(points, struct.pack(">4s4sHH", b"colr", b"nclx", *other))
        for other in ((12, 13), (9, 16))
    )
    assert_loads(save_bytes(tmp_path, "p3.avif", display), in_srgb(straight, P3, 1.0), 2 / 255)
    for path in (
        save_bytes(tmp_path, "hdr.png", png_of(values, 8, 2, chunk(b"cICP", bytes([9, 16, 0, 1])))),
        save_bytes(tmp_path, "hdr.avif", wide),
    ):
        with pytest.raises(ImageError, match=r"hdr\.\w+: has colours of kind PQ \(HDR\) instead of sRGB; convert it"):
            load_image(path)
