"""`fastgs encode`, `decode` and `info` gone wrong: one line, the right exit code, and nothing overwritten."""

from pathlib import Path

import numpy as np
import pytest
from cli_data import HEIGHT, QUICK_ENCODE, WIDTH
from PIL import Image

from fastgs.codec import SCHEMES, Frame, read_frame
from fastgs.codec.frame import write_frame

# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "one of the arguments --bpp --target-psnr -k/--num-gaussians is required"),
        ("--bpp 1 -k 5", "argument -k/--num-gaussians: not allowed with argument --bpp"),
        ("--bpp 0", "argument --bpp: must be more than 0 and at most 24, got 0"),
        ("--bpp -1", "argument --bpp: must be more than 0 and at most 24, got -1"),
        ("--bpp nan", "argument --bpp: must be more than 0 and at most 24, got nan"),
        ("--bpp 1e308", "argument --bpp: must be more than 0 and at most 24, got 1e+308"),
        ("--bpp much", "argument --bpp: invalid float value: 'much'"),
        ("--target-psnr 0", "argument --target-psnr: must be more than 0 and finite, got 0"),
        ("--target-psnr nan", "argument --target-psnr: must be more than 0 and finite, got nan"),
        ("--target-psnr inf", "argument --target-psnr: must be more than 0 and finite, got inf"),
        ("-k 0", "argument --num-gaussians: must be at least 1, got 0"),
        ("-k 5 --iterations -1", "argument --iterations: must be at least 0, got -1"),
        ("-k 5 --effort 0", "argument --effort: must be at least 1, got 0"),
        ("-k 5 --effort 10", "argument --effort: must be from 1 to 9, got 10"),
        ("-k 5 --effort x", "argument --effort: invalid int value: 'x'"),
        ("-k 5 --effort 3 --scheme gaussianimage", "argument --effort: the scheme 'gaussianimage' has none; give "),
        ("-k 5 --tune vmaf", "argument --tune: expected one of psnr, ssim, got vmaf"),
        ("-k 5 --tune ssim --scheme gaussianimage", "argument --tune: the scheme 'gaussianimage' has only psnr"),
        ("-k 5 --seed -1", "argument --seed: must be at least 0, got -1"),
        ("-k 5 --size 0", "argument --size: must be at least 1, got 0"),
        ("-k 5 --scheme jpeg", "argument --scheme: expected one of fastgs, gaussianimage, "),
    ],
)
def test_wrong_option_of_encode_is_reported(photo_file, tmp_path, run_cli, names, error_line, options, message):
    assert run_cli("encode", photo_file, "-o", tmp_path / "photo.fgs", *options.split()) == 2
    assert error_line().startswith(f"fastgs encode: error: {message}") and names(tmp_path) == ["photo.png"]


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf"])
def test_wrong_scale_is_reported(fgs_file, tmp_path, run_cli, error_line, scale):
    assert run_cli("decode", fgs_file, "-o", tmp_path / "out.png", "--scale", scale) == 2
    message = f"fastgs decode: error: argument --scale: must be more than 0 and finite, got {scale}"
    assert error_line() == message and not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (1e4, "gives more than 89,478,485 pixels; choose a smaller --scale, or write TIFF (-o FILE.tif)"),
        (1e308, "gives more than 89,478,485 pixels; choose a smaller --scale, or write TIFF (-o FILE.tif)"),
        (0.001, "leaves none; choose a larger --scale"),
    ],
)
def test_scale_out_of_range_is_reported(fgs_file, tmp_path, run_cli, error_line, scale, message):
    assert run_cli("decode", fgs_file, "-o", tmp_path / "out.png", "--scale", scale) == 1
    begin = f"fastgs: error: {fgs_file}: a scale of {scale:g} of its canvas of {WIDTH} x {HEIGHT} pixels "
    assert error_line() == begin + message and not (tmp_path / "out.png").exists()


