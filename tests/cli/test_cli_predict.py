"""`fastgs predict`: what it writes, reports and prints."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_data import HEIGHT, QUICK, WIDTH, read_report
from networks import disturbed, initializer
from PIL import Image
from skimage import data

import fastgs
from fastgs.models import ZoomNetwork
from fastgs.models.pretrained import save_weights
from fastgs.models.zoom import save_zoom


def test_predict_writes_files_and_report(photo_file, out, predict, names, capsys):
    options = ("-k", 150, "--iterations", 12, "--seed", 5, "--init", "gradient")
    assert predict(photo_file, *options, "--output", out) == 0
    assert names(out) == ["photo.png", "photo.safetensors", "report.json"]
    gaussians = fastgs.Gaussians.load(out / "photo.safetensors")
    assert (len(gaussians), gaussians.height, gaussians.width) == (150, HEIGHT, WIDTH)
    rendered = fastgs.render(gaussians).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(Image.open(out / "photo.png")), rendered)

    (record,) = read_report(out)
    expected = {"image": str(photo_file), "height": HEIGHT, "width": WIDTH, "num_gaussians": 150, "iterations": 12}
    expected |= {"init": "gradient", "weights": None, "seed": 5, "blend": "normalized", "loss": "mse", "ms_ssim": None}
    assert {name: record[name] for name in expected} == expected
    assert [entry[0] for entry in record["history"]] == [0, 10, 12]
    assert record["psnr_init"] == record["history"][0][2] < record["psnr"] == record["history"][-1][2]
    assert record["seconds_init"] > 0 and record["seconds_fit"] == record["history"][-1][1]

    printed = capsys.readouterr()
    assert printed.out.startswith(f"{photo_file} -> {out / 'photo.png'}  {record['psnr']:.2f} dB  150 Gaussians  ")
    assert printed.out.count("\n") == 1 and printed.err == ""


def test_size_crops_the_image_and_ms_ssim_is_measured(tmp_path, out, predict):
    Image.fromarray(data.coffee()).save(tmp_path / "coffee.jpg")
    assert predict(tmp_path / "coffee.jpg", *QUICK, "--size", 180, "--output", out) == 0
    (record,) = read_report(out)
    assert (record["height"], record["width"]) == (180, 180) and 0 < record["ms_ssim"] < 1


def test_plots_writes_a_figure(photo_file, out, predict, names):
    assert predict(photo_file, *QUICK, "--plots", "--output", out) == 0
    assert names(out) == ["photo-plots.png", "photo.png", "photo.safetensors", "report.json"]
    with Image.open(out / "photo-plots.png") as figure:
        assert figure.width > 1500 and np.asarray(figure.convert("L")).std() > 20


def test_fit_stops_at_time_limit_or_target_psnr(photo_file, out, predict):
    assert predict(photo_file, "-k", 100, "--seconds", 0.3, "--output", out) == 0
    assert read_report(out)[0]["iterations"] > 0 and 0.3 <= read_report(out)[0]["seconds_fit"] < 3
    goal = read_report(out)[0]["psnr_init"] + 1
    assert predict(photo_file, "-k", 100, "--target-psnr", goal, "--output", out) == 0
    assert read_report(out)[0]["psnr"] >= goal and read_report(out)[0]["iterations"] < 200


def test_learned_initializer_takes_weights_by_path_or_name(photo_file, out, predict, monkeypatch):
    folder = photo_file.parent
    for name in ("base", "other"):
        save_weights(folder / name, initializer(), {})
    assert predict(photo_file, *QUICK, "--weights", folder / "other", "--output", out) == 0
    (record,) = read_report(out)
    assert (record["init"], record["weights"]) == ("learned", str(folder / "other"))
    assert record["num_gaussians"] == 120 and np.isfinite(record["psnr_init"])
    monkeypatch.setattr("fastgs.io.weights.CHECKPOINTS", folder)
    assert predict(photo_file, *QUICK, "--init", "learned", "--output", out) == 0
    (again,) = read_report(out)
    assert (again["init"], again["weights"], again["psnr"]) == ("learned", "base", record["psnr"])


def test_damaged_weights_are_reported(photo_file, out, predict, monkeypatch, error_line):
    folder = photo_file.parent
    save_weights(folder / "base", initializer(), {})
    (folder / "base.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("fastgs.io.weights.CHECKPOINTS", folder)
    assert predict(photo_file, *QUICK, "--init", "learned", "--output", out) == 2
    message = f"fastgs predict: error: argument --init: {folder / 'base.json'}: describes no weights"
    assert error_line().startswith(message) and not out.exists()


def test_folders_and_files_are_read(photo_file, photo_pixels, out, predict, capsys):
    folder = photo_file.parent / "album"
    folder.mkdir()
    Image.fromarray(photo_pixels).save(folder / "b.JPG")
    Image.fromarray(photo_pixels).save(folder / "a.webp")
    (folder / "notes.txt").write_text("not an image", encoding="utf-8")
    assert predict(folder, photo_file, *QUICK, "--output", out) == 0
    assert [Path(record["image"]).name for record in read_report(out)] == ["a.webp", "b.JPG", "photo.png"]
    assert capsys.readouterr().out.count("\n") == 3


def test_images_of_16_bits_are_read(tmp_path, out, predict):
    gray = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    Image.fromarray(gray).save(tmp_path / "deep.png")
    options = ("-k", 120, "--iterations", 0, "--init", "grid")
    assert predict(tmp_path / "deep.png", *options, "--output", out) == 0
    assert read_report(out)[0]["psnr"] > 30


@pytest.mark.parametrize(("background", "color"), [("white", 255), ("0,0,0", 0), ("#808080", 128)])
def test_background_lies_behind_transparent_pixels(tmp_path, out, predict, background, color):
    Image.fromarray(np.zeros((20, 30, 4), np.uint8)).save(tmp_path / "clear.png")
    options = ("-k", 120, "--iterations", 0, "--init", "grid", "--background", background)
    assert predict(tmp_path / "clear.png", *options, "--output", out) == 0
    # The image is flat, so that the initial Gaussians are nearly right already.
    assert abs(np.asarray(Image.open(out / "clear.png")).mean() - color) < 3


@pytest.mark.parametrize("blend", ["normalized", "sum"])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_blend_and_backend_are_used(photo_file, out, predict, blend, backend):
    assert predict(photo_file, *QUICK, "--blend", blend, "--backend", backend, "--output", out) == 0
    assert fastgs.Gaussians.load(out / "photo.safetensors").blend == blend


def test_progress_bar_is_shown_on_a_terminal(photo_file, out, predict, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert predict(photo_file, "-k", 100, "--iterations", 20, "--output", out) == 0
    printed = capsys.readouterr()
    assert "iteration" in printed.err and " dB" in printed.err
    assert printed.out.startswith(str(photo_file)) and printed.out.count("\n") == 1


def test_help_and_version(run_cli, capsys):
    assert run_cli("--version") == 0
    assert capsys.readouterr().out.startswith("fastgs ")
    assert run_cli("predict", "--help") == 0
    printed = capsys.readouterr().out
    assert "--num-gaussians" in printed and "random, nearest, learned" in " ".join(printed.split())


def test_zoom_writes_the_enlarged_picture(photo_file, out, predict, capsys, error_line):
    torch.manual_seed(0)
    save_zoom(photo_file.parent / "sharp", disturbed(ZoomNetwork(width=6, blocks=1), size=0.02), {})
    for weights in (str(photo_file.parent / "sharp"), "none"):
        assert predict(photo_file, *QUICK, "--zoom", 1.5, "--zoom-weights", weights, "--output", out) == 0
        (record,) = read_report(out)
        height, width = round(1.5 * HEIGHT), round(1.5 * WIDTH)
        assert (record["height"], record["width"]) == (height, width) and record["psnr_small"] > 15
        assert record["zoom_weights"] == (None if weights == "none" else weights)
        assert record["zoom"] == pytest.approx(1.5, abs=0.05)
        with Image.open(out / "photo.png") as picture:
            assert picture.size == (width, height)
        line = capsys.readouterr().out
        assert f"{width} x {height}, {record['psnr_small']:.2f} dB when reduced" in line
    assert predict(photo_file, *QUICK, "--zoom-weights", "none", "--output", out) == 2
    assert "argument --zoom-weights: is for --zoom; give the factor" in error_line()
    assert predict(photo_file, *QUICK, "--zoom", 0, "--output", out) == 2
    assert "argument --zoom: must be from 1 to 16, got 0" in error_line()
