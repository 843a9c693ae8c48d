"""Tests of `fastgs predict` on pictures of every kind: what comes in comes back with its channels, alpha and depth."""

import json

import numpy as np
import pytest
import tifffile
from color_formulas import P3, profile_of
from picture_files import picture_files
from PIL import Image

from fastgs.gaussians import Gaussians
from fastgs.io.picture import read_picture
from fastgs.io.writing import choose_suffix


@pytest.fixture
def predict(run_cli, tmp_path):
    """Return a function that fits images with few Gaussians, and returns the records of the report."""

    def predict(*arguments, count=200, iterations=40):
        output = [] if "-o" in arguments else ["-o", tmp_path / "out"]
        assert run_cli("predict", *arguments, "-k", count, "--iterations", iterations, *output) == 0
        folder = tmp_path / "out"
        return json.loads((folder / "report.json").read_text(encoding="utf-8"))

    return predict


@pytest.fixture
def logo(tmp_path):
    """Return an icon: a disc with soft edges and a half transparent square."""
    y, x = np.mgrid[:40, :48]
    alpha = np.clip(17 - np.hypot(x - 24, y - 20), 0, 1)
    alpha[14:24, 20:30] *= 0.5
    pixels = np.dstack([np.full_like(alpha, 0.9), x / 48, y / 40, alpha])
    path = tmp_path / "logo.png"
    Image.fromarray((255 * pixels).round().astype(np.uint8)).save(path)
    return path


def psnr(a, b):
    return -10 * np.log10(np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2) / 255**2)


def test_predict_keeps_transparency(predict, logo, tmp_path):
    (record,) = predict(logo)
    result = Image.open(tmp_path / "out" / "logo.png")
    assert result.mode == "RGBA"
    assert (record["channels"], record["alpha"]) == (4, True)
    assert record["psnr_of"] == "premultiplied colours and alpha, sRGB"
    assert record["psnr"] > 35 and record["psnr_linear"] is None
    assert psnr(np.asarray(result)[..., 3], np.asarray(Image.open(logo))[..., 3]) > 35
    gaussians = Gaussians.load(tmp_path / "out" / "logo.safetensors")
    assert (gaussians.channels, gaussians.alpha) == (4, True)


def test_transparent_colours_cost_nothing(predict, logo, tmp_path):
    """Noise under alpha 0 changes nothing."""
    pixels = np.asarray(Image.open(logo)).copy()
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    pixels[..., :3] = np.where(pixels[..., 3:] == 0, noise[..., :3], pixels[..., :3])
    Image.fromarray(pixels).save(tmp_path / "noisy.png")
    first, second = predict(logo, tmp_path / "noisy.png")
    assert first["psnr"] == second["psnr"]


def test_predict_composites_on_a_background(predict, logo, tmp_path):
    (record,) = predict(logo, "--background", "0,0,255")
    result = Image.open(tmp_path / "out" / "logo.png")
    assert result.mode == "RGB" and (record["channels"], record["alpha"]) == (3, False)
    assert np.abs(np.asarray(result)[0, 0].astype(int) - [0, 0, 255]).max() < 12


def test_predict_fits_gray_as_one_channel(predict, photo_file, tmp_path):
    Image.open(photo_file).convert("L").save(tmp_path / "gray.png")
    (record,) = predict(tmp_path / "gray.png")
    assert record["channels"] == 1 and record["psnr_of"] == "colours, sRGB"
    assert Image.open(tmp_path / "out" / "gray.png").mode == "L"


def test_predict_drops_opaque_alpha(predict, photo_file, tmp_path):
    Image.open(photo_file).convert("RGBA").save(tmp_path / "opaque.png")
    (record,) = predict(tmp_path / "opaque.png")
    assert (record["channels"], record["alpha"]) == (3, False)


@pytest.mark.parametrize(("bits", "suffix", "dtype"), [(16, ".png", np.uint16), (32, ".tif", np.float32)])
def test_predict_writes_more_bits(predict, photo_file, tmp_path, bits, suffix, dtype):
    predict(photo_file, "--bits", bits)
    path = tmp_path / "out" / f"photo{suffix}"
    assert read_picture(path).depth == bits
    if suffix == ".tif":
        assert tifffile.imread(path).dtype == dtype