def test_largest_canvas_is_drawn_at_a_small_scale_only(tmp_path, run_cli, error_line):
    (tmp_path / "large.fgs").write_bytes(write_frame(Frame("fastgs", 65535, 65535, [])))
    assert run_cli("decode", tmp_path / "large.fgs", "-o", tmp_path / "out.png") == 1
    assert "gives more than 89,478,485 pixels" in error_line()
    assert run_cli("decode", tmp_path / "large.fgs", "-o", tmp_path / "out.png", "--scale", 0.001) == 0
    assert Image.open(tmp_path / "out.png").size == (66, 66)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--target-psnr 95", "95 dB were not reached; the best file"),
        ("--bpp 0.01", "3 bytes are too few for this image"),
        ("-k 100000000", "num_gaussians: must be from 1 to "),
    ],
)
def test_rate_out_of_reach_is_reported(photo_file, tmp_path, run_cli, names, error_line, options, reason):
    arguments = ("--iterations", 1, "--scheme", "gaussianimage-plus", *options.split())
    assert run_cli("encode", photo_file, "-o", tmp_path / "photo.fgs", *arguments) == 1
    assert error_line().startswith(f"fastgs: error: {photo_file}: {reason}") and names(tmp_path) == ["photo.png"]


BAD_FILES = {
    "empty": (lambda content: b"", "is not a .fgs file"),
    "photo": (lambda content: b"\x89PNG" + content, "is not a .fgs file"),
    "newer": (lambda content: content[:3] + b"\x04" + content[4:], "is of version 4, "),
    "header": (lambda content: content[:5] + b"\x01" + content[6:], "is damaged (the checksum of its header "),
    "layer": (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "is damaged (the checksum of layer "),
    "longer": (lambda content: content + b"more", "is damaged (4 bytes follow its end)"),
    "shorter": (lambda content: content[:-1], "is cut short (after "),
}


def options_of(command, folder):
    return ("-o", folder / "out.png") if command == "decode" else ()


@pytest.mark.parametrize("command", ["decode", "info"])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_is_reported(fgs_file, tmp_path, run_cli, names, error_line, command, kind):
    change, reason = BAD_FILES[kind]
    fgs_file.write_bytes(change(fgs_file.read_bytes()))
    assert run_cli(command, fgs_file, *options_of(command, tmp_path)) == 1
    assert error_line().startswith(f"fastgs: error: {fgs_file}: {reason}")
    assert names(tmp_path) == ["photo.fgs", "photo.png"]


@pytest.mark.parametrize("command", ["decode", "info"])
def test_file_that_cannot_be_read_is_reported(tmp_path, run_cli, error_line, monkeypatch, command):
    options, missing = options_of(command, tmp_path), tmp_path / "missing.fgs"
    reasons = {missing: "no such file; check the name", tmp_path: "is a folder; name a .fgs file in it"}
    if Path("/dev/zero").exists():  # which has no end
        reasons[Path("/dev/zero")] = "is not a .fgs file"
    for path, reason in reasons.items():
        assert run_cli(command, path, *options) == 1
        assert error_line() == f"fastgs: error: {path}: {reason}"
    missing.write_bytes(b"FGS" + bytes(100))
    monkeypatch.setattr("fastgs.cli.coding.MAX_BYTES", 50)
    assert run_cli(command, missing, *options) == 1
    assert error_line().startswith(f"fastgs: error: {missing}: is larger than ")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_damaged_layers_are_reported(tmp_path, encoded, run_cli, error_line, capsys, scheme):
    """The checksums are right, so that the decoder of the layers meets the damage; some files decode nevertheless."""
    frame, path = read_frame(encoded[scheme]), tmp_path / "any.fgs"
    rng = np.random.default_rng(0)
    for number in range(15):
        layers = [bytearray(layer) for layer in frame.layers]
        layer = layers[rng.integers(len(layers))]
        layer[rng.integers(len(layer))] = rng.integers(256)
        if number % 3 == 0:
            layer[:] = rng.bytes(int(rng.integers(0, 200)))
        path.write_bytes(write_frame(Frame(scheme, HEIGHT, WIDTH, [bytes(each) for each in layers])))
        for command in ("decode", "info"):
            if run_cli(command, path, *options_of(command, tmp_path)):
                assert error_line().startswith(f"fastgs: error: {path}: ")
            capsys.readouterr()


