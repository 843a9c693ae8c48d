"""`fastgs encode`, `decode` and `info`: what they write, and one line for whatever goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import python
from skimage import data

import fastgs
from fastgs.cli import main as cli
from fastgs.codec import SCHEMES, Frame, decode, read_frame
from fastgs.codec.frame import write_frame
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr

HEIGHT, WIDTH = 48, 64
PHOTO = np.ascontiguousarray(data.chelsea()[::6, ::6][:HEIGHT, :WIDTH])
QUICK = ("-k", 60, "--iterations", 5)


def run(*arguments) -> int:
    return cli.main([*map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def error_of(capsys) -> str:
    """The one line that was said."""
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.endswith("\n")
    return said.err.removesuffix("\n")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where the files of a test are."""
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    return tmp_path


@pytest.fixture
def photo(folder) -> Path:
    return folder / "photo.png"


@pytest.fixture(scope="session")
def encoded(tmp_path_factory) -> dict[str, bytes]:
    """The photo in all schemes."""
    folder = tmp_path_factory.mktemp("encoded")
    Image.fromarray(PHOTO).save(folder / "photo.png")
    files = {}
    for name in SCHEMES:
        output = folder / f"{name}.fgs"
        assert run("encode", folder / "photo.png", "-o", output, *QUICK, "--scheme", name) == 0
        files[name] = output.read_bytes()
    return files


@pytest.fixture
def file(folder, encoded) -> Path:
    """The photo, encoded by the default scheme."""
    (folder / "photo.fgs").write_bytes(encoded["fastgs"])
    return folder / "photo.fgs"


# What they write


def test_round_trip(photo, folder, capsys):
    output = folder / "photo.fgs"
    assert run("encode", photo, "-o", output, "-k", 60, "--iterations", 20) == 0
    content = output.read_bytes()
    gaussians = decode(content)
    assert 0 < len(gaussians) <= 60 and (gaussians.height, gaussians.width) == (HEIGHT, WIDTH)
    image = fastgs.render(gaussians)
    quality = psnr(image, load_image(photo))
    assert quality > 20
    said = capsys.readouterr()
    begin = f"{photo} -> {output}  {len(content)} bytes  {8 * len(content) / HEIGHT / WIDTH:.4f} bpp  {quality:.2f} dB"
    assert said.out.startswith(f"{begin}  {len(gaussians)} Gaussians  ") and said.out.endswith(" s\n")
    assert said.out.count("\n") == 1 and said.err == ""

    assert run("decode", output, "-o", folder / "out.png") == 0
    said = capsys.readouterr()
    begin = f"{output} -> {folder / 'out.png'}  {WIDTH} x {HEIGHT}  {len(gaussians)} Gaussians  "
    assert said.out.startswith(begin) and said.out.count("\n") == 1 and said.err == ""
    pixels = image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(Image.open(folder / "out.png")), pixels)
    assert names(folder) == ["out.png", "photo.fgs", "photo.png"]


def test_bpp_is_reached_and_never_exceeded(folder):
    Image.fromarray(np.ascontiguousarray(data.chelsea()[::3, ::3][:96, :96])).save(folder / "large.png")
    assert run("encode", folder / "large.png", "-o", folder / "large.fgs", "--bpp", 0.5, "--iterations", 10) == 0
    bpp = 8 * len((folder / "large.fgs").read_bytes()) / 96**2
    assert 0.97 * 0.5 <= bpp <= 0.5


def test_target_psnr_is_reached(photo, folder):
    assert run("encode", photo, "-o", folder / "photo.fgs", "--target-psnr", 22, "--iterations", 10) == 0
    quality = psnr(fastgs.render(decode((folder / "photo.fgs").read_bytes())), load_image(photo))
    assert 22 <= quality < 24


def test_size_crops(photo, folder):
    assert run("encode", photo, "-o", folder / "photo.fgs", *QUICK, "--size", 32) == 0
    frame = read_frame((folder / "photo.fgs").read_bytes())
    assert (frame.height, frame.width) == (32, 32)


def test_the_same_seed_gives_the_same_bytes(photo, folder, encoded):
    for seed in (0, 1):
        assert run("encode", photo, "-o", folder / f"{seed}.fgs", *QUICK, "--seed", seed) == 0
    assert (folder / "0.fgs").read_bytes() == encoded["fastgs"] != (folder / "1.fgs").read_bytes()


