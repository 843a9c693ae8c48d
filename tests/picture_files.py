"""Image files of every depth, alpha, profile, byte order and layout, with the values that they must be read as.

The values are computed from the samples, by formulas of the standards (color_formulas.py), and not by the library.
"""

import io
import struct
from dataclasses import dataclass, field

import imagecodecs
import numpy as np
from color_formulas import (
    BT2020,
    D65,
    P3,
    change_primaries,
    curve,
    decode_hlg,
    decode_pq,
    encode,
    gray_profile,
    in_srgb,
    lab_to_srgb,
    profile_of,
    to_xyz,
    uncurve,
)
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
    icc_chunk,
    pad_rows,
    png_of,
    tiff,
)
from PIL import Image

HEIGHT, WIDTH = 19, 21
EXACT = 1 / 65535
CMS = 1 / 255  # a colour management system rounds
LAB, ICC_LAB = 8, 9


@dataclass(frozen=True)
class PictureFile:
    """File and what it must be read as.

    Attributes:
        name: Name with the suffix of the format.
        data: Content.
        colors: (H, W, 1 or 3) colours, not multiplied by alpha; linear light if `transfer` is not "srgb".
        alpha: (H, W) opacity; None without.
        depth: Bits per sample.
        tolerance: Largest difference of a value.
        transfer: Encoding that the picture must have.
        profile: ICC profile in the file.
        numbers: (H, W, C) numbers as stored, which `keep_profile` keeps; None if they are the colours.
    """

    name: str
    data: bytes
    colors: np.ndarray
    alpha: np.ndarray | None = None
    depth: int = 8
    tolerance: float = 0.51 * EXACT
    transfer: str = "srgb"
    profile: bytes | None = None
    numbers: np.ndarray | None = field(default=None, repr=False)

    @property
    def values(self) -> np.ndarray:
        """Return (C, H, W) values as they must be read: encoded, and premultiplied."""
        return premultiplied(encode(self.colors, self.transfer), self.alpha)


def premultiplied(colors, alpha):
    if alpha is None:
        return colors.transpose(2, 0, 1)
    return np.concatenate([colors * alpha[..., None], alpha[..., None]], axis=2).transpose(2, 0, 1)


def samples(depth, channels, kind="u", seed=0):
    """Return random samples (H, W, C) that include the smallest and the largest value of their depth."""
    random = np.random.default_rng(seed)
    if kind == "f":
        values, limit = random.random((HEIGHT, WIDTH, channels)).astype(f"f{depth // 8}"), 1.0
    else:
        limit = 2**depth - 1
        whole = next(size for size in ("u1", "u2", "u4", "u8") if 8 * int(size[1]) >= depth)
        values = random.integers(0, limit, (HEIGHT, WIDTH, channels), dtype=np.uint64, endpoint=True).astype(whole)
    values[0, 0], values[0, 1] = 0, limit
    return values


def picture_files():
    """Return all files."""
    return [*png_files(), *tiff_files(), *deep_tiff_files(), *hdr_files(), *profiled_files(), *other_files()]


def png_files():
    for color, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            values = samples(depth, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color])
            limit = 2**depth - 1
            name = f"{color}_{depth}"
            if color == 3:
                palette = samples(8, 3).reshape(-1, 3)[: 2**depth]
                opacity = samples(8, 1, seed=2).ravel()[: 2 ** (depth - 1)]
                extra, key = chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", opacity.tobytes())
                colors = palette[values[..., 0]] / 255
                shown = np.append(opacity, np.full(2 ** (depth - 1), 255))[values[..., 0]] / 255
                yield PictureFile(f"png_palette_{depth}.png", png_of(values, depth, color, extra), colors)
                data = png_of(values, depth, color, extra + key, interlace=depth == 4)
                yield PictureFile(f"png_palette_trns_{depth}.png", data, colors, shown)
            elif color in (0, 2):
                hidden = values[2, 3].copy()
                if depth == 16:  # a colour that equals the transparent one in its upper 8 bits only
                    values[5] = hidden ^ 1
                colors = values / limit
                name = f"{'gray' if color == 0 else 'rgb'}_{depth}"
                yield PictureFile(f"png_{name}.png", png_of(values, depth, color), colors, None, depth)
                key = chunk(b"tRNS", hidden.astype(">u2").tobytes())
                shown = 1.0 - (values == hidden).all(axis=2)
                yield PictureFile(f"png_{name}_trns.png", png_of(values, depth, color, key), colors, shown, depth)
            else:
                colors, alpha = values[..., :-1] / limit, values[..., -1] / limit
                name = f"{'gray' if color == 4 else 'rgb'}_alpha_{depth}"
                data = png_of(values, depth, color, interlace=depth == 16)
                yield PictureFile(f"png_{name}.png", data, colors, alpha, depth)
    values = samples(16, 4)
    values[..., 3] = 65535
    yield PictureFile("png_opaque_alpha.png", png_of(values, 16, 6), values[..., :3] / 65535, None, 16)


