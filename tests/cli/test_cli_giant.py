"""`fastgs predict --tile` and `fastgs decode` of large pictures, by the command line."""

import errno
import os
import signal
import sys

import numpy as np
import pytest
import tifffile
from cli_data import read_report
from PIL import Image
from processes import python, start, wait_until
from skimage import data

import fastgs
from fastgs.cli import tiling
from fastgs.gaussians import Gaussians
from fastgs.io.files import exclusive

TILED = ("--tile", 128, "-k", 600, "--iterations", 5)


@pytest.fixture
def picture(tmp_path):
    """Return the path of a photo of a cat as TIFF in tiles, map.tif."""
    path = tmp_path / "map.tif"
    cat = np.ascontiguousarray(data.chelsea()[:200, :300])
    tifffile.imwrite(path, cat, tile=(64, 64), compression="adobe_deflate", photometric="rgb")
    return path


def test_predict_writes_tiles_as_one_picture(picture, out, predict, names, capsys):
    assert predict(picture, *TILED, "--pyramid", "-o", out) == 0
    assert names(out) == ["map.safetensors", "map.tif", "report.json"]
    (record,) = read_report(out)
    expected = {"image": str(picture), "height": 200, "width": 300, "tile": 128, "tiles": 6, "tiles_resumed": 0}
    expected |= {"num_gaussians": 600, "iterations": 5, "init": "curvature", "seed": 0, "channels": 3, "ms_ssim": None}
    assert {name: record[name] for name in expected} == expected
    assert record["psnr_init"] == record["history"][0][2] < record["psnr"] == record["history"][-1][2]
    assert record["psnr_borders"] > record["psnr"] - 2 and record["seconds_fit"] > 0
    printed = capsys.readouterr()
    begin = f"{picture} -> {out / 'map.tif'}  {record['psnr']:.2f} dB  600 Gaussians  6 tiles  "
    assert printed.out.startswith(begin) and printed.out.count("\n") == 1
    with tifffile.TiffFile(out / "map.tif") as file:
        assert [level.shape for level in file.series[0].levels] == [(200, 300, 3), (100, 150, 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--tile 7", "argument --tile: must be at least 128, got 7"),
        ("--tile 99999", "argument --tile: must be at most 65,535, got 99999"),
        ("--tile 512 --size 100", "argument --tile: not allowed with argument --size"),
        ("--tile 512 --stack", "argument --tile: not allowed with argument --stack"),
        ("--tile 512 --seconds 3", "argument --tile: not allowed with argument --seconds"),
        ("--tile 512 -k auto --target-psnr 30", "argument --tile: not allowed with argument --target-psnr"),
        (
            "--tile 512 --init grid",
            "argument --init: expected one of curvature, gradient for a fit in tiles, got 'grid'",
        ),
        ("--pyramid", "argument --pyramid: is for --tile"),
    ],
)
def test_options_that_make_no_sense_are_one_line(picture, out, predict, error_line, options, message):
    assert predict(picture, "-o", out, *options.split()) == 2
    assert error_line() == f"fastgs predict: error: {message}" and not out.exists()


def test_damaged_files_are_one_line_each(picture, out, predict, capsys, names):
    content = picture.read_bytes()
    for name, data_of_file in {"cut.tif": content[: len(content) // 2], "text.tif": b"II*\0 no picture"}.items():
        (picture.parent / name).write_bytes(data_of_file)
    paths = [picture.parent / name for name in ("cut.tif", "text.tif", "none.tif")]
    assert predict(*paths, *TILED, "-o", out) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2].split("/")[-1] for line in lines] == ["cut.tif", "text.tif", "none.tif"]
    assert "truncated" in lines[0] and "no such file" in lines[2]
    assert names(out) in ([], ["jobs.jsonl"])  # the journal of the run, and no picture


def test_a_full_disk_loses_nothing(picture, out, predict, monkeypatch, capsys, names):
    save, left = Gaussians.save, [7]  # of two files for each tile

    def run_full(self, path):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path)

    monkeypatch.setattr(Gaussians, "save", run_full)
    assert predict(picture, *TILED, "-o", out) == 1
    said = f"fastgs: error: {picture}: cannot be written (No space left on device; the tiles in {out / 'map.tiles'} are"
    assert said in capsys.readouterr().err
    monkeypatch.setattr(Gaussians, "save", save)
    assert predict(picture, *TILED, "-o", out) == 0
    assert read_report(out)[0]["tiles_resumed"] == 3
    assert ", 3 of an earlier run" in capsys.readouterr().out and names(out)[:2] == ["map.safetensors", "map.tif"]


def test_a_picture_that_would_not_fit_is_fitted_in_tiles(picture, out, predict, monkeypatch, capsys, names):
    monkeypatch.setattr(tiling, "available_memory", lambda: 4 * 10**8)
    assert predict(picture, "-k", 100, "--iterations", 2, "-o", out) == 0
    said = f"fastgs: {picture}: a fit of all 300 x 200 pixels takes about 0.6 GB, of 0.4 GB; it is done in tiles of 512"
    assert said in capsys.readouterr().err
    assert "map.tif" in names(out) and read_report(out)[0]["tiles"] == 1
    # What only whole fits can do is tried whole, as before.
    assert predict(picture, "-k", 100, "--iterations", 2, "--size", 64, "-o", out) == 0
    monkeypatch.setattr(tiling, "available_memory", lambda: 10**12)
    assert predict(picture, "-k", 100, "--iterations", 2, "-o", out) == 0
    assert "map.png" in names(out) and capsys.readouterr().err == ""