def test_several_files_go_to_a_folder(photo, folder, capsys):
    album, out = folder / "album", folder / "deep" / "out"
    album.mkdir()
    Image.fromarray(PHOTO).save(album / "b.JPG")
    Image.fromarray(255 - PHOTO).save(album / "a.webp")
    (album / "notes.txt").write_text("not an image")
    arguments = ("-k", 9, "--iterations", 0)
    assert run("encode", album, photo, "-o", out, *arguments) == 0
    assert names(out) == ["a.fgs", "b.fgs", "photo.fgs"] and capsys.readouterr().out.count("\n") == 3
    assert run("decode", *sorted(out.iterdir()), "-o", out) == 0
    assert names(out) == ["a.fgs", "a.png", "b.fgs", "b.png", "photo.fgs", "photo.png"]
    # One goes there, too, if the folder exists.
    assert run("encode", photo, "-o", album, *arguments) == 0 and (album / "photo.fgs").exists()


@pytest.mark.parametrize(("scale", "size"), [(2, (128, 96)), (0.5, (32, 24)), (1.03, (66, 49))])
def test_scale(file, folder, scale, size):
    assert run("decode", file, "-o", folder / "out.png", "--scale", scale) == 0
    image = load_image(folder / "out.png")
    assert tuple(image.shape) == (3, *size[::-1])
    expected = fastgs.render(decode(file.read_bytes()), *size[::-1], antialias=True)
    assert (image - expected.clamp(0, 1)).abs().max() < 0.6 / 255


def test_partial(photo, folder, capsys):
    file = folder / "photo.fgs"
    assert run("encode", photo, "-o", file, "-k", 400, "--iterations", 5) == 0  # enough for several layers
    capsys.readouterr()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert run("decode", file, "-o", folder / "out.png") == 1
    message = f"fastgs: error: {file}: is cut short (after {len(whole) // 2} bytes); "
    assert error_of(capsys) == message + "--partial draws a coarse image from what is there"
    assert names(folder) == ["photo.fgs", "photo.png"]
    assert run("decode", file, "-o", folder / "out.png", "--partial") == 0
    with Image.open(folder / "out.png") as image:
        assert image.size == (WIDTH, HEIGHT) and np.asarray(image).std() > 5
    # Where not even one layer is whole, there is no way out.
    capsys.readouterr()
    for options in ((), ("--partial",)):
        file.write_bytes(whole[:20])
        assert run("decode", file, "-o", folder / "none.png", *options) == 1
        assert "is cut" in (said := error_of(capsys)) and "--partial" not in said
    file.write_bytes(whole)
    assert run("decode", file, "-o", folder / "whole.png", "--partial") == 0
    assert names(folder) == ["out.png", "photo.fgs", "photo.png", "whole.png"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_info_adds_up(folder, encoded, capsys, scheme):
    content, path = encoded[scheme], folder / "photo.fgs"
    path.write_bytes(content)
    assert run("info", path, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    count = len(decode(content))
    expected = {"version": 1, "scheme": scheme, "width": WIDTH, "height": HEIGHT, "num_gaussians": count}
    expected |= {"bytes": len(content), "bpp": 8 * len(content) / HEIGHT / WIDTH, "blend": decode(content).blend}
    expected |= {"layer_bytes": [len(layer) for layer in read_frame(content).layers]}
    assert {name: facts[name] for name in expected} == expected
    assert sum(facts["bits"].values()) == 8 * len(content) and {"positions", "header"} < set(facts["bits"])

    assert run("info", path) == 0
    facts_lines, table = capsys.readouterr().out.split("\n\n")
    told = dict(line.split(maxsplit=1) for line in facts_lines.splitlines())
    assert (told["scheme"], told["canvas"], told["Gaussians"]) == (scheme, "64 x 48 pixels", str(count))
    rows = [line.split() for line in table.splitlines()[1:]]
    assert [row[0] for row in rows] == [*facts["bits"], "total"]
    assert sum(int(row[1]) for row in rows[:-1]) == int(rows[-1][1]) == len(content)
    assert rows[-1][2:] == ["100.0%", f"{8 * len(content) / count:.2f}"]


def test_info_of_a_file_without_gaussians(folder, capsys):
    (folder / "none.fgs").write_bytes(write_frame(Frame("fastgs", 5, 7, [])))
    assert run("info", folder / "none.fgs") == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["total", "10", "100.0%", "-"]
    assert run("decode", folder / "none.fgs", "-o", folder / "none.png") == 0
    assert not np.asarray(Image.open(folder / "none.png")).any()


def test_progress_on_a_terminal_only(photo, folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert run("encode", photo, "-o", folder / "photo.fgs", *QUICK) == 0
    said = capsys.readouterr()
    assert "iteration" in said.err and " dB" in said.err
    assert said.out.startswith(str(photo)) and said.out.count("\n") == 1


# The real command


def test_command(photo, folder):
    def command(*arguments) -> subprocess.CompletedProcess:
        return python("-m", "fastgs", *arguments)

    output = folder / "photo.fgs"
    done = command("encode", folder / "missing.png", photo, "-o", folder, "-k", 9, "--iterations", 1)
    expected = f"fastgs: error: {folder / 'missing.png'}: no such file; check the name\n"
    assert (done.returncode, done.stderr) == (1, expected)
    assert done.stdout.startswith(f"{photo} -> {output}  {output.stat().st_size} bytes  ")
    output.write_bytes(output.read_bytes()[:-1] + b"?")
    done = command("decode", output, "-o", folder / "out.png")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"fastgs: error: {output}: is damaged (the checksum of layer ")
    assert names(folder) == ["photo.fgs", "photo.png"]


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
        ("-k 5 --seed -1", "argument --seed: must be at least 0, got -1"),
        ("-k 5 --size 0", "argument --size: must be at least 1, got 0"),
        ("-k 5 --scheme jpeg", "argument --scheme: expected one of fastgs, gaussianimage, "),
    ],
)
def test_wrong_option_of_encode(photo, folder, capsys, options, message):
    assert run("encode", photo, "-o", folder / "photo.fgs", *options.split()) == 2
    assert error_of(capsys).startswith(f"fastgs encode: error: {message}") and names(folder) == ["photo.png"]


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf"])
def test_wrong_scale(file, folder, capsys, scale):
    assert run("decode", file, "-o", folder / "out.png", "--scale", scale) == 2
    message = f"fastgs decode: error: argument --scale: must be more than 0 and finite, got {scale}"
    assert error_of(capsys) == message and not (folder / "out.png").exists()


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (1e4, "gives more than 89,478,485 pixels; choose a smaller --scale"),
        (1e308, "gives more than 89,478,485 pixels; choose a smaller --scale"),
        (0.001, "leaves none; choose a larger --scale"),
    ],
)
def test_scale_out_of_range(file, folder, capsys, scale, message):
    assert run("decode", file, "-o", folder / "out.png", "--scale", scale) == 1
    begin = f"fastgs: error: {file}: a scale of {scale:g} of its canvas of {WIDTH} x {HEIGHT} pixels "
    assert error_of(capsys) == begin + message and not (folder / "out.png").exists()


