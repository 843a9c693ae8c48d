"""Tests of files of any kind: plain photos as bytes, files found in the wild, and damaged ones."""

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from color_formulas import P3, profile_of
from image_files import BLACK_IS_ZERO, DEFLATE, RGB, UNASSOCIATED, chunk, png_of, tiff
from load_checks import save_bytes, try_to_load
from picture_files import samples
from PIL import Image

from fastgs.io.images import load_image
from fastgs.io.reading import read_bytes

ODD = Path(__file__).parents[3] / "shared/data/odd"


def test_read_bytes_takes_plain_photos_only(tmp_path):
    """Training cuts crops from those bytes; all other files must go through `read_file`."""
    values = samples(8, 3)
    gamma = chunk(b"gAMA", struct.pack(">I", 100000))
    code_points = chunk(b"cICP", bytes([12, 13, 0, 1]))
    for extra, plain in [(b"", True), (chunk(b"sRGB", b"\0"), True), (gamma, False), (code_points, False)]:
        found = read_bytes(save_bytes(tmp_path, "p.png", png_of(values, 8, 2, extra)))
        assert (found is not None) == plain and (not plain or np.array_equal(found, values))
    for icc, plain in [(imagecodecs.cms_profile("srgb"), True), (profile_of(P3, 2.2), False)]:
        Image.fromarray(values).save(tmp_path / "p.jpg", icc_profile=icc)
        assert (read_bytes(tmp_path / "p.jpg") is not None) == plain
    assert read_bytes(save_bytes(tmp_path, "deep.png", png_of(samples(16, 1), 16, 0))) is None
    assert read_bytes(save_bytes(tmp_path, "plain.tif", tiff(values, 8, RGB))) is None


@pytest.mark.skipif(not ODD.is_dir(), reason="needs shared/data/odd")
def test_unusual_files_match_expected_pixels():
    """The files were found in the wild or resemble such files; their pixels were computed by other programs."""
    with np.load(ODD / "expected.npz") as expected:
        for name, wanted in expected.items():
            image = load_image(ODD / name).permute(1, 2, 0).numpy()
            assert np.abs(image - wanted).max() <= 1 / 65535, name


@pytest.mark.filterwarnings("ignore::fastgs.io.pixels.ImageWarning")
def test_damaged_files_give_an_image_or_an_image_error(tmp_path):
    """Change random bytes; the message must be one line that begins with the path."""
    random = np.random.default_rng(0)
    deep = samples(16, 4)
    buffer = io.BytesIO()
    Image.fromarray(samples(8, 3)).save(buffer, "TIFF", compression="tiff_lzw", icc_profile=profile_of(P3, 2.2))
    for data in (
        tiff(deep, 16, RGB, extras=(UNASSOCIATED,), layout="strips"),
        tiff(samples(12, 1), 12, BLACK_IS_ZERO, compression=DEFLATE),
        png_of(deep, 16, 6, chunk(b"gAMA", struct.pack(">I", 100000))),
        imagecodecs.jpeg2k_encode(deep, level=0, reversible=True),
        buffer.getvalue(),
    ):
        for _ in range(60):
            changed = np.frombuffer(data, np.uint8).copy()
            spots = random.integers(0, len(changed), 3)
            changed[spots] = random.integers(0, 256, 3)
            cut = changed.tobytes()[: random.integers(1, len(data)) if random.random() < 0.3 else None]
            path = save_bytes(tmp_path, "damaged", cut)
            reason, image = try_to_load(path)
            assert reason is None or (reason.startswith(f"{path}: ") and "\n" not in reason)
            assert image is None or (torch.isfinite(image).all() and image.min() >= 0 and image.max() <= 1)
