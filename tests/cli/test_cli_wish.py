"""`fastgs predict --num-gaussians auto`: as many Gaussians as a PSNR takes."""

import numpy as np
import pytest
from cli_data import read_report
from PIL import Image
from skimage import data

import fastgs

WISH = ("-k", "auto", "--target-psnr", 27, "--iterations", 40)


def test_report_and_line_have_the_number_that_was_found(photo_file, out, predict, capsys):
    assert predict(photo_file, *WISH, "--output", out) == 0
    (record,) = read_report(out)
    gaussians = fastgs.Gaussians.load(out / "photo.safetensors")
    assert record["num_gaussians"] == len(gaussians) and record["target_psnr"] == 27
    assert record["num_gaussians_first"] >= 1 and abs(record["psnr"] - 27) <= abs(record["psnr_first"] - 27)
    assert record["iterations"] == record["history"][-1][0] >= 40
    printed = capsys.readouterr()
    assert f"  {record['psnr']:.2f} dB  {len(gaussians)} Gaussians  " in printed.out and printed.err == ""


def test_report_of_a_given_number_has_no_wish(photo_file, out, predict):
    assert predict(photo_file, "-k", 50, "--iterations", 3, "--output", out) == 0
    (record,) = read_report(out)
    assert "target_psnr" not in record and "num_gaussians_first" not in record


def test_result_is_that_of_python(photo_file, out, predict):
    assert predict(photo_file, *WISH, "--seed", 2, "--output", out) == 0
    (record,) = read_report(out)
    result = fastgs.Predictor()(photo_file, "auto", 40, target_psnr=27, seed=2)
    assert (record["num_gaussians"], record["psnr"]) == (len(result.gaussians), result.psnr)


@pytest.mark.slow
def test_workers_and_kinds_of_pictures(tmp_path, out, predict):
    photo = data.coffee()[:48, :64]
    Image.fromarray(photo).save(tmp_path / "rgb.png")
    Image.fromarray(photo[..., 0]).save(tmp_path / "gray.png")
    alpha = np.where(np.indices((48, 64))[1] < 40, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([photo, alpha])).save(tmp_path / "rgba.png")
    files = [tmp_path / name for name in ("rgb.png", "gray.png", "rgba.png")]
    assert predict(*files, *WISH, "--workers", 2, "--output", out / "two") == 0
    assert predict(*files, *WISH, "--workers", 1, "--output", out / "one") == 0
    two, one = (sorted(read_report(out / name), key=lambda each: each["image"]) for name in ("two", "one"))
    assert [each["num_gaussians"] for each in two] == [each["num_gaussians"] for each in one]
    assert [each["channels"] for each in two] == [1, 3, 4]


def test_stack(tmp_path, out, predict):
    for number in range(2):
        Image.fromarray(data.coffee()[:40, 50 * number : 50 * number + 40]).save(tmp_path / f"{number}.png")
    assert predict(tmp_path / "0.png", tmp_path / "1.png", "--stack", *WISH, "--output", out) == 0
    (record,) = read_report(out)
    assert record["channels"] == 6 and record["target_psnr"] == 27


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-k", "auto"), "argument --num-gaussians: 'auto' needs a PSNR to reach"),
        (("-k", "auto", "--target-psnr", 30, "--seconds", 1), "argument --seconds: not with num_gaussians 'auto'"),
        (("-k", "auto", "--target-psnr", 30, "--iterations", 3), "argument --iterations: must be at least 20 with"),
    ],
)
def test_wrong_options(options, message, photo_file, out, predict, capsys):
    assert predict(photo_file, *options, "--output", out) == 2 and message in capsys.readouterr().err
