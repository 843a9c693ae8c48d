"""Tests of high dynamic range: its encodings, files of light, and what is no light."""

import importlib.util

import numpy as np
import pytest
import tifffile
import torch
from color_formulas import BT2020, change_primaries, decode_pq, encode
from picture_files import samples
from PIL import Image

from fastgs.io import hdr
from fastgs.io.images import PICTURE_SUFFIXES, ImageError, find_images, load_image
from fastgs.io.picture import Picture, read_picture
from fastgs.io.pixels import ImageWarning
from fastgs.io.transfer import PEAKS, choose_transfer, decode_light, encode_light
from fastgs.io.writing import write_picture

needs_exr = pytest.mark.skipif(importlib.util.find_spec("OpenEXR") is None, reason="needs OpenEXR")


@pytest.mark.parametrize("transfer", PEAKS)
def test_encoding_and_decoding_are_inverse(transfer):
    values = torch.linspace(0, 1, 4097, dtype=torch.float64)
    light = decode_light(values, transfer)
    assert light[0] == 0 and light[-1] == pytest.approx(PEAKS[transfer])
    assert (light.diff() > 0).all()
    torch.testing.assert_close(encode_light(light, transfer), values, atol=1e-6, rtol=0)  # "pq" of 0 is 7e-7
    assert encode_light(torch.tensor([-1.0, 1e9]), transfer).tolist() == pytest.approx([0, 1], abs=1e-6)
    assert encode_light(light.float(), transfer).dtype == torch.float32


def test_encodings_follow_their_formulas():
    light = np.geomspace(1e-4, 49, 1000)
    for transfer in ("pq", "log"):
        found = encode_light(torch.from_numpy(light), transfer).numpy()
        assert np.abs(found - encode(light, transfer)).max() < 1e-9
    values = np.linspace(0, 1, 1000)
    assert np.abs(decode_light(torch.from_numpy(values), "pq").numpy() - decode_pq(values)).max() < 1e-9
    assert encode_light(torch.tensor(1.0), "pq").item() == pytest.approx(0.5807, abs=1e-4)  # white, by BT.2408
    assert choose_transfer(49) == "pq" and choose_transfer(50) == "log"
    with pytest.raises(ValueError, match=r"^transfer: expected one of srgb, pq, log, got 'gamma'"):
        encode_light(torch.zeros(1), "gamma")


def save_light(path, light, **options):
    tifffile.imwrite(path, light, photometric="rgb" if light.ndim == 3 else "minisblack", **options)
    return path


def test_light_comes_back_as_it_was(tmp_path):
    light = 20 * samples(32, 3, "f") ** 3
    for scale in (1, 100):  # encoded by "pq" and by "log"
        picture = read_picture(save_light(tmp_path / "p.tif", light * np.float32(scale)))
        linear = picture.to_linear().permute(1, 2, 0).numpy()
        assert np.abs(linear / np.maximum(light * scale, 1e-3) - 1)[light > 1e-2].max() < 1e-5
        write_picture(tmp_path / "again.tif", picture)
        with tifffile.TiffFile(tmp_path / "again.tif") as file:
            written = file.asarray()
        assert written.dtype == np.float32
        assert np.abs(written - light * scale).max() < 1e-4 * scale


def test_reconstruction_that_is_all_dark_keeps_its_light(tmp_path):
    """Its floats are below 1, and would be taken as sRGB without the linear profile in the file."""
    picture = read_picture(save_light(tmp_path / "p.tif", 3 * samples(32, 3, "f")))
    dark = picture.with_values(picture.values * 0.6)
    assert dark.to_linear().max() < 1
    write_picture(tmp_path / "dark.tif", dark)
    again = read_picture(tmp_path / "dark.tif")
    assert again.transfer == "srgb"
    torch.testing.assert_close(again.to_linear(), dark.to_linear(), atol=2e-5, rtol=1e-3)


