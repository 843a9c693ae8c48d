"""Tests of TIFF files: right to their own depth, by pixels computed here, or refused in one line."""

import itertools

import numpy as np
import pytest
import tifffile
from image_files import ASSOCIATED, BLACK_IS_ZERO, CMYK, DEFLATE, PALETTE, RGB, UNASSOCIATED, WHITE_IS_ZERO, tiff
from load_checks import assert_loads, composited, save_bytes, try_to_load
from picture_files import HEIGHT, samples
from PIL import Image

from fastgs.io.images import ImageError, load_image
from fastgs.io.picture import read_picture
from fastgs.io.writing import write_picture

COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}
DEPTHS = [*(("u", depth) for depth in (1, 2, 4, 8, 12, 16, 32, 64)), ("f", 16), ("f", 32), ("f", 64)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("photometric", "kind", "depth"),
    [
        (photometric, kind, depth)
        for photometric, (kind, depth) in itertools.product(COLORS, DEPTHS)
        if photometric != PALETTE or (kind == "u" and depth <= 16)
    ],
)
def test_tiff_pixels_are_exact(tmp_path, photometric, kind, depth):
    """Combine all kinds of alpha, planes, byte orders and layouts."""
    count = COLORS[photometric]
    colormap = np.random.default_rng(1).integers(0, 65536, (3, 2**depth)) if photometric == PALETTE else None
    tags = {} if colormap is None else {320: ("H", colormap.ravel().tolist())}
    for extra, planar, order, layout in itertools.product(
        (None, ASSOCIATED, UNASSOCIATED), (False, True), ("II", "MM"), ("strip", "strips", "tiles")
    ):
        channels = count + (extra is not None)
        values = samples(depth, channels, kind)
        if extra == ASSOCIATED:  # a colour is at most its alpha
            values[..., :count] = np.minimum(values[..., :count], values[..., count:])
        numbers = values.astype(np.float64) / (1 if kind == "f" else 2**depth - 1)
        colors, alpha = numbers[..., :count], numbers[..., count] if extra else None
        if photometric == WHITE_IS_ZERO:
            colors = (alpha[..., None] if extra == ASSOCIATED else 1) - colors
        elif photometric == PALETTE:
            colors = colormap.T[values[..., 0]] / 65535
        elif photometric == CMYK and extra == ASSOCIATED:
            whole = np.where(alpha == 0, 1, alpha)[..., None]
            colors = alpha[..., None] * (1 - colors[..., :3] / whole) * (1 - colors[..., 3:] / whole)
        elif photometric == CMYK:
            colors = (1 - colors[..., :3]) * (1 - colors[..., 3:])
        data = tiff(
            values, depth, photometric, order=order, planar=planar, layout=layout, tags=tags,
            extras=() if extra is None else (extra,),
        )  # fmt: skip
        path = save_bytes(tmp_path, "grid.tif", data)
        if extra == ASSOCIATED and photometric == PALETTE:
            with pytest.raises(ImageError, match=r"grid\.tif: multiplies \w+ by alpha.*; convert it"):
                load_image(path)
        else:
            assert_loads(path, composited(colors, alpha, extra == ASSOCIATED), (0.51 if kind == "u" else 1) / 65535)


def test_tiff_with_compression_orientation_and_more_channels(tmp_path):
    values = samples(16, 5)
    for orientation, turn in enumerate(
        [
            lambda a: a,
            np.fliplr,
            lambda a: np.rot90(a, 2),
            np.flipud,
            lambda a: np.fliplr(np.rot90(a, -1)),
            lambda a: np.rot90(a, -1),
            lambda a: np.fliplr(np.rot90(a, 1)),
            lambda a: np.rot90(a, 1),
        ],
        1,
    ):
        # The first sample behind the colours has no meaning, the second is alpha.
        data = tiff(values, 16, RGB, compression=DEFLATE, extras=(0, 2), tags={274: ("H", [orientation])})
        path = save_bytes(tmp_path, "turned.tif", data)
        assert_loads(path, turn(composited(values[..., :3] / 65535, values[..., 4] / 65535)))


