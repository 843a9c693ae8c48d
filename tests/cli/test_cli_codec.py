"""`fastgs encode`, `decode` and `info`: what they write and print."""

import json
import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from cli_data import HEIGHT, QUICK_ENCODE, WIDTH
from PIL import Image
from skimage import data

import fastgs
from fastgs.cli.console import showing_compilation
from fastgs.codec import SCHEMES, Frame, Restoration, decode, decode_image, encode, read_frame
from fastgs.codec.frame import write_frame
from fastgs.io.images import load_image
from fastgs.metrics.quality import psnr


def test_encode_and_decode_write_and_report(photo_file, tmp_path, run_cli, names, capsys):
    output = tmp_path / "photo.fgs"
    assert run_cli("encode", photo_file, "-o", output, "-k", 60, "--iterations", 20) == 0
    content = output.read_bytes()
    gaussians = decode(content)
    assert 0 < len(gaussians) <= 60 and (gaussians.height, gaussians.width) == (HEIGHT, WIDTH)
    image = decode_image(content)
    quality = psnr(image, load_image(photo_file))
    assert quality > 20
    printed = capsys.readouterr()
    begin = f"{photo_file} -> {output}  {len(content)} bytes  {8 * len(content) / HEIGHT / WIDTH:.4f} bpp  "
    assert printed.out.startswith(f"{begin}{quality:.2f} dB  {len(gaussians)} Gaussians  ")
    assert printed.out.endswith(" s\n") and printed.out.count("\n") == 1 and printed.err == ""

    assert run_cli("decode", output, "-o", tmp_path / "out.png") == 0
    printed = capsys.readouterr()
    begin = f"{output} -> {tmp_path / 'out.png'}  {WIDTH} x {HEIGHT}  {len(gaussians)} Gaussians  "
    assert printed.out.startswith(begin) and printed.out.count("\n") == 1 and printed.err == ""
    pixels = image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), pixels)
    assert names(tmp_path) == ["out.png", "photo.fgs", "photo.png"]


def test_bpp_is_reached_and_not_exceeded(tmp_path, run_cli):
    Image.fromarray(np.ascontiguousarray(data.chelsea()[::3, ::3][:96, :96])).save(tmp_path / "large.png")
    output = tmp_path / "large.fgs"
    assert run_cli("encode", tmp_path / "large.png", "-o", output, "--bpp", 0.5, "--iterations", 10) == 0
    assert 0.97 * 0.5 <= 8 * len(output.read_bytes()) / 96**2 <= 0.5


def test_target_psnr_is_reached(photo_file, tmp_path, run_cli):
    output = tmp_path / "photo.fgs"
    assert run_cli("encode", photo_file, "-o", output, "--target-psnr", 22, "--iterations", 10) == 0
    assert 22 <= psnr(decode_image(output.read_bytes()), load_image(photo_file)) < 24


def test_effort_is_that_of_the_encoder(photo_file, tmp_path, run_cli):
    output = tmp_path / "photo.fgs"
    assert run_cli("encode", photo_file, "-o", output, "-k", 30, "--effort", 2) == 0
    assert output.read_bytes() == encode(load_image(photo_file), num_gaussians=30, effort=2).data
    assert run_cli("encode", photo_file, "-o", output, "-k", 30, "--effort", 2, "--iterations", 5) == 0
    assert output.read_bytes() == encode(load_image(photo_file), num_gaussians=30, effort=2, iterations=5).data


def test_file_is_tuned_for_ssim(photo_file, tmp_path, run_cli):
    output = tmp_path / "photo.fgs"
    assert run_cli("encode", photo_file, "-o", output, "-k", 30, "--effort", 1, "--tune", "ssim") == 0
    tuned, plain = (encode(load_image(photo_file), num_gaussians=30, effort=1, tune=each) for each in ("ssim", "psnr"))
    assert output.read_bytes() == tuned.data != plain.data


def test_size_crops_the_image(photo_file, tmp_path, run_cli):
    assert run_cli("encode", photo_file, "-o", tmp_path / "photo.fgs", *QUICK_ENCODE, "--size", 32) == 0
    frame = read_frame((tmp_path / "photo.fgs").read_bytes())
    assert (frame.height, frame.width) == (32, 32)


