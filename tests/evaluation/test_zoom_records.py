"""Tests of `fastgs evaluate --zoom`: records, tables, figures and wrong usage."""

import pytest
import torch
from evaluating import load, repeatable, run, tables
from networks import disturbed
from PIL import Image
from skimage import data

from fastgs.evaluation.zoom.records import ZoomRecord
from fastgs.models import ZoomNetwork
from fastgs.models.zoom import save_zoom


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(data.coffee()).save(tmp_path / "coffee.png")
    return tmp_path / "coffee.png"


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_zoom(tmp_path / "sharp", disturbed(ZoomNetwork(width=6, blocks=1), size=0.02), {})
    return tmp_path / "sharp"


def test_every_way_and_factor_is_measured_once(photo, weights, tmp_path, capsys):
    output = tmp_path / "records.json"
    grid = [photo, "--zoom", "2,3", "--zoom-weights", weights, "-k", 400, "--iterations", 20, "--size", 96]
    assert run("evaluate", *grid, "--output", output, "--pictures", tmp_path / "pictures") == 0
    records = load(output)
    assert len(records) == 10 and all(record["width"] == record["height"] == 96 for record in records)
    by_way = {(record["enlarger"], record["zoom"]): record for record in records}
    bicubic, lanczos, zoomed = (by_way[name, 2.0]["psnr"] for name in ("bicubic", "lanczos", "fit-zoom"))
    assert bicubic < lanczos < by_way["lanczos", 2.0]["psnr"] + 1 and zoomed > bicubic - 1
    assert by_way["fit-zoom", 2.0]["psnr_small"] > by_way["fit", 2.0]["psnr_small"]
    assert by_way[str(weights), 3.0]["weights"] and not by_way["fit", 3.0]["weights"]
    assert len(list((tmp_path / "pictures").iterdir())) == 11

    # Again: nothing is left to do; without the network, another file has the same records.
    capsys.readouterr()
    assert run("evaluate", *grid, "--output", output, "--pictures", tmp_path / "pictures") == 0
    assert capsys.readouterr().out == "" and repeatable(load(output), ZoomRecord) == repeatable(records, ZoomRecord)

    assert run("table", output, "--output", tmp_path / "table") == 0
    cells, *_ = tables((tmp_path / "table" / "table.md").read_text(encoding="utf-8"))
    assert cells["enlarged by"] == ["x2", "x3"] and cells["bicubic"][0] == f"{bicubic:.2f}"
    assert f"{weights}, K = 400, 20 iterations" in cells
    with Image.open(tmp_path / "table" / "details.png") as figure:
        assert figure.width > figure.height > 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--zoom", "0.5"], "argument --zoom: must be from 1 to 16, got 0.5"),
        (["--zoom", "2", "--bpp", "1"], "argument --bpp: not allowed with argument --zoom"),
        (["--zoom", "2", "--seconds", "1"], "argument --seconds: not allowed with argument --zoom"),
        (["--zoom", "2", "-k", "0"], "argument --num-gaussians: must be at least 1, got 0"),
        (["--codec", "webp", "--bpp", "1", "--zoom-weights", "x"], "--zoom-weights: not allowed without"),
        (["--zoom", "2", "--zoom-weights", "nothing"], "argument --zoom-weights: nothing: no such weights"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(photo, tmp_path, capsys, options, message):
    assert run("evaluate", photo, *options, "--output", tmp_path / "records.json") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