def test_largest_canvas(folder, capsys):
    (folder / "large.fgs").write_bytes(write_frame(Frame("fastgs", 65535, 65535, [])))
    assert run("decode", folder / "large.fgs", "-o", folder / "out.png") == 1
    assert "gives more than 89,478,485 pixels" in error_of(capsys)
    assert run("decode", folder / "large.fgs", "-o", folder / "out.png", "--scale", 0.001) == 0
    assert Image.open(folder / "out.png").size == (66, 66)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--target-psnr 95", "95 dB were not reached; the best file"),
        ("--bpp 0.01", "3 bytes are too few for this image"),
        ("-k 100000000", "num_gaussians: must be from 1 to "),
    ],
)
def test_rates_that_cannot_be(photo, folder, capsys, options, reason):
    arguments = ("--iterations", 1, "--scheme", "gaussianimage-plus", *options.split())
    assert run("encode", photo, "-o", folder / "photo.fgs", *arguments) == 1
    assert error_of(capsys).startswith(f"fastgs: error: {photo}: {reason}") and names(folder) == ["photo.png"]


BAD_FILES = {
    "empty": (lambda content: b"", "is not a .fgs file"),
    "photo": (lambda content: b"\x89PNG" + content, "is not a .fgs file"),
    "newer": (lambda content: content[:3] + b"\x02" + content[4:], "is of version 2, "),
    "header": (lambda content: content[:5] + b"\x01" + content[6:], "is damaged (the checksum of its header "),
    "layer": (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "is damaged (the checksum of layer "),
    "longer": (lambda content: content + b"more", "is damaged (4 bytes follow its end)"),
    "shorter": (lambda content: content[:-1], "is cut short (after "),
}


@pytest.mark.parametrize("command", ["decode", "info"])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file(file, folder, capsys, command, kind):
    change, reason = BAD_FILES[kind]
    file.write_bytes(change(file.read_bytes()))
    options = ("-o", folder / "out.png") if command == "decode" else ()
    assert run(command, file, *options) == 1
    assert error_of(capsys).startswith(f"fastgs: error: {file}: {reason}")
    assert names(folder) == ["photo.fgs", "photo.png"]