def test_alpha_of_light_is_kept(tmp_path):
    light = samples(32, 4, "f")
    light[..., :3] *= 9
    tifffile.imwrite(tmp_path / "p.tif", light, photometric="rgb", extrasamples=["unassalpha"])
    picture = read_picture(tmp_path / "p.tif")
    premultiplied = np.concatenate([light[..., :3] * light[..., 3:], light[..., 3:]], axis=2)
    found = picture.to_linear().permute(1, 2, 0).numpy()
    assert np.abs(found - premultiplied).max() < 1e-4
    tifffile.imwrite(tmp_path / "a.tif", premultiplied, photometric="rgb", extrasamples=["assocalpha"])
    torch.testing.assert_close(read_picture(tmp_path / "a.tif").values, picture.values, atol=2e-6, rtol=0)
    over = read_picture(tmp_path / "p.tif", background=(255, 255, 255))
    assert (over.alpha, over.channels) == (False, 3)
    shown = encode(light[..., :3], "pq") * light[..., 3:] + encode(np.ones(3), "pq") * (1 - light[..., 3:])
    assert np.abs(over.values.permute(1, 2, 0).numpy() - shown).max() < 1e-5


def test_radiance_is_rounded_to_its_8_bits(tmp_path):
    light = 20 * samples(32, 3, "f") + np.float32(0.01)
    picture = read_picture(save_light(tmp_path / "p.tif", light))
    write_picture(tmp_path / "p.hdr", picture)
    again = read_picture(tmp_path / "p.hdr")
    brightest = light.max(axis=2, keepdims=True)
    step = 2.0 ** np.frexp(brightest * 256 / 255.5)[1] / 256  # the brightest channel rounds to at most 255
    assert (np.abs(again.to_linear().permute(1, 2, 0).numpy() - light) / step).max() <= 0.51
    write_picture(tmp_path / "q.hdr", again)
    assert (tmp_path / "q.hdr").read_bytes() == (tmp_path / "p.hdr").read_bytes()
    gray = read_picture(save_light(tmp_path / "g.tif", light[..., 0]))
    write_picture(tmp_path / "g.hdr", gray)
    assert read_picture(tmp_path / "g.hdr").channels == 3


def test_primaries_of_radiance_are_applied(tmp_path):
    rgbe = np.concatenate([samples(8, 3) // 2 + 100, np.full((19, 21, 1), 130)], axis=2).astype(np.uint8)
    places = " ".join(f"{each}" for each in (*sum(BT2020, ()), 0.3127, 0.3290))
    head = f"#?RADIANCE\nPRIMARIES= {places}\nFORMAT=32-bit_rle_rgbe\n\n-Y 19 +X 21\n".encode()
    (tmp_path / "p.hdr").write_bytes(head + rgbe.tobytes())
    light = change_primaries(rgbe[..., :3] * 2.0 ** (130 - 136), BT2020)
    found = read_picture(tmp_path / "p.hdr").values.permute(1, 2, 0).numpy()
    assert np.abs(found - encode(light, "pq")).max() < 1e-5


@pytest.mark.parametrize("text", ["FORMAT=32-bit_rle_xyze", "PRIMARIES= 1 0 0 1 0 0 .3 .3\nFORMAT= 32-bit_rle_xyze "])
def test_radiance_of_xyz_is_converted_to_srgb(tmp_path, text):
    """The matrix is that of IEC 61966-2-1; primaries have no meaning for X, Y and Z."""
    exponents = np.random.default_rng(1).integers(126, 132, (19, 21, 1))
    xyze = np.concatenate([np.maximum(samples(8, 3), 3), exponents], axis=2).astype(np.uint8)
    (tmp_path / "p.hdr").write_bytes(f"#?RADIANCE\n{text}\n\n-Y 19 +X 21\n".encode() + xyze.tobytes())
    matrix = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    light = (xyze[..., :3] * 2.0 ** (exponents - 136)) @ np.array(matrix).T
    assert light.min() < 0 and light.max() > 1
    picture = read_picture(tmp_path / "p.hdr")
    assert (picture.channels, picture.depth, picture.transfer, picture.profile) == (3, 32, "pq", None)
    # The matrix of the standard has four decimals.
    assert np.abs(picture.to_linear().permute(1, 2, 0).numpy() - light.clip(0)).max() < 2e-4 * light.max()


def test_srgb_picture_is_written_as_light(tmp_path):
    picture = Picture(torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0)))
    write_picture(tmp_path / "p.hdr", picture)
    found = read_picture(tmp_path / "p.hdr").to_linear()
    torch.testing.assert_close(found, decode_light(picture.values, "srgb"), atol=1 / 256, rtol=0)


