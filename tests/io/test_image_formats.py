"""Tests of every kind of image file: right to its own depth, by pixels computed here, or refused in one line."""

import io
import itertools
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from image_files import (
    ASSOCIATED,
    BLACK_IS_ZERO,
    CMYK,
    DEFLATE,
    PALETTE,
    RGB,
    UNASSOCIATED,
    WHITE_IS_ZERO,
    bmp,
    chunk,
    cmyk_profile,
    packed,
    png_of,
    tiff,
)
from PIL import Image
from skimage.color import rgb2lab

from fastgs.io.images import ImageError, load_image
from fastgs.io.reading import read_bytes

HEIGHT, WIDTH = 19, 21
COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}
BACKGROUND = (51, 0, 255)
ODD = Path(__file__).parents[3] / "shared/data/odd"


def save_bytes(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def composited(colors, alpha=None, associated=False):
    """Composite (H, W, 1 or 3) colours in [0, 1] on the background, in float64."""
    colors = np.broadcast_to(colors, (*colors.shape[:2], 3)).astype(np.float64)
    if alpha is not None:
        colors = colors if associated else colors * alpha[..., None]
        colors = colors + np.array(BACKGROUND) / 255 * (1 - alpha[..., None])
    return colors.clip(0, 1)


def assert_loads(path, wanted, tolerance=0.51 / 65535):
    image = load_image(path, background=BACKGROUND).permute(1, 2, 0).double().numpy()
    assert image.shape == wanted.shape
    assert np.abs(image - wanted).max() <= tolerance


def random_samples(depth, channels, kind="u", seed=0):
    """Return random samples (H, W, C) that include the smallest and the largest value of their depth."""
    random = np.random.default_rng(seed)
    if kind == "f":
        values = random.random((HEIGHT, WIDTH, channels)).astype(f"f{depth // 8}")
        limit = 1.0
    else:
        limit = 2**depth - 1
        whole = np.uint8 if depth <= 8 else np.uint16 if depth <= 16 else f"u{depth // 8}"
        values = random.integers(0, limit, (HEIGHT, WIDTH, channels), dtype=np.uint64, endpoint=True).astype(whole)
    values[0, 0], values[0, 1] = 0, limit
    return values


DEPTHS = [*(("u", depth) for depth in (1, 2, 4, 8, 12, 16, 32, 64)), ("f", 16), ("f", 32), ("f", 64)]


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
        values = random_samples(depth, channels, kind)
        if extra == ASSOCIATED:  # a colour is at most its alpha
            values[..., :count] = np.minimum(values[..., :count], values[..., count:])
        samples = values.astype(np.float64) / (1 if kind == "f" else 2**depth - 1)
        colors, alpha = samples[..., :count], samples[..., count] if extra else None
        if photometric == WHITE_IS_ZERO:
            colors = 1 - colors
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
        if extra == ASSOCIATED and photometric in (WHITE_IS_ZERO, PALETTE):
            with pytest.raises(ImageError, match=r"grid\.tif: multiplies \w+ by alpha.*; convert it"):
                load_image(path)
        else:
            assert_loads(path, composited(colors, alpha, extra == ASSOCIATED), (0.51 if kind == "u" else 1) / 65535)


def test_tiff_with_compression_orientation_and_more_channels(tmp_path):
    values = random_samples(16, 5)
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


def test_tiff_of_up_to_16_bits_is_read(tmp_path):
    """24 bits are refused, since programs do not agree on their byte order."""
    for depth, order in itertools.product((3, 5, 6, 7, 9, 10, 11, 13, 14, 15), ("II", "MM")):
        values = random_samples(depth, 3)
        path = save_bytes(tmp_path, "odd.tif", tiff(values, depth, RGB, order=order))
        assert_loads(path, composited(values / (2**depth - 1)))
    path = save_bytes(tmp_path, "odd.tif", tiff(random_samples(16, 1).astype(np.uint32), 24, BLACK_IS_ZERO))
    with pytest.raises(ImageError, match=r"odd\.tif: has samples of 24 bits, which are not read; convert it to 16-bit"):
        load_image(path)


@pytest.mark.parametrize(
    "compression", ["zlib", "lzw", "packbits", "zstd", "lzma", "webp", "jpeg2000", "jpegxl", "lerc"]
)
def test_tiff_compressions_are_right_or_refused(tmp_path, compression):
    """Try each with all depths, byte orders, planes and predictors that tifffile writes."""
    right = 0
    for kind, order, predictor, planar in itertools.product(
        ("u1", "u2", "u4", "f2", "f4", "f8"), "<>", (False, True), ("contig", "separate")
    ):
        values = random_samples(8 * int(kind[1]), 3, kind[0])
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
    values = random_samples(4, 1)
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
    values = random_samples(8, {"1": 1, "L": 1, "RGB": 3, "CMYK": 4}[mode])
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
    path = save_bytes(tmp_path, "bad.tif", tiff(random_samples(8, 3), 8, RGB, tags=changed))
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(caught.value).startswith(f"{path}: {reason}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize(
    ("color", "depth"),
    [*itertools.product((0, 3), (1, 2, 4, 8)), *itertools.product((2, 4, 6), (8, 16)), (0, 16)],
)
def test_png_pixels_are_exact(tmp_path, color, depth, interlace):
    """Try each with and without a transparent colour, which is matched at the depth of the file."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    values = random_samples(depth, channels)
    limit = 2**depth - 1
    colors, alpha = values / limit, None
    extra = key = b""
    if color == 3:
        palette = random_samples(8, 3).reshape(-1, 3)[: 2**depth]
        opacity = random_samples(8, 1, seed=2).ravel()[: 2 ** (depth - 1)]
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


def assert_opened_loads_equal(path):
    """Check that an image opened by Pillow is read like its file."""
    with Image.open(path) as image:
        assert torch.equal(load_image(image, background=BACKGROUND), load_image(path, background=BACKGROUND))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_jpeg_2000_pixels_are_exact(tmp_path, bits):
    for channels, codec in itertools.product((1, 2, 3, 4), ("jp2", "j2k")):
        values = random_samples(bits, channels)
        data = imagecodecs.jpeg2k_encode(
            values.squeeze(), level=0, reversible=True, bitspersample=bits, codecformat=codec
        )
        samples = values / (2**bits - 1)
        color = channels - (channels + 1) % 2
        path = save_bytes(tmp_path, f"p.{codec}", data)
        assert_loads(path, composited(samples[..., :color], samples[..., color] if color < channels else None))
        assert_opened_loads_equal(path)


def test_jpeg_2000_of_other_kinds_is_read_or_refused(tmp_path):
    inks = random_samples(8, 4)
    Image.fromarray(inks, "CMYK").save(tmp_path / "cmyk.jp2", irreversible=False)
    assert_loads(tmp_path / "cmyk.jp2", composited((1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255)))
    signed = random_samples(8, 1).astype(np.int16)[..., 0]
    path = save_bytes(tmp_path, "signed.jp2", imagecodecs.jpeg2k_encode(signed, level=0, reversible=True))
    with pytest.raises(ImageError, match=r"signed\.jp2: holds signed samples, which do not say what is white; convert"):
        load_image(path)
    path = save_bytes(tmp_path, "cut.jp2", (tmp_path / "cmyk.jp2").read_bytes()[:120])
    with pytest.raises(ImageError, match=r"cut\.jp2: "):
        load_image(path)


def pad_rows(rows):
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()


def test_bmp_pixels_are_exact(tmp_path):
    for bits in (1, 4, 8):
        values = random_samples(bits, 1)
        palette = np.pad(random_samples(8, 3).reshape(-1, 3)[: 2**bits], ((0, 0), (0, 1)))
        rows = np.frombuffer(packed(values[::-1, :, 0], bits, "MM"), np.uint8).reshape(HEIGHT, -1)
        path = save_bytes(tmp_path, "p.bmp", bmp(pad_rows(rows), WIDTH, HEIGHT, bits, palette.tobytes()))
        assert_loads(path, composited(palette[values[..., 0], 2::-1] / 255))
    for sizes, masks in [((5, 5, 5), (0x7C00, 0x3E0, 0x1F)), ((5, 6, 5), (0xF800, 0x7E0, 0x1F))]:
        channels = [random_samples(size, 1, seed=index)[..., 0] for index, size in enumerate(sizes)]
        words = channels[0].astype("<u2") << (sizes[1] + 5) | channels[1].astype("<u2") << 5 | channels[2]
        rows = np.ascontiguousarray(words[::-1].astype("<u2")).view(np.uint8)
        path = save_bytes(tmp_path, "w.bmp", bmp(pad_rows(rows), WIDTH, HEIGHT, 16, masks=masks))
        colors = np.stack([each / (2**size - 1) for each, size in zip(channels, sizes, strict=True)], axis=2)
        assert_loads(path, composited(colors), 1 / 255)
    values = random_samples(8, 4)
    path = save_bytes(tmp_path, "c.bmp", bmp(pad_rows(values[::-1, :, 2::-1].reshape(HEIGHT, -1)), WIDTH, HEIGHT, 24))
    assert_loads(path, composited(values[..., :3] / 255))
    data = values[::-1, :, [2, 1, 0, 3]].tobytes()
    path = save_bytes(tmp_path, "a.bmp", bmp(data, WIDTH, HEIGHT, 32, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)))
    assert_loads(path, composited(values[..., :3] / 255, values[..., 3] / 255))


@pytest.mark.parametrize("suffix", ["webp", "avif", "jpg"])
def test_formats_of_8_bits_are_read(tmp_path, suffix):
    modes = {"webp": ("RGB", "RGBA"), "avif": ("RGB", "RGBA"), "jpg": ("L", "RGB", "CMYK")}[suffix]
    options = {
        "webp": {"lossless": True, "exact": True},
        "avif": {"quality": 100, "subsampling": "4:4:4"},
        "jpg": {"quality": 100, "subsampling": 0},
    }[suffix]
    for mode in modes:
        values = (
            random_samples(8, len(mode))
            if suffix == "webp"
            else np.full((16, 16, len(mode)), (200, 100, 50, 90)[: len(mode)])
        )
        values = values.astype(np.uint8)
        Image.fromarray(values.squeeze(), mode).save(tmp_path / f"p.{suffix}", **options)
        samples = values / 255
        if mode == "CMYK":
            wanted = composited((1 - samples[..., :3]) * (1 - samples[..., 3:]))
        else:
            wanted = composited(samples[..., :3], samples[..., 3] if mode == "RGBA" else None)
        assert_loads(tmp_path / f"p.{suffix}", wanted, (0.01 if suffix == "webp" else 1.5) / 255)


SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3_PRIMARIES = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
SWAPPED = (SRGB_PRIMARIES[1], SRGB_PRIMARIES[0], SRGB_PRIMARIES[2])
D65 = (0.3127, 0.3290)


def to_xyz(primaries):
    """Return the matrix from linear R, G, B of these primaries, with white at D65, to X, Y, Z."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
    return columns * np.linalg.solve(columns, white)


def in_srgb(colors, primaries, gamma):
    linear = (colors**gamma) @ (np.linalg.inv(to_xyz(SRGB_PRIMARIES)) @ to_xyz(primaries)).T
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def profile(primaries, gamma):
    flat = sum(((*place, 1.0) for place in primaries), ())
    return imagecodecs.cms_profile("rgb", whitepoint=(*D65, 1.0), primaries=flat, gamma=gamma)


def with_profile(jp2, icc):
    """Replace the box colr of a JP2 file by an ICC profile."""
    header, start = jp2.index(b"jp2h") - 4, jp2.index(b"colr") - 4
    old = int.from_bytes(jp2[start : start + 4], "big")
    box = struct.pack(">I", 11 + len(icc)) + b"colr\x02\0\0" + icc
    size = int.from_bytes(jp2[header : header + 4], "big") - old + len(box)
    return jp2[:header] + struct.pack(">I", size) + jp2[header + 4 : start] + box + jp2[start + old :]


@pytest.mark.parametrize(("primaries", "gamma"), [(P3_PRIMARIES, 2.2), (SWAPPED, 2.2), (SRGB_PRIMARIES, 1.0)])
def test_icc_profiles_are_applied(tmp_path, primaries, gamma):
    """Try every format that can hold one, to the depth of the file."""
    icc = profile(primaries, gamma)
    values = random_samples(8, 3)
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
    deep = random_samples(16, 4)
    colors, alpha = in_srgb(deep[..., :3] / 65535, primaries, gamma), deep[..., 3] / 65535
    data = png_of(deep, 16, 6, chunk(b"iCCP", b"p\0\0" + zlib.compress(icc)))
    assert_loads(save_bytes(tmp_path, "deep.png", data), composited(colors, alpha), exact)
    tags = {34675: ("B", list(icc))}
    data = tiff(deep, 16, RGB, extras=(UNASSOCIATED,), tags=tags)
    assert_loads(save_bytes(tmp_path, "deep.tif", data), composited(colors, alpha), exact)
    straight = random_samples(32, 4, "f")
    straight[..., 3] = 0.25 + 0.75 * straight[..., 3]
    premultiplied = np.concatenate([straight[..., :3] * straight[..., 3:], straight[..., 3:]], axis=2)
    colors = in_srgb(straight[..., :3].astype(float), primaries, gamma)
    data = tiff(premultiplied, 32, RGB, extras=(ASSOCIATED,), tags=tags)
    assert_loads(save_bytes(tmp_path, "deep.tif", data), composited(colors, straight[..., 3]), exact)
    jp2 = with_profile(imagecodecs.jpeg2k_encode(deep[..., :3], level=0, reversible=True), icc)
    assert_loads(save_bytes(tmp_path, "deep.jp2", jp2), in_srgb(deep[..., :3] / 65535, primaries, gamma), exact)


@pytest.mark.filterwarnings("ignore::fastgs.io.pixels.ImageWarning")
def test_icc_profiles_that_change_nothing_or_do_not_fit_are_ignored(tmp_path):
    values = random_samples(8, 3)
    exact = torch.from_numpy(values.astype(np.float32) / np.float32(255)).permute(2, 0, 1)
    gray = imagecodecs.cms_profile("gray", whitepoint=(*D65, 1.0), gamma=1.0)
    for icc in (imagecodecs.cms_profile("srgb"), b"junk" * 50, profile(P3_PRIMARIES, 2.2)[:200], gray):
        Image.fromarray(values).save(tmp_path / "p.png", icc_profile=icc)
        assert torch.equal(load_image(tmp_path / "p.png"), exact)


def test_icc_profiles_of_gray_images_are_applied(tmp_path):
    """Try a profile of gray, and one of RGB for a gray image."""
    values = random_samples(8, 1)
    wanted = composited(in_srgb(np.repeat(values / 255, 3, axis=2), SRGB_PRIMARIES, 1.0))
    gray = imagecodecs.cms_profile("gray", whitepoint=(*D65, 1.0), gamma=1.0)
    for icc in (gray, profile(SRGB_PRIMARIES, 1.0)):
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


@pytest.mark.parametrize("depth", [8, 16])
def test_png_gamma_and_chromaticities_are_applied(tmp_path, depth):
    values = random_samples(depth, 3)
    limit = 2**depth - 1
    plain = composited(values / limit)
    linear = chunk(b"gAMA", struct.pack(">I", 100000))
    usual = chunk(b"gAMA", struct.pack(">I", 45455))
    wide = [round(1e5 * each) for each in (*D65, *sum(P3_PRIMARIES, ()))]
    primaries = chunk(b"cHRM", struct.pack(">8I", *wide))
    for extra, wanted in [
        (linear, in_srgb(values / limit, SRGB_PRIMARIES, 1.0)),
        (linear + primaries, in_srgb(values / limit, P3_PRIMARIES, 1.0)),
        (usual, plain),
        (linear + chunk(b"sRGB", b"\0"), plain),
        (chunk(b"gAMA", bytes(4)), plain),
        (chunk(b"cHRM", bytes(32)), plain),
    ]:
        assert_loads(save_bytes(tmp_path, "g.png", png_of(values, depth, 2, extra)), wanted, 1 / 65535)


def test_png_with_another_white_point_is_adapted(tmp_path):
    """White stays white, and gray gray, whatever the chromaticity of white."""
    values = np.repeat(random_samples(16, 1), 3, axis=2)
    warm = (0.3457, 0.3585, *sum(P3_PRIMARIES, ()))
    extra = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(
        b"cHRM", struct.pack(">8I", *(round(1e5 * x) for x in warm))
    )
    assert_loads(
        save_bytes(tmp_path, "w.png", png_of(values, 16, 2, extra)),
        in_srgb(values / 65535, SRGB_PRIMARIES, 1.0),
        1 / 65535,
    )


def test_code_points_are_applied_or_refused(tmp_path):
    """Display P3 with the curve of sRGB is read in PNG and AVIF; high dynamic range is refused."""
    values = random_samples(8, 3)
    linear = np.where(values / 255 <= 0.04045, values / 255 / 12.92, ((values / 255 + 0.055) / 1.055) ** 2.4)
    path = save_bytes(tmp_path, "p3.png", png_of(values, 8, 2, chunk(b"cICP", bytes([12, 13, 0, 1]))))
    assert_loads(path, in_srgb(linear, P3_PRIMARIES, 1.0), 1 / 65535)
    flat = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    straight = np.where(flat / 255 <= 0.04045, flat / 255 / 12.92, ((flat / 255 + 0.055) / 1.055) ** 2.4)
    Image.fromarray(flat).save(buffer := io.BytesIO(), "AVIF", quality=100, subsampling="4:4:4")
    points = struct.pack(">4s4sHH", b"colr", b"nclx", 1, 13)
    assert points in buffer.getvalue()
    display, wide = (
        buffer.getvalue().replace(points, struct.pack(">4s4sHH", b"colr", b"nclx", *other))
        for other in ((12, 13), (9, 16))
    )
    assert_loads(save_bytes(tmp_path, "p3.avif", display), in_srgb(straight, P3_PRIMARIES, 1.0), 2 / 255)
    for path in (
        save_bytes(tmp_path, "hdr.png", png_of(values, 8, 2, chunk(b"cICP", bytes([9, 16, 0, 1])))),
        save_bytes(tmp_path, "hdr.avif", wide),
    ):
        with pytest.raises(ImageError, match=r"hdr\.\w+: has colours of kind PQ \(HDR\) instead of sRGB; convert it"):
            load_image(path)


def test_read_bytes_takes_plain_photos_only(tmp_path):
    """Training cuts crops from those bytes; all other files must go through `read_file`."""
    values = random_samples(8, 3)
    gamma = chunk(b"gAMA", struct.pack(">I", 100000))
    code_points = chunk(b"cICP", bytes([12, 13, 0, 1]))
    for extra, plain in [(b"", True), (chunk(b"sRGB", b"\0"), True), (gamma, False), (code_points, False)]:
        found = read_bytes(save_bytes(tmp_path, "p.png", png_of(values, 8, 2, extra)))
        assert (found is not None) == plain and (not plain or np.array_equal(found, values))
    for icc, plain in [(imagecodecs.cms_profile("srgb"), True), (profile(P3_PRIMARIES, 2.2), False)]:
        Image.fromarray(values).save(tmp_path / "p.jpg", icc_profile=icc)
        assert (read_bytes(tmp_path / "p.jpg") is not None) == plain
    assert read_bytes(save_bytes(tmp_path, "deep.png", png_of(random_samples(16, 1), 16, 0))) is None
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
    deep = random_samples(16, 4)
    buffer = io.BytesIO()
    Image.fromarray(random_samples(8, 3)).save(
        buffer, "TIFF", compression="tiff_lzw", icc_profile=profile(P3_PRIMARIES, 2.2)
    )
    for data in (
        tiff(deep, 16, RGB, extras=(UNASSOCIATED,), layout="strips"),
        tiff(random_samples(12, 1), 12, BLACK_IS_ZERO, compression=DEFLATE),
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


def try_to_load(path):
    """Return (message, None) if a file is refused, else (None, image)."""
    try:
        return None, load_image(path)
    except ImageError as error:
        return str(error), None
