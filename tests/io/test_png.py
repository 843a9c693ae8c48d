"""Tests of PNG files: pixels, transparency, gamma and chromaticities, by values computed here."""

import itertools
import struct

import numpy as np
import pytest
from color_formulas import D65, P3, SRGB, in_srgb
from image_files import chunk, png_of
from load_checks import assert_loads, assert_opened_loads_equal, composited, save_bytes
from picture_files import samples


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize(
    ("color", "depth"),
    [*itertools.product((0, 3), (1, 2, 4, 8)), *itertools.product((2, 4, 6), (8, 16)), (0, 16)],
)
def test_png_pixels_are_exact(tmp_path, color, depth, interlace):
    """Try each with and without a transparent colour, which is matched at the depth of the file."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    values = samples(depth, channels)
    limit = 2**depth - 1
    colors, alpha = values / limit, None
    extra = key = b""
    if color == 3:
        palette = samples(8, 3).reshape(-1, 3)[: 2**depth]
        opacity = samples(8, 1, seed=2).ravel()[: 2 ** (depth - 1)]
        extra, key = chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", opacity.tobytes())
        colors = palette[values[..., 0]] / 255
        transparent = np.append(opacity, np.full(2 ** (depth - 1), 255))[values[..., 0]] / 255
    elif color in (0, 2):
        hidden = values[2, 3]
        if depth == 16:  # a colour that equals the transparent one in its upper 8 bits only
            values[5] = hidden ^ 1
            colors = values / limit
        key = chunk(b"tRNS", hidden.astype(">u2").tobytes())
        transparent = 1.0 - (values == hidden).all(axis=2)
    else:
        colors, alpha = colors[..., :-1], colors[..., -1]
    assert_loads(
        save_bytes(tmp_path, "p.png", png_of(values, depth, color, extra, interlace)), composited(colors, alpha)
    )
    if key:
        path = save_bytes(tmp_path, "k.png", png_of(values, depth, color, extra + key, interlace))
        assert_loads(path, composited(colors, transparent))
        assert_opened_loads_equal(path)


@pytest.mark.parametrize("depth", [8, 16])
def test_png_gamma_and_chromaticities_are_applied(tmp_path, depth):
    values = samples(depth, 3)
    limit = 2**depth - 1
    plain = composited(values / limit)
    linear = chunk(b"gAMA", struct.pack(">I", 100000))
    usual = chunk(b"gAMA", struct.pack(">I", 45455))
    wide = [round(1e5 * each) for each in (*D65, *sum(P3, ()))]
    primaries = chunk(b"cHRM", struct.pack(">8I", *wide))
    for extra, wanted in [
        (linear, in_srgb(values / limit, SRGB, 1.0)),
        (linear + primaries, in_srgb(values / limit, P3, 1.0)),
        (usual, plain),
        (linear + chunk(b"sRGB", b"\0"), plain),
        (chunk(b"gAMA", bytes(4)), plain),
        (chunk(b"cHRM", bytes(32)), plain),
    ]:
        assert_loads(save_bytes(tmp_path, "g.png", png_of(values, depth, 2, extra)), wanted, 1 / 65535)


def test_png_with_another_white_point_is_adapted(tmp_path):
    """White stays white, and gray gray, whatever the chromaticity of white."""
    values = np.repeat(samples(16, 1), 3, axis=2)
    warm = (0.3457, 0.3585, *sum(P3, ()))
    extra = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(
        b"cHRM", struct.pack(">8I", *(round(1e5 * x) for x in warm))
    )
    assert_loads(
        save_bytes(tmp_path, "w.png", png_of(values, 16, 2, extra)),
        in_srgb(values / 65535, SRGB, 1.0),
        1 / 65535,
    )
