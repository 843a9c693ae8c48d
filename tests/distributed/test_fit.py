"""Fit, the function that pipelines map over rows: the same Gaussians as those of Predictor, without Ray."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

import fastgs
from fastgs.distributed import Fit


@pytest.fixture
def fit() -> Fit:
    return Fit(30, 3, seed=2, errors="row")


def test_a_row_gets_the_gaussians_of_its_image(fit, photo_pixels, photo_file):
    wanted = fastgs.Predictor()(photo_pixels, 30, 3, seed=2)
    for image in (photo_pixels, photo_file.read_bytes(), str(photo_file)):
        row = pickle.loads(pickle.dumps(fit))({"image": image, "path": "a.png", "label": 4})
        assert (row["path"], row["label"], row["error"], "image" in row) == ("a.png", 4, "", False)
        assert np.array_equal(row["means"], wanted.gaussians.means.numpy()) and row["psnr"] == wanted.psnr
        assert row["colors"].shape == (30, 3) and (row["height"], row["width"]) == photo_pixels.shape[:2]
        names = ("means", "scales", "rotations", "colors", "height", "width", "blend", "alpha")
        again = fastgs.Gaussians.from_arrays(fastgs.definition.GaussianArrays(**{name: row[name] for name in names}))
        assert fastgs.render(again).shape == (3, *photo_pixels.shape[:2])


def test_an_image_that_cannot_be_used_is_a_row_or_an_error(fit):
    row = fit({"image": b"no image", "path": "bad.png"})
    assert row["error"].startswith("image: is not an image that Pillow can read") and len(row["means"]) == 0
    stream = io.BytesIO()
    Image.new("RGB", (40, 30)).save(stream, "PNG")
    assert fit({"image": stream.getvalue()[:60]})["error"]
    with pytest.raises(ValueError, match="cannot be"):
        Fit(30, 3)({"image": stream.getvalue()[:60]})
    with pytest.raises(KeyError, match="image"):
        fit({"path": "a.png"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_gaussians": 0}, "num_gaussians: must be at least 1"),
        ({"num_gaussians": 9, "iterations": -1}, "iterations: must be at least 0"),
        ({"num_gaussians": 9, "init": "best"}, "init: expected one of"),
        ({"num_gaussians": 9, "loss": "l3"}, "loss: expected one of"),
        ({"num_gaussians": 9, "errors": "ignore"}, "errors: expected one of raise, row"),
        ({"num_gaussians": 9, "colour": 1}, "options: "),
        ({"num_gaussians": "auto"}, "num_gaussians: 'auto' needs a PSNR"),
    ],
)
def test_wrong_arguments_are_found_before_the_pipeline_runs(arguments, message):
    with pytest.raises(ValueError, match=message):
        Fit(**arguments)


def test_ray_that_is_missing_is_one_line(photo_file, out_folder, run_cli, error_line, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    assert run_cli("predict", photo_file, "--engine", "ray", "-o", out_folder) == 2
    line = error_line()
    assert line.startswith("fastgs predict: error: argument --engine: needs Ray (")
    assert line.endswith("; install it by: pip install 'fastgs[ray]'")


@pytest.fixture
def out_folder(tmp_path):
    return tmp_path / "out"