@pytest.mark.parametrize("command", ["decode", "info"])
def test_files_that_cannot_be_read(folder, capsys, monkeypatch, command):
    options = ("-o", folder / "out.png") if command == "decode" else ()
    missing = folder / "missing.fgs"
    for path, reason in ((missing, "no such file; check the name"), (folder, "is a folder; name a .fgs file in it")):
        assert run(command, path, *options) == 1
        assert error_of(capsys) == f"fastgs: error: {path}: {reason}"
    if Path("/dev/zero").exists():  # has no end
        assert run(command, "/dev/zero", *options) == 1
        assert error_of(capsys) == "fastgs: error: /dev/zero: is not a .fgs file"
    missing.write_bytes(b"FGS" + bytes(100))
    monkeypatch.setattr("fastgs.cli.coding.MAX_BYTES", 50)
    assert run(command, missing, *options) == 1
    assert error_of(capsys).startswith(f"fastgs: error: {missing}: is larger than ")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_bytes(folder, encoded, capsys, scheme):
    """Layers that are damaged under checksums that are not."""
    frame, path = read_frame(encoded[scheme]), folder / "any.fgs"
    rng = np.random.default_rng(0)
    for number in range(25):
        layers = [bytearray(layer) for layer in frame.layers]
        layer = layers[rng.integers(len(layers))]
        layer[rng.integers(len(layer))] = rng.integers(256)
        if number % 3 == 0:
            layer[:] = rng.bytes(int(rng.integers(0, 200)))
        path.write_bytes(write_frame(Frame(scheme, HEIGHT, WIDTH, [bytes(each) for each in layers])))
        for command in (("decode", path, "-o", folder / "any.png"), ("info", path)):
            if run(*command):
                assert error_of(capsys).startswith(f"fastgs: error: {path}: ")
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
def test_output_that_cannot_be(photo, folder, capsys, monkeypatch, output, message):
    monkeypatch.chdir(folder)
    assert run("encode", photo, "-o", output, *QUICK) == 2
    assert error_of(capsys).startswith(f"fastgs encode: error: argument -o/--output: {message}")
    assert names(folder) == ["photo.png"]


def test_output_of_decode_that_cannot_be(file, folder, capsys):
    for output, message in (("photo.xyz", "expected a folder that exists or "), ("nowhere/a.png", "")):
        assert run("decode", file, "-o", folder / output) == 2
        assert error_of(capsys).startswith(f"fastgs decode: error: argument -o/--output: {message}")
    assert names(folder) == ["photo.fgs", "photo.png"]


def test_several_files_and_no_folder(photo, file, capsys):
    assert run("encode", photo, photo, "-o", file.with_name("out.fgs"), *QUICK) == 2
    assert error_of(capsys).startswith("fastgs encode: error: argument -o/--output: several files go to a folder")
    assert run("decode", file, file, "-o", file.with_name("out.png")) == 2
    assert error_of(capsys).startswith("fastgs decode: error: argument -o/--output: several files go to a folder")
    assert run("encode", photo, photo, "-o", photo.with_suffix(""), *QUICK) == 1  # the second is the first again
    said = capsys.readouterr()
    assert said.out.count("\n") == 1 and said.err.count("\n") == 1 and "would overwrite" in said.err


def test_inputs_are_never_overwritten(folder, encoded, capsys):
    disguised = folder / "photo.fgs"
    Image.fromarray(PHOTO).save(disguised, "PNG")
    before = disguised.read_bytes()
    # Spelled in another way, it is still the same file.
    assert run("encode", disguised, "-o", folder / ".." / folder.name / "photo.fgs", *QUICK) == 1
    assert error_of(capsys).startswith(f"fastgs: error: {disguised}: would overwrite the input ")
    assert disguised.read_bytes() == before
    disguised = folder / "disguised.png"
    disguised.write_bytes(encoded["fastgs"])
    assert run("decode", disguised, "-o", disguised) == 1
    assert error_of(capsys).startswith(f"fastgs: error: {disguised}: would overwrite the input ")
    assert disguised.read_bytes() == encoded["fastgs"]


def test_a_disk_that_is_full(photo, file, folder, capsys, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", full)
    assert run("encode", photo, "-o", file, "-k", 9, "--iterations", 0) == 1
    assert error_of(capsys) == f"fastgs: error: {photo}: cannot be written (No space left on device)"
    monkeypatch.setattr(Image.Image, "save", full)
    assert run("decode", file, "-o", folder / "out.png") == 1
    assert error_of(capsys) == f"fastgs: error: {file}: cannot be written (No space left on device)"
    assert names(folder) == ["photo.fgs", "photo.png"] and file.read_bytes() == before


def test_help(capsys):
    for command, option in (("encode", "--target-psnr"), ("decode", "--partial"), ("info", "--json")):
        assert run(command, "--help") == 0
        assert option in capsys.readouterr().out