# Nothing is overwritten or half-written


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("nowhere/photo.fgs", "nowhere: no such folder"),
        ("photo.png/photo.fgs", "photo.png: no such folder"),
        ("photo.jpg", "expected a folder that exists or a name that ends in .fgs, got "),
        ("nowhere", "expected a folder that exists or a name that ends in .fgs, got "),
    ],
)
def test_output_of_encode_that_cannot_be_is_reported(
    photo_file, tmp_path, run_cli, names, error_line, monkeypatch, output, message
):
    monkeypatch.chdir(tmp_path)
    assert run_cli("encode", photo_file, "-o", output, *QUICK_ENCODE) == 2
    assert error_line().startswith(f"fastgs encode: error: argument -o/--output: {message}")
    assert names(tmp_path) == ["photo.png"]


@pytest.mark.parametrize(
    ("output", "message"), [("photo.xyz", "expected a folder that exists or "), ("nowhere/a.png", "")]
)
def test_output_of_decode_that_cannot_be_is_reported(fgs_file, tmp_path, run_cli, names, error_line, output, message):
    assert run_cli("decode", fgs_file, "-o", tmp_path / output) == 2
    assert error_line().startswith(f"fastgs decode: error: argument -o/--output: {message}")
    assert names(tmp_path) == ["photo.fgs", "photo.png"]


def test_several_files_without_a_folder_are_reported(photo_file, fgs_file, tmp_path, run_cli, error_line):
    assert run_cli("encode", photo_file, photo_file, "-o", tmp_path / "out.fgs", *QUICK_ENCODE) == 2
    assert error_line().startswith("fastgs encode: error: argument -o/--output: several files go to a folder")
    assert run_cli("decode", fgs_file, fgs_file, "-o", tmp_path / "out.png") == 2
    assert error_line().startswith("fastgs decode: error: argument -o/--output: several files go to a folder")


def test_output_of_another_input_is_not_overwritten(photo_file, out, run_cli, capsys):
    assert run_cli("encode", photo_file, photo_file, "-o", out, *QUICK_ENCODE) == 1
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1 and printed.err.count("\n") == 1 and "would overwrite" in printed.err


def test_inputs_are_not_overwritten(photo_file, tmp_path, encoded, run_cli, error_line):
    image = photo_file.rename(tmp_path / "photo.fgs")
    before = image.read_bytes()
    # The output is the input, spelled in another way.
    assert run_cli("encode", image, "-o", tmp_path / ".." / tmp_path.name / "photo.fgs", *QUICK_ENCODE) == 1
    assert error_line().startswith(f"fastgs: error: {image}: would overwrite the input ")
    assert image.read_bytes() == before
    file = tmp_path / "file.png"
    file.write_bytes(encoded["fastgs"])
    assert run_cli("decode", file, "-o", file) == 1
    assert error_line().startswith(f"fastgs: error: {file}: would overwrite the input ")
    assert file.read_bytes() == encoded["fastgs"]


def test_full_disk_leaves_files_as_they_were(photo_file, fgs_file, tmp_path, run_cli, names, error_line, monkeypatch):
    def fill_disk(*arguments, **options):
        raise OSError(28, "No space left on device")

    before = fgs_file.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    assert run_cli("encode", photo_file, "-o", fgs_file, "-k", 9, "--iterations", 0) == 1
    assert error_line() == f"fastgs: error: {photo_file}: cannot be written (No space left on device)"
    monkeypatch.setattr(Image.Image, "save", fill_disk)
    assert run_cli("decode", fgs_file, "-o", tmp_path / "out.png") == 1
    assert error_line() == f"fastgs: error: {fgs_file}: cannot be written (No space left on device)"
    assert names(tmp_path) == ["photo.fgs", "photo.png"] and fgs_file.read_bytes() == before