def test_predict_writes_light_of_high_dynamic_range(predict, photo_pixels, tmp_path):
    light = (photo_pixels.astype(np.float32) / 255) ** 2.2 * 6
    tifffile.imwrite(tmp_path / "sun.tif", light, photometric="rgb")
    (record,) = predict(tmp_path / "sun.tif")
    result = tifffile.imread(tmp_path / "out" / "sun.tif")
    assert result.dtype == np.float32 and 3 < result.max() < 12
    assert record["psnr_of"] == "colours, encoded as pq"
    assert record["psnr"] > 20 and record["psnr_linear"] > 15


def test_predict_fits_a_stack_as_one_set_of_gaussians(predict, photo_file, logo, tmp_path):
    photo = Image.open(photo_file).resize((48, 40))
    photo.save(tmp_path / "albedo.png")
    photo.convert("L").rotate(180).save(tmp_path / "rough.png")
    out = tmp_path / "out"
    (record,) = predict(
        tmp_path / "albedo.png", tmp_path / "rough.png", logo, "--stack", "-o", out / "brick.safetensors", count=400
    )
    assert (record["channels"], record["alpha"], record["num_gaussians"]) == (8, False, 400)
    assert [path.rsplit("/")[-1] for path in record["stack"]] == ["albedo.png", "rough.png", "logo.png"]
    modes = {name: Image.open(out / f"brick-{name}.png").mode for name in ("albedo", "rough", "logo")}
    assert modes == {"albedo": "RGB", "rough": "L", "logo": "RGBA"}
    assert psnr(Image.open(out / "brick-albedo.png"), photo) > 22
    assert Gaussians.load(out / "brick.safetensors").channels == 8


def test_predict_fits_an_array_of_bands(predict, tmp_path):
    y, x = np.mgrid[:30, :36]
    bands = np.stack([np.sin(x / (3 + band)) * np.cos(y / 5) for band in range(5)]).astype(np.float32)
    np.save(tmp_path / "bands.npy", bands)
    (record,) = predict(tmp_path / "bands.npy", count=500, iterations=100)
    result = np.load(tmp_path / "out" / "bands.npy")
    assert record["channels"] == 5 and result.shape == bands.shape
    assert np.abs(result - bands).mean() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stack", "--background", "white"], "argument --background: not allowed with argument --stack"),
        (["-o", "out.safetensors"], "argument -o/--output: names a folder; a file is for --stack"),
        (["--bits", "12"], "argument --bits: invalid choice: 12"),
    ],
)
def test_predict_refuses_options_that_do_not_go_together(run_cli, photo_file, options, message, capsys):
    assert run_cli("predict", photo_file, *options) == 2
    assert message in capsys.readouterr().err


def test_stack_of_different_sizes_is_one_line(run_cli, photo_file, logo, tmp_path, error_line):
    assert run_cli("predict", photo_file, logo, "--stack", "-o", tmp_path / "out") == 1
    sizes = f"has 48 x 40 pixels, {photo_file} has 64 x 48"
    assert error_line().endswith(f"{sizes}; the images of a stack need one size")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_stack_takes_the_images_of_a_folder(predict, photo_pixels, tmp_path):
    (tmp_path / "brick").mkdir()
    for name in ("a", "b"):
        Image.fromarray(photo_pixels).save(tmp_path / "brick" / f"{name}.png")
    (record,) = predict(tmp_path / "brick", "--stack")
    assert record["channels"] == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a-stack-a.png",
        "a-stack-b.png",
        "a-stack.safetensors",
        "report.json",
    ]


def test_missing_image_of_a_stack_is_one_line(run_cli, photo_file, tmp_path, error_line):
    assert run_cli("predict", photo_file, tmp_path / "none.png", "--stack", "-o", tmp_path / "out") == 1
    assert error_line() == f"fastgs: error: stack: {tmp_path / 'none.png'}: no such file; check the name"


def test_predict_keeps_the_profile_of_the_file(predict, photo_file, tmp_path):
    profile = profile_of(P3, 1.8)
    Image.open(photo_file).save(tmp_path / "wide.png", icc_profile=profile)
    (record,) = predict(tmp_path / "wide.png", "--keep-profile")
    result = Image.open(tmp_path / "out" / "wide.png")
    assert result.info["icc_profile"] == profile
    assert psnr(result, Image.open(photo_file)) > 22  # the numbers of the file, not converted
    assert record["psnr_of"] == "colours, numbers of the file"