def test_more_pixels_than_pillow_allows_are_fitted_in_tiles(picture, out, predict, monkeypatch, capsys):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 45_000)
    assert predict(picture, "-k", 100, "--iterations", 2, "-o", out) == 0
    assert "it is done in tiles of 2048 (--tile)" in capsys.readouterr().err
    photo = picture.with_suffix(".png")
    Image.fromarray(tifffile.imread(picture)).save(photo)
    assert predict(photo, "-k", 100, "--iterations", 2, "-o", out) == 1
    reason = "has 300 x 200 pixels, which are not decoded whole without being asked; --tile 2048 fits it in tiles"
    assert f"fastgs: error: {photo}: {reason}" in capsys.readouterr().err
    assert predict(photo, *TILED, "-o", out) == 0


def test_a_second_run_on_the_same_tiles_is_refused(picture, out, predict, names, capsys):
    folder = out / "map.tiles"
    folder.mkdir(parents=True)
    with exclusive(folder) as is_free:
        assert is_free and predict(picture, *TILED, "-o", out) == 1
    reason = f"another run is at work on its tiles in {folder}; wait for its end, or choose another --output"
    assert capsys.readouterr().err == f"fastgs: error: {picture}: {reason}\n"
    assert predict(picture, *TILED, "-o", out) == 0
    assert names(out) == ["map.safetensors", "map.tif", "report.json"]


def test_an_output_never_overwrites_the_picture(picture, predict, error_line):
    before = picture.read_bytes()
    assert predict(picture, *TILED, "-o", picture.parent) == 1
    assert "would overwrite the input" in error_line() and picture.read_bytes() == before


def test_decode_draws_gaussians_of_predict_in_strips(picture, out, predict, run_cli, names, capsys):
    assert predict(picture, *TILED, "-o", out) == 0
    gaussians = out / "map.safetensors"
    rendered = fastgs.render(Gaussians.load(gaussians)).clamp(0, 1).mul(255).permute(1, 2, 0).numpy()
    capsys.readouterr()
    assert run_cli("decode", gaussians, "-o", out / "a.tif", "--pyramid") == 0
    assert capsys.readouterr().out.startswith(f"{gaussians} -> {out / 'a.tif'}  300 x 200  600 Gaussians  ")
    with tifffile.TiffFile(out / "a.tif") as file:
        assert np.abs(file.asarray() - rendered).max() < 0.51 and len(file.series[0].levels) == 2
    assert run_cli("decode", gaussians, "-o", out / "b.png") == 0
    assert run_cli("decode", gaussians, "-o", out / "c.tif", "--pyramid", "--scale", 0.5, "--bits", 16) == 0
    assert tifffile.imread(out / "c.tif").shape == (100, 150, 3)
    (out / "all").mkdir()
    assert run_cli("decode", gaussians, gaussians, "-o", out / "all", "--pyramid") == 1  # the same output twice
    assert names(out / "all") == ["map.tif"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("-o", "a.png", "--pyramid"), 1, "--pyramid is for TIFF; name the output FILE.tif"),
        (("-o", "a.tif", "--pyramid", "--region", "0,0,5,5"), 2, "not allowed with argument --region"),
        (("-o", "a.png", "--bytes", "20"), 1, "is no .fgs file, which --partial and --bytes are for"),
        (("-o", "a.tif", "--scale", "1000"), 1, "gives more than 65,535 pixels a side; choose a smaller --scale"),
    ],
)
def test_decode_of_large_pictures_is_checked(tmp_path, random_gaussians, run_cli, error_line, options, code, message):
    random_gaussians(50, 100, 200).save(tmp_path / "a.safetensors")
    output, *rest = options[1:]
    assert run_cli("decode", tmp_path / "a.safetensors", "-o", tmp_path / output, *rest) == code
    assert message in error_line() and not (tmp_path / output).exists()


def test_decode_draws_a_giant_canvas_in_parts(tmp_path, random_gaussians, run_cli):
    """A canvas that no image may be as large as: a region of it, and a small picture of all."""
    near = random_gaussians(200, 40, 50)
    far = fastgs.Gaussians(near.means + 30_000, near.scales, near.rotations, near.colors, height=30_100, width=30_200)
    far.save(tmp_path / "far.safetensors")
    command = ("decode", tmp_path / "far.safetensors", "-o")
    assert run_cli(*command, tmp_path / "part.tif", "--region", "30000,30000,50,40") == 0
    rendered = fastgs.render(near).clamp(0, 1).mul(255).permute(1, 2, 0).numpy()
    assert np.abs(tifffile.imread(tmp_path / "part.tif") - rendered).max() < 0.6 + 255 / 200  # positions are rounded


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs the peak memory of a process")
def test_a_large_picture_survives_kill_9_in_little_memory(tmp_path):
    """The whole fit of 9 megapixels would take 2.4 GB."""
    cat = np.tile(data.chelsea(), (10, 7, 1))[:3000, :3000]
    tifffile.imwrite(tmp_path / "map.tif", cat, tile=(256, 256), compression="adobe_deflate", photometric="rgb")
    out = tmp_path / "out"
    command = (
        "-m",
        "fastgs",
        "predict",
        tmp_path / "map.tif",
        "-k",
        9000,
        "--iterations",
        10,
        "--tile",
        1024,
        "-o",
        out,
    )
    process = start(*command)
    wait_until(lambda: (out / "map.tiles" / "tile-000003.safetensors").exists() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (out / "map.tif").exists()
    measured = "import resource, sys; from fastgs.cli.main import main; code = main(); "
    measured += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    done = python("-c", measured, *command[2:])
    assert done.returncode == 0, done.stderr
    (record,) = read_report(out)
    assert record["tiles"] == 9 and 3 < record["tiles_resumed"] < 9 and record["num_gaussians"] == 9000
    assert record["psnr_borders"] > record["psnr_inside"] - 0.5
    assert int(done.stdout.splitlines()[-1]) < 1.6e6  # kilobytes