def tiff_files():
    depths = [("u", 8), ("u", 12), ("u", 16), ("u", 32), ("f", 16), ("f", 32), ("f", 64)]
    for index, (kind, depth) in enumerate(depths):
        limit = 1 if kind == "f" else 2**depth - 1
        tolerance = (0.51 if kind == "u" else 1) * EXACT
        for photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK):
            count = {RGB: 3, CMYK: 4}.get(photometric, 1)
            order, planar = "IM"[(index + photometric) % 2] * 2, (index // 2 + photometric) % 2 == 0
            values = samples(depth, count, kind)
            colors = values.astype(float) / limit
            if photometric == WHITE_IS_ZERO:
                colors = 1 - colors
            elif photometric == CMYK:
                colors = (1 - colors[..., :3]) * (1 - colors[..., 3:])
            data = tiff(values, depth, photometric, order=order, planar=planar)
            kinds = {WHITE_IS_ZERO: "white", BLACK_IS_ZERO: "gray", RGB: "rgb", CMYK: "cmyk"}
            name = f"tiff_{kinds[photometric]}_{kind}{depth}_{order}{'_planar' if planar else ''}.tif"
            yield PictureFile(name, data, colors, None, depth, tolerance)
        for extra in (ASSOCIATED, UNASSOCIATED):
            count = 3 if index % 2 else 1
            values = samples(depth, count + 1, kind, seed=index)
            if extra == ASSOCIATED:  # a colour is at most its alpha
                values[..., :count] = np.minimum(values[..., :count], values[..., count:])
            colors, alpha = values[..., :count].astype(float) / limit, values[..., count].astype(float) / limit
            if extra == ASSOCIATED:
                colors = colors / np.where(alpha == 0, 1, alpha)[..., None]
            order, planar = "MI"[(index + extra) % 2] * 2, extra == ASSOCIATED
            data = tiff(
                values, depth, RGB if count == 3 else BLACK_IS_ZERO, order=order, planar=planar, extras=(extra,)
            )
            name = f"tiff_alpha{extra}_{kind}{depth}_{count}_{order}.tif"
            yield PictureFile(name, data, colors, alpha, depth, tolerance)


def deep_tiff_files():
    """Return TIFF files of palettes, compression, tiles, orientation and Lab."""
    values, colormap = samples(8, 1), np.random.default_rng(1).integers(0, 65536, (3, 256))
    data = tiff(values, 8, PALETTE, tags={320: ("H", colormap.ravel().tolist())})
    yield PictureFile("tiff_palette.tif", data, colormap.T[values[..., 0]] / 65535, None, 16)
    values = samples(16, 4)
    data = tiff(values, 16, RGB, compression=DEFLATE, layout="tiles", order="MM", extras=(UNASSOCIATED,))
    yield PictureFile("tiff_tiles.tif", data, values[..., :3] / 65535, values[..., 3] / 65535, 16)
    data = tiff(values, 16, RGB, extras=(UNASSOCIATED,), tags={274: ("H", [6])})
    turned = np.rot90(values, -1) / 65535
    yield PictureFile("tiff_turned.tif", data, turned[..., :3], turned[..., 3], 16)
    for depth in (8, 16):
        values = samples(depth, 3, seed=depth)
        whole, steps = values.astype(float), 2.0 ** (depth - 8)
        colors = np.ascontiguousarray(values[..., 1:]).view(f"i{depth // 8}") / steps
        lab = np.concatenate([whole[..., :1] * 100 / (2**depth - 1), colors], axis=2)
        yield PictureFile(f"tiff_lab_{depth}.tif", tiff(values, depth, LAB), lab_to_srgb(lab), None, depth, 0.5 * CMS)
        top = 255 if depth == 8 else 65280
        lab = np.concatenate([np.minimum(whole[..., :1] * 100 / top, 101), whole[..., 1:] / steps - 128], axis=2)
        data = tiff(values, depth, ICC_LAB)
        yield PictureFile(f"tiff_icc_lab_{depth}.tif", data, lab_to_srgb(lab), None, depth, 0.5 * CMS)


def hdr_files():
    """Return files of high dynamic range."""
    light = 6 * samples(32, 4, "f")
    light[..., 3] /= 6
    colors, alpha = light[..., :3].astype(float), light[..., 3].astype(float)
    near = dict(depth=32, tolerance=EXACT, transfer="pq")
    yield PictureFile("hdr_rgb.tif", tiff(light[..., :3], 32, RGB, order="MM", planar=True), colors, **near)
    yield PictureFile("hdr_gray.tif", tiff(light[..., :1], 32, BLACK_IS_ZERO), colors[..., :1], **near)
    yield PictureFile("hdr_alpha.tif", tiff(light, 32, RGB, extras=(UNASSOCIATED,)), colors, alpha, **near)
    bright = light[..., :3] ** 4 * np.float32(30)
    wide = dict(near, transfer="log")
    yield PictureFile("hdr_bright.tif", tiff(bright, 32, RGB), bright.astype(float), **wide)
    half = (9 * samples(16, 3, "f")).astype(np.float16)
    yield PictureFile("hdr_half.tif", tiff(half, 16, RGB), half.astype(float), **dict(near, depth=16))
    pfm = b"PF\n%d %d\n-1.0\n" % (WIDTH, HEIGHT) + light[::-1, :, :3].astype("<f4").tobytes()
    yield PictureFile("hdr.pfm", pfm, colors, **near)
    mantissas, exponents = samples(8, 3), np.random.default_rng(5).integers(120, 134, (HEIGHT, WIDTH, 1))
    rgbe = np.concatenate([np.maximum(mantissas, 3), exponents], axis=2).astype(np.uint8)  # no marks of run lengths
    head = b"#?RADIANCE\n# made by a test\nEXPOSURE=1.0\nFORMAT=32-bit_rle_rgbe\n\n"
    stored = rgbe[..., :3] * 2.0 ** (exponents - 136)
    data = head + b"-Y %d +X %d\n" % (HEIGHT, WIDTH) + rgbe.tobytes()
    yield PictureFile("radiance.hdr", data, stored, **near)
    data = head + b"+Y %d -X %d\n" % (HEIGHT, WIDTH) + rgbe[::-1, ::-1].tobytes()
    yield PictureFile("radiance_turned.hdr", data, stored, **near)
    values = samples(16, 3)
    data = png_of(values, 16, 2, chunk(b"cICP", bytes([9, 16, 0, 1])))
    shown = change_primaries(decode_pq(values / 65535), BT2020).clip(0, 10000 / 203)
    yield PictureFile("pq.png", data, shown, None, 16, EXACT, "pq")
    data = png_of(values, 16, 2, chunk(b"cICP", bytes([9, 18, 0, 1])))
    shown = change_primaries(decode_hlg(values / 65535), BT2020)
    yield PictureFile("hlg.png", data, shown, None, 16, 2 * EXACT, "pq")
    soft = (values * 0.7).astype(np.uint16)
    data = png_of(soft, 16, 2, chunk(b"cICP", bytes([1, 16, 0, 1])))
    yield PictureFile("pq_srgb.png", data, decode_pq(soft / 65535), None, 16, EXACT, "pq")


def profiled_files():
    """Return files with a profile, a gamma, primaries or code points."""
    wide, linear = profile_of(P3, 2.2), gray_profile(1.0)
    for depth in (8, 16):
        values = samples(depth, 4)
        numbers = values / (2**depth - 1)
        colors = in_srgb(numbers[..., :3], P3, 2.2)
        data = png_of(values, depth, 6, icc_chunk(wide))
        more = dict(depth=depth, tolerance=CMS, profile=wide, numbers=numbers)
        yield PictureFile(f"icc_alpha_{depth}.png", data, colors, numbers[..., 3], **more)
        tags = {34675: ("B", list(wide))}
        more["numbers"] = numbers[..., :3]
        yield PictureFile(f"icc_{depth}.tif", tiff(values[..., :3], depth, RGB, tags=tags), colors, **more)
        gray = numbers[..., :1]
        more = dict(depth=depth, tolerance=CMS, profile=linear, numbers=gray)
        data = png_of(values[..., :1], depth, 0, icc_chunk(linear))
        yield PictureFile(f"icc_gray_{depth}.png", data, curve(gray), **more)
    values = samples(8, 3)
    numbers = values / 255
    rows = pad_rows(values[::-1, :, ::-1].reshape(HEIGHT, -1))
    head = bmp(rows, WIDTH, HEIGHT, 24)[14:54]
    for name, v5, colors in [
        ("icc.bmp", v5_header(head, b"DEBM", wide, len(rows)), in_srgb(numbers, P3, 2.2)),
        ("calibrated.bmp", v5_header(head, bytes(4), b"", len(rows)), in_srgb(numbers, P3, 1.8)),
    ]:
        start = struct.pack("<IHHI", 14 + 124 + len(rows), 0, 0, 14 + 124)
        profile = wide if name == "icc.bmp" else b""
        data = b"BM" + start + v5 + rows + profile
        kept = dict(profile=wide, numbers=numbers) if profile else {}
        yield PictureFile(name, data, colors, tolerance=CMS, **kept)
    deep = samples(16, 3)
    linear_chunk = chunk(b"gAMA", struct.pack(">I", 100000))
    places = [round(1e5 * each) for each in (*D65, *sum(P3, ()))]
    for name, extra, colors in [
        ("gamma.png", linear_chunk, curve(deep / 65535)),
        (
            "primaries.png",
            linear_chunk + chunk(b"cHRM", struct.pack(">8I", *places)),
            in_srgb(deep / 65535, P3, 1.0),
        ),
        (
            "code_points.png",
            chunk(b"cICP", bytes([12, 13, 0, 1])),
            curve(change_primaries(uncurve(deep / 65535), P3)),
        ),
    ]:
        yield PictureFile(name, png_of(deep, 16, 2, extra), colors, None, 16, EXACT)
    data = png_of(deep[..., :1], 16, 0, linear_chunk)
    yield PictureFile("gamma_gray.png", data, curve(deep[..., :1] / 65535), None, 16, EXACT)


def v5_header(head, kind, profile, length):
    """Return a BMP header of version 5 with a profile, or with the primaries of Display P3 and a gamma of 1.8."""
    columns = np.rint(to_xyz(P3).T * 2**30).astype(int).ravel()
    header = struct.pack("<I", 124) + head[4:] + bytes(16) + kind + struct.pack("<9i", *columns)
    header += struct.pack("<3I", *[round(1.8 * 2**16)] * 3)
    return header + struct.pack("<4I", 4, 124 + length if profile else 0, len(profile), 0)


def other_files():
    """Return files of other formats; lossy ones are flat."""
    for bits, channels in ((10, 1), (10, 3), (12, 3), (10, 4)):
        values = samples(bits, channels)
        data = imagecodecs.avif_encode(
            values.squeeze(), level=100, bitspersample=bits, pixelformat=None if channels == 1 else "444"
        )
        shown = values / (2**bits - 1)
        alpha = shown[..., 3] if channels == 4 else None
        yield PictureFile(f"avif_{bits}_{channels}.avif", data, shown[..., : min(channels, 3)], alpha, bits)
    for bits, channels in ((8, 1), (16, 2), (12, 3), (16, 4)):
        values = samples(bits, channels)
        data = imagecodecs.jpeg2k_encode(values.squeeze(), level=0, reversible=True, bitspersample=bits)
        shown = values / (2**bits - 1)
        color = channels - 1 + channels % 2
        alpha = shown[..., color] if channels % 2 == 0 else None
        yield PictureFile(f"jpeg2000_{bits}_{channels}.jp2", data, shown[..., :color], alpha, bits)
    values = samples(12, 3)
    data = imagecodecs.jpeg2k_encode(values, level=0, reversible=True, bitspersample=12, mct=False)
    enumerated = b"colr\x01\0\0" + struct.pack(">I", 16)
    assert enumerated in data
    luma, blue, red = np.moveaxis(values.astype(float), 2, 0)
    blue, red = blue - 2048, red - 2048
    shown = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=2)
    data = data.replace(enumerated, enumerated[:-1] + b"\x12")
    yield PictureFile("jpeg2000_sycc.jp2", data, (shown / 4095).clip(0, 1), None, 12)
    values = samples(8, 4)
    Image.fromarray(values).save(buffer := io.BytesIO(), "WEBP", lossless=True, exact=True)
    yield PictureFile("lossless.webp", buffer.getvalue(), values[..., :3] / 255, values[..., 3] / 255)
    data = bmp(values[::-1, :, [2, 1, 0, 3]].tobytes(), WIDTH, HEIGHT, 32, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    yield PictureFile("alpha.bmp", data, values[..., :3] / 255, values[..., 3] / 255)
    deep = samples(16, 3)
    data = b"P6\n# a comment\n%d %d\n65535\n" % (WIDTH, HEIGHT) + deep.astype(">u2").tobytes()
    yield PictureFile("deep.ppm", data, deep / 65535, None, 16)
    flat = np.full((HEIGHT, WIDTH, 4), (200, 100, 50, 30), np.uint8)
    inverted = 255 - flat  # Adobe has no ink as 255
    paint = (1 - flat[..., :3] / 255) * (1 - flat[..., 3:] / 255)
    for space in ("cmyk", "ycck"):
        data = imagecodecs.jpeg8_encode(inverted, level=100, colorspace="cmyk", outcolorspace=space)
        assert b"Adobe" in data
        yield PictureFile(f"{space}.jpg", data, paint, None, 8, 2 * CMS)
    Image.fromarray(flat[..., 0]).save(buffer := io.BytesIO(), "JPEG", quality=100)
    yield PictureFile("gray.jpg", buffer.getvalue(), flat[..., :1] / 255)
    deep = flat[..., :3].astype(np.uint16) * 16
    data = imagecodecs.jpeg8_encode(deep, level=100, bitspersample=12)
    yield PictureFile("deep.jpg", data, deep / 4095, None, 12, 3 / 4095)