def test_encode_repeats_for_a_seed(photo_file, tmp_path, run_cli, encoded):
    for seed in (0, 1):
        assert run_cli("encode", photo_file, "-o", tmp_path / f"{seed}.fgs", *QUICK_ENCODE, "--seed", seed) == 0
    assert (tmp_path / "0.fgs").read_bytes() == encoded["fastgs"] != (tmp_path / "1.fgs").read_bytes()


def test_several_files_go_to_a_folder(photo_file, photo_pixels, tmp_path, run_cli, names, capsys):
    album, out = tmp_path / "album", tmp_path / "deep" / "out"
    album.mkdir()
    Image.fromarray(photo_pixels).save(album / "b.JPG")
    Image.fromarray(255 - photo_pixels).save(album / "a.webp")
    (album / "notes.txt").write_text("not an image", encoding="utf-8")
    options = ("-k", 9, "--iterations", 0)
    assert run_cli("encode", album, photo_file, "-o", out, *options) == 0
    assert names(out) == ["a.fgs", "b.fgs", "jobs.jsonl", "photo.fgs"] and capsys.readouterr().out.count("\n") == 3
    assert run_cli("decode", *sorted(out.glob("*.fgs")), "-o", out) == 0
    assert names(out) == ["a.fgs", "a.png", "b.fgs", "b.png", "jobs.jsonl", "photo.fgs", "photo.png"]
    # A single file goes to a folder, too, if the folder exists.
    assert run_cli("encode", photo_file, "-o", album, *options) == 0 and (album / "photo.fgs").exists()


@pytest.mark.parametrize(("scale", "size"), [(2, (128, 96)), (0.5, (32, 24)), (1.03, (66, 49))])
def test_scale_draws_at_another_size(fgs_file, tmp_path, run_cli, scale, size):
    assert run_cli("decode", fgs_file, "-o", tmp_path / "out.png", "--scale", scale) == 0
    image = load_image(tmp_path / "out.png")
    assert tuple(image.shape) == (3, *size[::-1])
    expected = fastgs.render(decode(fgs_file.read_bytes()), *size[::-1], antialias=True)
    assert (image - expected.clamp(0, 1)).abs().max() < 0.6 / 255


def test_files_are_restored_at_the_size_of_their_canvas(fgs_file, tmp_path, run_cli, capsys):
    frame = replace(read_frame(fgs_file.read_bytes()), restoration=Restoration(1, (64, 128, 255)))
    fgs_file.write_bytes(write_frame(frame))
    assert run_cli("info", fgs_file) == 0
    assert "restoration  network 1, gains 1.00, 2.00, 3.98\n" in capsys.readouterr().out
    wanted, out = decode_image(fgs_file.read_bytes()).clamp(0, 1), tmp_path / "out.png"
    assert not torch.equal(wanted, fastgs.render(decode(fgs_file.read_bytes())).clamp(0, 1))
    assert run_cli("decode", fgs_file, "-o", out) == 0
    assert (load_image(out) - wanted).abs().max() < 0.6 / 255
    assert run_cli("decode", fgs_file, "-o", out, "--region", "7,5,20,30") == 0
    assert (load_image(out) - wanted[:, 5:35, 7:27]).abs().max() < 0.6 / 255
    assert run_cli("decode", fgs_file, "-o", out, "--scale", 2) == 0
    larger = fastgs.render(decode(fgs_file.read_bytes()), 2 * HEIGHT, 2 * WIDTH).clamp(0, 1)
    assert (load_image(out) - larger).abs().max() < 0.6 / 255


@pytest.fixture
def layered(photo_file, tmp_path, run_cli, capsys):
    """Return the path of a file of several layers."""
    assert run_cli("encode", photo_file, "-o", tmp_path / "photo.fgs", "-k", 400, "--iterations", 5) == 0
    capsys.readouterr()
    return tmp_path / "photo.fgs"