def test_tiff_of_white_is_zero_with_numbers_above_alpha_is_refused(tmp_path):
    """Numbers above alpha are not multiplied by it: a program has multiplied the gray and inverted it then."""
    for kind, depth in (("u", 8), ("f", 32)):
        values = samples(depth, 2, kind)
        gray = np.minimum(values[..., :1], values[..., 1:])
        inverted = np.concatenate([values.max() - gray, values[..., 1:]], axis=2)
        path = save_bytes(tmp_path, "inverted.tif", tiff(inverted, depth, WHITE_IS_ZERO, extras=(ASSOCIATED,)))
        with pytest.raises(ImageError, match=r"inverted\.tif: multiplies MINISWHITE by alpha, but has .*; convert it"):
            load_image(path)


def test_tiff_of_up_to_16_bits_is_read(tmp_path):
    for depth, order in itertools.product((3, 5, 6, 7, 9, 10, 11, 13, 14, 15), ("II", "MM")):
        values = samples(depth, 3)
        path = save_bytes(tmp_path, "odd.tif", tiff(values, depth, RGB, order=order))
        assert_loads(path, composited(values / (2**depth - 1)))


@pytest.mark.parametrize("compression", [1, DEFLATE])
@pytest.mark.parametrize("low", [False, True])
def test_tiff_of_24_bits_is_exact(tmp_path, compression, low):
    """The difference to 16 bits is seen: numbers are exact to 1 in 2^24, also where they are near 0."""
    for photometric, planar, layout in itertools.product(
        (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK), (False, True), ("strip", "strips", "tiles")
    ):
        count = COLORS[photometric]
        values = samples(24, count + 1) >> (16 if low else 0)
        values[..., count] |= 0xFF0000
        data = tiff(
            values, 24, photometric, order="MM", planar=planar, layout=layout, compression=compression,
            extras=(UNASSOCIATED,),
        )  # fmt: skip
        numbers = values / (2.0**24 - 1)
        colors, alpha = numbers[..., :count], numbers[..., count]
        if photometric == WHITE_IS_ZERO:
            colors = 1 - colors
        elif photometric == CMYK:
            colors = (1 - colors[..., :3]) * (1 - colors[..., 3:])
        assert_loads(save_bytes(tmp_path, "deep.tif", data), composited(colors, alpha), 1e-6)
        if photometric == BLACK_IS_ZERO:
            picture = read_picture(tmp_path / "deep.tif")
            assert (picture.channels, picture.alpha, picture.depth) == (2, True, 24)
            write_picture(tmp_path / "again.tif", picture, bits=16)
            assert read_picture(tmp_path / "again.tif").channels == 2


def test_tiff_of_24_bits_in_unclear_order_is_refused(tmp_path):
    """Libtiff takes them in the byte order of the file, tifffile and GDAL with the highest byte first."""
    predictor = {317: ("H", [2])}
    for order, tags, reason in [
        ("II", None, r"has samples of 24 bits in a little-endian file, on whose byte order programs do .*; convert it"),
        ("MM", predictor, r"has a predictor of samples of 24 bits, which is not undone; convert it"),
    ]:
        data = tiff(samples(24, 1), 24, BLACK_IS_ZERO, order=order, compression=DEFLATE, tags=tags)
        with pytest.raises(ImageError, match=rf"odd\.tif: {reason}"):
            load_image(save_bytes(tmp_path, "odd.tif", data))