def test_stack_of_too_many_channels_is_one_line(run_cli, photo_file, tmp_path, error_line):
    assert run_cli("predict", *[photo_file] * 11, "--stack", "-o", tmp_path / "out") == 1
    assert error_line() == "fastgs: error: stack: has 33 channels, the most is 32; leave out some images"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_light_that_is_no_number_is_one_line(run_cli, photo_pixels, tmp_path, error_line, value):
    light = photo_pixels.astype(np.float32) / 50
    light[3, 4, 1] = value
    tifffile.imwrite(tmp_path / "sun.tif", light, photometric="rgb")
    assert run_cli("predict", tmp_path / "sun.tif", "-k", 20, "-o", tmp_path / "out") == 1
    assert error_line().startswith(f"fastgs: error: {tmp_path / 'sun.tif'}: ")
    assert not (tmp_path / "out").exists()


def test_damaged_profile_is_a_warning_of_one_line(run_cli, photo_file, tmp_path, capsys):
    image = Image.open(photo_file)
    image.save(tmp_path / "bad.png", icc_profile=b"no profile" * 20)
    assert run_cli("predict", tmp_path / "bad.png", "-k", 20, "--iterations", 2, "-o", tmp_path / "out") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fastgs: warning: {tmp_path / 'bad.png'}: its colour profile is damaged")


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_encode_and_decode_keep_the_mode(run_cli, logo, tmp_path, mode, channels, capsys):
    Image.open(logo).convert(mode).save(tmp_path / "icon.png")
    file, result = tmp_path / "icon.fgs", tmp_path / "back.png"
    assert run_cli("encode", tmp_path / "icon.png", "-k", 120, "--iterations", 60, "-o", file) == 0
    assert run_cli("decode", file, "-o", result) == 0
    capsys.readouterr()
    assert run_cli("info", file, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["channels"], facts["alpha"]) == (channels, mode in ("LA", "RGBA"))
    assert Image.open(result).mode == mode
    given, found = read_picture(tmp_path / "icon.png").values, read_picture(result).values
    assert -10 * (given - found).square().mean().log10() > 22


def test_encode_refuses_high_dynamic_range_in_one_line(run_cli, photo_pixels, tmp_path, error_line):
    tifffile.imwrite(tmp_path / "sun.tif", photo_pixels.astype(np.float32) / 50, photometric="rgb")
    assert run_cli("encode", tmp_path / "sun.tif", "-k", 20, "-o", tmp_path / "sun.fgs") == 1
    assert error_line().endswith("has high dynamic range, which .fgs files do not keep; use fastgs predict")
    assert not (tmp_path / "sun.fgs").exists()


def test_decode_writes_sixteen_bits(run_cli, photo_file, tmp_path):
    assert run_cli("encode", photo_file, "-k", 60, "--iterations", 20, "-o", tmp_path / "a.fgs") == 0
    assert run_cli("decode", tmp_path / "a.fgs", "-o", tmp_path / "a.png", "--bits", 16) == 0
    assert read_picture(tmp_path / "a.png").depth == 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of files of every depth, alpha, profile, byte order and layout."""
    folder = tmp_path_factory.mktemp("files")
    for number, each in enumerate(picture_files()):
        (folder / f"{number:03}-{each.name}").write_bytes(each.data)
    return folder


def check_kind(given, path):
    """Check that a file has the kind, the size and the profile that a picture is written with."""
    result = read_picture(path, keep_profile=given.profile is not None)
    assert result.values.shape == given.values.shape, path.name
    assert (result.alpha, result.is_hdr) == (given.alpha, given.is_hdr), path.name
    if path.suffix == ".png":
        with Image.open(path) as image:
            assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[given.channels], path.name
            assert image.info.get("icc_profile") or "srgb" in image.info, path.name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::fastgs.io.pixels.ImageWarning")
def test_every_file_comes_back_through_predict(run_cli, folder, tmp_path):
    files = sorted(folder.iterdir())
    assert len(files) >= 40
    options = ["-k", 40, "--iterations", 10, "-o", tmp_path, "--init", "grid"]
    assert run_cli("predict", *files, *options) == 0
    for path in files:
        given = read_picture(path)
        check_kind(given, tmp_path / f"{path.stem}{choose_suffix(given)}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::fastgs.io.pixels.ImageWarning")
def test_every_file_comes_back_through_encode_and_decode(run_cli, folder, tmp_path):
    files = [path for path in sorted(folder.iterdir()) if not read_picture(path).is_hdr]
    assert len(files) >= 40
    (tmp_path / "back").mkdir()
    assert run_cli("encode", *files, "-k", 40, "--iterations", 5, "-o", tmp_path) == 0
    assert run_cli("decode", *sorted(tmp_path.glob("*.fgs")), "-o", tmp_path / "back") == 0
    for path in files:
        check_kind(read_picture(path), tmp_path / "back" / f"{path.stem}.png")