def test_partial_draws_a_file_that_is_cut(layered, tmp_path, run_cli, names, error_line):
    whole = layered.read_bytes()
    layered.write_bytes(whole[: len(whole) // 2])
    assert run_cli("decode", layered, "-o", tmp_path / "out.png") == 1
    message = f"fastgs: error: {layered}: is cut short (after {len(whole) // 2} bytes); "
    assert error_line() == message + "--partial draws a coarse image from what is there"
    assert names(tmp_path) == ["photo.fgs", "photo.png"]
    assert run_cli("decode", layered, "-o", tmp_path / "out.png", "--partial") == 0
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (WIDTH, HEIGHT) and np.asarray(image).std() > 5


def test_partial_draws_a_whole_file(layered, tmp_path, run_cli, names):
    assert run_cli("decode", layered, "-o", tmp_path / "whole.png", "--partial") == 0
    assert names(tmp_path) == ["photo.fgs", "photo.png", "whole.png"]


@pytest.mark.parametrize("options", [(), ("--partial",)])
def test_partial_is_not_advised_where_no_layer_is_whole(layered, tmp_path, run_cli, names, error_line, options):
    layered.write_bytes(layered.read_bytes()[:20])
    assert run_cli("decode", layered, "-o", tmp_path / "none.png", *options) == 1
    line = error_line()
    assert "is cut" in line and "--partial" not in line and names(tmp_path) == ["photo.fgs", "photo.png"]


def test_bytes_reads_the_beginning_of_a_file(layered, tmp_path, run_cli):
    whole = layered.read_bytes()
    (tmp_path / "cut.fgs").write_bytes(whole[: len(whole) // 2])
    assert run_cli("decode", tmp_path / "cut.fgs", "-o", tmp_path / "cut.png", "--partial") == 0
    assert run_cli("decode", layered, "-o", tmp_path / "half.png", "--bytes", len(whole) // 2) == 0
    assert (tmp_path / "half.png").read_bytes() == (tmp_path / "cut.png").read_bytes()
    assert run_cli("decode", layered, "-o", tmp_path / "whole.png") == 0
    assert run_cli("decode", layered, "-o", tmp_path / "all.png", "--bytes", 10**9) == 0
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


def test_bytes_that_are_too_few(layered, tmp_path, run_cli, error_line):
    assert run_cli("decode", layered, "-o", tmp_path / "out.png", "--bytes", 30) == 1
    assert error_line() == f"fastgs: error: {layered}: is cut before its first Gaussians"
    for number, message in ((2, "is not a .fgs file"), (9, "is cut short (after 9 bytes)")):
        assert run_cli("decode", layered, "-o", tmp_path / "out.png", "--bytes", number) == 1
        assert error_line() == f"fastgs: error: {layered}: {message}"
    assert run_cli("decode", layered, "-o", tmp_path / "out.png", "--bytes", 0) == 2
    assert error_line() == "fastgs decode: error: argument --bytes: must be at least 1, got 0"


@pytest.mark.parametrize("scale", [1, 2, 0.5])
def test_region_is_a_part_of_the_image(fgs_file, tmp_path, run_cli, capsys, scale):
    assert run_cli("decode", fgs_file, "-o", tmp_path / "whole.png", "--scale", scale) == 0
    capsys.readouterr()
    options = ("--scale", scale, "--region", "5,7,20,11")
    assert run_cli("decode", fgs_file, "-o", tmp_path / "part.png", *options) == 0
    assert "  20 x 11  " in capsys.readouterr().out
    whole, part = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("whole", "part"))
    assert np.array_equal(part, whole[7:18, 5:25])


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("1,2,3", "expected four whole numbers X,Y,W,H, got '1,2,3'"),
        ("1,2,3,x", "expected four whole numbers X,Y,W,H, got '1,2,3,x'"),
        ("1,2,0,4", "expected X and Y from 0 on, and W and H from 1 on, got '1,2,0,4'"),
    ],
)
def test_wrong_region(fgs_file, tmp_path, run_cli, error_line, region, message):
    assert run_cli("decode", fgs_file, "-o", tmp_path / "out.png", "--region", region) == 2
    assert error_line() == f"fastgs decode: error: argument --region: {message}"


def test_region_outside_the_image(fgs_file, tmp_path, run_cli, error_line):
    assert run_cli("decode", fgs_file, "-o", tmp_path / "out.png", "--region", "60,0,8,8") == 1
    reason = f"region: 8 x 8 pixels at 60, 0 are not within the image of {WIDTH} x {HEIGHT} pixels"
    assert error_line() == f"fastgs: error: {fgs_file}: {reason}"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_info_tells_what_is_in_a_file(tmp_path, encoded, run_cli, capsys, scheme):
    content, path = encoded[scheme], tmp_path / "photo.fgs"
    path.write_bytes(content)
    assert run_cli("info", path, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    count = len(decode(content))
    expected = {"version": content[3], "scheme": scheme, "width": WIDTH, "height": HEIGHT, "num_gaussians": count}
    expected |= {"bytes": len(content), "bpp": 8 * len(content) / HEIGHT / WIDTH, "blend": decode(content).blend}
    expected |= {"layer_bytes": [len(layer) for layer in read_frame(content).layers]}
    assert {name: facts[name] for name in expected} == expected
    assert sum(facts["bits"].values()) == 8 * len(content) and {"positions", "header"} < set(facts["bits"])

    assert run_cli("info", path) == 0
    facts_lines, table = capsys.readouterr().out.split("\n\n")
    text = dict(line.split(maxsplit=1) for line in facts_lines.splitlines())
    assert (text["scheme"], text["canvas"], text["Gaussians"]) == (scheme, "64 x 48 pixels", str(count))
    rows = [line.split() for line in table.splitlines()[1:]]
    assert [row[0] for row in rows] == [*facts["bits"], "total"]
    assert sum(int(row[1]) for row in rows[:-1]) == int(rows[-1][1]) == len(content)
    assert rows[-1][2:] == ["100.0%", f"{8 * len(content) / count:.2f}"]


def test_info_names_the_model_of_symbols(tmp_path, run_cli, capsys):
    path = tmp_path / "none.fgs"
    for symbols, text in ((None, "models of the file"), (1, "model 1")):
        path.write_bytes(write_frame(Frame("fastgs", 5, 7, [], symbols=symbols)))
        assert run_cli("info", path, "--json") == 0
        assert json.loads(capsys.readouterr().out)["symbols"] == symbols
        assert run_cli("info", path) == 0
        assert f"symbols      {text}\n" in capsys.readouterr().out


def test_file_without_gaussians_is_black(tmp_path, run_cli, capsys):
    (tmp_path / "none.fgs").write_bytes(write_frame(Frame("fastgs", 5, 7, [])))
    assert run_cli("info", tmp_path / "none.fgs") == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["total", "10", "100.0%", "-"]
    assert run_cli("decode", tmp_path / "none.fgs", "-o", tmp_path / "none.png") == 0
    assert not np.asarray(Image.open(tmp_path / "none.png")).any()


def test_progress_bar_is_shown_on_a_terminal(photo_file, tmp_path, run_cli, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert run_cli("encode", photo_file, "-o", tmp_path / "photo.fgs", *QUICK_ENCODE) == 0
    printed = capsys.readouterr()
    assert "iteration" in printed.err and " dB" in printed.err
    assert printed.out.startswith(str(photo_file)) and printed.out.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "option"), [("encode", "--target-psnr"), ("decode", "--partial"), ("info", "--json")]
)
def test_help_names_options(run_cli, capsys, command, option):
    assert run_cli(command, "--help") == 0
    assert option in capsys.readouterr().out


def test_compilation_is_told_on_a_terminal_only(monkeypatch, capsys):
    logger = logging.getLogger("fastgs.runtime.jit")
    for there_is_one, lines in ((True, "fastgs: compiling kernels\n"), (False, "")):
        monkeypatch.setattr(sys.stderr, "isatty", lambda there_is_one=there_is_one: there_is_one)
        with showing_compilation():
            logger.info("compiling kernels")
        logger.info("nobody listens")
        assert capsys.readouterr().err == lines