@needs_exr
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "Y", "half", "wide"])
def test_exr_is_read_and_written(tmp_path, kind):
    import OpenEXR

    light = 7 * samples(32, 4, "f")
    light[..., 3] /= 7
    light = light.astype(np.float16) if kind == "half" else light
    names = {"half": "RGB", "wide": "RGB"}.get(kind, kind)
    colors, alpha = light[..., : min(len(names), 3)].astype(float), light[..., 3:].astype(float)
    stored = colors * alpha if names == "RGBA" else colors
    channels = {
        name: np.ascontiguousarray((alpha if name == "A" else stored)[..., index if name != "A" else 0], light.dtype)
        for index, name in enumerate(names)
    }
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    if kind == "wide":
        header["chromaticities"] = (*sum(BT2020, ()), 0.3127, 0.3290)
    OpenEXR.File(header, channels).write(str(tmp_path / "p.exr"))
    picture = read_picture(tmp_path / "p.exr")
    assert (picture.channels, picture.alpha, picture.depth) == (
        len(names),
        names == "RGBA",
        16 if kind == "half" else 32,
    )
    wanted = encode(change_primaries(colors, BT2020) if kind == "wide" else colors, "pq")
    wanted = np.concatenate([wanted * alpha, alpha], axis=2) if names == "RGBA" else wanted
    assert np.abs(picture.values.permute(1, 2, 0).numpy() - wanted).max() < 1e-5
    write_picture(tmp_path / "again.exr", picture)
    again = read_picture(tmp_path / "again.exr")
    assert again.alpha == picture.alpha
    torch.testing.assert_close(again.values, picture.values, atol=2e-6, rtol=0)


@needs_exr
def test_exr_of_other_channels_is_refused(tmp_path):
    import OpenEXR

    plane = np.ones((4, 5), np.float32)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    for channels, reason in [
        ({"Z": plane, "depth.V": plane}, "has channels Z, depth.V instead of R, G, B or Y; rename them"),
        ({"Y": plane.astype(np.uint32)}, "holds integers instead of light; save floats"),
        ({"Y": plane * np.nan}, "its values must lie in [0, 1], or be light above that, but hold NaN; replace it"),
    ]:
        OpenEXR.File(header, channels).write(str(tmp_path / "p.exr"))
        with pytest.raises(ImageError) as caught:
            read_picture(tmp_path / "p.exr")
        assert str(caught.value) == f"{tmp_path / 'p.exr'}: {reason}"
    data = (tmp_path / "p.exr").read_bytes()
    (tmp_path / "p.exr").write_bytes(data[:-20])
    with pytest.raises(ImageError, match=r"p\.exr: cannot be decoded \("):
        read_picture(tmp_path / "p.exr")