@pytest.mark.parametrize(
    "compression", ["zlib", "lzw", "packbits", "zstd", "lzma", "webp", "jpeg2000", "jpegxl", "lerc"]
)
def test_tiff_compressions_are_right_or_refused(tmp_path, compression):
    """Try each with all depths, byte orders, planes and predictors that tifffile writes."""
    right = 0
    for kind, order, predictor, planar in itertools.product(
        ("u1", "u2", "u4", "f2", "f4", "f8"), "<>", (False, True), ("contig", "separate")
    ):
        values = samples(8 * int(kind[1]), 3, kind[0])
        whole = 1 if kind[0] == "f" else 2 ** (8 * int(kind[1])) - 1
        given = values.transpose(2, 0, 1) if planar == "separate" else values
        path = tmp_path / "c.tif"
        try:
            tifffile.imwrite(
                path, given, photometric="rgb", planarconfig=planar, compression=compression, predictor=predictor,
                byteorder=order, tile=(16, 16) if predictor else None,
            )  # fmt: skip
        except Exception:  # tifffile cannot write such a file
            continue
        reason, image = try_to_load(path)
        if image is None:
            assert f"is compressed by {compression.upper()} at " in reason and reason.endswith("use LZW or deflate")
        else:
            assert_loads(path, composited(values.astype(np.float64) / whole), 1.1 / 65535)
            right += 1
    assert right > 1 or compression == "lerc"


def test_tiff_palette_of_8_bits_is_recognized(tmp_path):
    """Some programs write 8 bits instead of 16; the largest number shows it, as in libtiff."""
    colormap = np.random.default_rng(0).integers(0, 256, (3, 16))
    values = samples(4, 1)
    path = save_bytes(tmp_path, "p.tif", tiff(values, 4, PALETTE, tags={320: ("H", colormap.ravel().tolist())}))
    assert_loads(path, composited(colormap.T[values[..., 0]] / 255))


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        *itertools.product(("1", "L", "RGB", "CMYK"), ("packbits", "tiff_lzw", "tiff_adobe_deflate")),
        ("1", "group3"),
        ("1", "group4"),
        ("L", "jpeg"),
        ("RGB", "jpeg"),
        ("CMYK", "jpeg"),
    ],
)
def test_tiff_compressions_of_pillow_are_read(tmp_path, mode, compression):
    values = samples(8, {"1": 1, "L": 1, "RGB": 3, "CMYK": 4}[mode])
    values = np.where(values < 128, 0, 255).astype(np.uint8) if compression == "jpeg" or mode == "1" else values
    if compression == "jpeg":
        values[:] = values[3, 3]  # a flat image loses nothing
    image = Image.fromarray(values if values.shape[2] > 1 else values[..., 0], mode if mode != "1" else "L")
    image.convert(mode).save(tmp_path / "c.tif", compression=compression)
    colors = values / 255
    wanted = (1 - colors[..., :3]) * (1 - colors[..., 3:]) if mode == "CMYK" else colors
    assert_loads(tmp_path / "c.tif", composited(wanted), 1 / 255)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({262: ("H", [32803])}, "has colours of kind CFA instead of gray, RGB, palette, CMYK or Lab; convert it"),
        ({339: ("H", [2] * 3)}, "holds signed integers, which do not say what is white; convert it"),
        ({339: ("H", [6] * 3)}, ""),
        ({258: ("H", [8, 8, 16])}, "has samples of (8, 8, 16) bits, which are not read; convert it"),
        ({257: ("I", [10**6]), 256: ("I", [10**6])}, "has more than 89,478,485 pixels; shrink it"),
        ({257: ("I", [HEIGHT + 1])}, "cannot be decoded (image file is truncated); get a whole copy"),
        ({273: ("I", [10**6])}, "cannot be decoded (image file is truncated); get a whole copy"),
        ({277: ("H", [100])}, "has 100 channels; convert it"),
        ({32997: ("I", [7])}, "is a volume of 7 slices; save one of them"),
    ],
)
def test_tiff_of_unsupported_kinds_is_refused(tmp_path, changed, reason):
    path = save_bytes(tmp_path, "bad.tif", tiff(samples(8, 3), 8, RGB, tags=changed))
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(caught.value).startswith(f"{path}: {reason}") and "\n" not in str(caught.value)