def test_exr_without_its_library_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hdr, "LIBRARY", "no_such_library")
    (tmp_path / "p.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(100))
    advice = r"p\.exr: EXR needs the library OpenEXR; run pip install 'fastgs\[hdr\]'$"
    with pytest.raises(ImageError, match=advice):
        read_picture(tmp_path / "p.exr")
    (tmp_path / "p.exr").unlink()
    with pytest.raises(ImageError, match=advice):
        write_picture(tmp_path / "p.exr", torch.rand(3, 4, 5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "reason"), [(np.nan, "NaN"), (-np.inf, "negative infinity"), (-0.5, "span [-0.5, 0.9]; rescale them")]
)
def test_what_is_no_light_is_refused(tmp_path, number, reason):
    light = np.full((4, 5, 3), 0.9, np.float32)
    light[1, 2, 0] = number
    pfm = b"PF\n5 4\n-1.0\n" + light.tobytes()
    (tmp_path / "p.pfm").write_bytes(pfm)
    for path in (save_light(tmp_path / "p.tif", light), tmp_path / "p.pfm"):
        for load in (read_picture, load_image):
            with pytest.raises(ImageError) as caught:
                load(path)
            assert str(caught.value).startswith(f"{path}: its values must lie in [0, 1]")
            assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_light_that_cannot_be_encoded_is_a_warning(tmp_path):
    light = np.full((4, 5, 3), 2, np.float32)
    light[0, 0, 0] = -3
    with pytest.warns(ImageWarning, match=r"p\.tif: holds negative light \(down to -3\), which becomes 0; to keep it"):
        picture = read_picture(save_light(tmp_path / "p.tif", light))
    assert picture.values.min() < 1e-6 and picture.transfer == "pq"
    light[0, 0] = np.inf, 1e30, 2
    with pytest.warns(ImageWarning, match=r"p\.tif: holds light of up to inf, which becomes 65504, the most that is"):
        picture = read_picture(save_light(tmp_path / "p.tif", light))
    assert picture.to_linear()[:2, 0, 0].tolist() == pytest.approx([65504, 65504])


def test_opaque_consumers_refuse_light(tmp_path):
    light = 3 * samples(32, 3, "f")
    (tmp_path / "p.pfm").write_bytes(b"PF\n21 19\n-1.0\n" + light.tobytes())
    write_picture(tmp_path / "p.hdr", read_picture(tmp_path / "p.pfm"))
    for path in (save_light(tmp_path / "p.tif", light), tmp_path / "p.pfm", tmp_path / "p.hdr"):
        with pytest.raises(ImageError, match=r"its values must lie in \[0, 1\] but span \[0, \d.*\]; rescale them$"):
            load_image(path)
    assert read_picture(Image.fromarray(light[..., 0])).transfer == "pq"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("head.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "has no whole header; get a whole copy of it"),
        (
            "luv.hdr",
            b"#?RADIANCE\nFORMAT=32-bit_rle_luve\n\n-Y 2 +X 2\n",
            "has colours of kind 32-bit_rle_luve; convert",
        ),
        ("cut.hdr", b"#?RADIANCE\n\n-Y 9 +X 9\n" + bytes(20), "cannot be decoded ("),
        ("vast.hdr", b"#?RADIANCE\n\n-Y 99999 +X 99999\n" + bytes(20), "has more than 89,478,485 pixels; shrink it"),
        ("empty.hdr", b"#?RADIANCE\n\n-Y 0 +X 9\n", "has no pixels (9 x 0); give a larger image"),
        ("cut.pfm", b"PF\n9 9\n1.0\n" + bytes(20), "cannot be decoded (image file is truncated)"),
        ("cut.ppm", b"P6\n9 9\n65535\n" + bytes(20), "cannot be decoded (image file is truncated)"),
        ("over.ppm", b"P6\n1 1\n1000\n" + b"\xff" * 6, "cannot be decoded (a number is larger than 1000)"),
    ],
)
def test_damaged_files_of_light_are_refused(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError) as caught:
        read_picture(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {reason}") and "\n" not in str(caught.value)


def test_folder_gives_files_of_light_on_request(tmp_path):
    for name in ("a.png", "b.hdr", "c.exr"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)] == ["a.png"]
    assert [path.name for path in find_images(tmp_path, PICTURE_SUFFIXES)] == ["a.png", "b.hdr", "c.exr"]
