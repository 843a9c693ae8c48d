"""Fits in tiles: no seams, exact numbers of Gaussians, kinds of pictures, and runs that are ended and go on."""

import dataclasses
import os

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import fastgs
from fastgs.giant import GiantOptions, fit_giant
from fastgs.giant.output import Comparing
from fastgs.giant.plan import Plan, measure
from fastgs.giant.source import Kind, open_source
from fastgs.giant.tiles import Tiles
from fastgs.initializers import curvature, gradient
from fastgs.io.pixels import ImageError
from fastgs.io.window import Window

OPTIONS = GiantOptions(num_gaussians=1500, tile=128, iterations=20)


class StopError(Exception):
    """End of a run, at a place that a test chooses."""


def load(path):
    return torch.from_numpy(tifffile.imread(path)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("init", ["curvature", "gradient"])
def test_gaussians_are_shared_out_as_the_initializer_does(picture, init):
    options = dataclasses.replace(OPTIONS, init=init)
    image = load(picture)
    whole = curvature.density(image, 1500) if init == "curvature" else gradient.density(image)
    with open_source(picture) as source:
        plan = measure(source, options, lambda share, state: None)
    assert (plan.count, plan.columns, plan.kind) == (12, 4, Kind(3))
    masses = [plan.mass(index) for index in range(plan.count)]
    assert sum(masses) == pytest.approx(1, abs=1e-6)
    for index, mass in enumerate(masses):
        top, left, height, width = plan.core(index)
        assert mass == pytest.approx(whole[top : top + height, left : left + width].sum().item(), rel=1e-4)
    np.testing.assert_allclose(plan.density(image, init).numpy(), whole.numpy(), rtol=1e-4)


def test_gaussians_go_where_the_detail_of_the_whole_picture_is(picture, out, mosaic):
    flat = mosaic.copy()
    flat[:, :210] = 90
    tifffile.imwrite(picture, flat, tile=(64, 64), photometric="rgb")
    means = fit_giant(picture, out, OPTIONS).gaussians.means
    assert (means[:, 0] > 205).float().mean() > 0.85


def test_windows_of_a_plan_cover_the_picture():
    plan = Plan(300, 420, 128, 1500, Kind(3), 1.0, 0.05, [1.0] * 12)
    assert plan.halo == 55  # six spacings
    assert plan.core(0) == Window(0, 0, 128, 128) and plan.core(11) == Window(256, 384, 44, 36)
    assert plan.window(0) == Window(0, 0, 183, 183) and plan.window(5) == Window(73, 73, 227, 238)
    means = torch.tensor([[0.0, 0.0], [-3.0, 900.0], [128.0, 127.9], [419.0, 299.0]])
    assert plan.tile_of(means).tolist() == [0, 8, 1, 11]


def test_tiles_give_one_file_without_seams(picture, out, names):
    """The pixels near borders of tiles are as good as they are where all is fitted at once."""
    shares = []
    result = fit_giant(picture, out, OPTIONS, progress=lambda share, state: shares.append(share))
    assert names(out) == ["map.safetensors", "map.tif"] and shares == sorted(shares)
    gaussians = fastgs.Gaussians.load(out / "map.safetensors")
    assert (len(gaussians), gaussians.height, gaussians.width) == (1500, 300, 420)
    image, drawn = load(picture), load(out / "map.tif")
    rendered = fastgs.render(gaussians).clamp(0, 1)
    torch.testing.assert_close(drawn, rendered, rtol=0, atol=0.51 / 255)
    error = (rendered - image).square().mean().item()
    assert result.comparison.psnr == pytest.approx(-10 * np.log10(error), abs=0.01)

    whole = fit_giant(picture, out, dataclasses.replace(OPTIONS, tile=512))
    assert whole.plan.count == 1 and whole.comparison.psnr_borders is None
    comparing = Comparing(result.plan)
    comparing.add(0, fastgs.render(whole.gaussians).numpy(), image.numpy())
    wanted = comparing.result()
    assert result.comparison.psnr_borders > wanted.psnr_borders - 0.3
    assert result.comparison.psnr_inside > wanted.psnr_inside - 0.3
    assert result.psnr_init < result.comparison.psnr - 5


@pytest.mark.parametrize(
    ("count", "blend", "loss"), [(1, "normalized", "mse"), (37, "sum", "l1"), (5000, "sum", "mse")]
)
def test_number_of_gaussians_is_exact(picture, out, count, blend, loss):
    options = dataclasses.replace(OPTIONS, num_gaussians=count, blend=blend, loss=loss, iterations=2)
    result = fit_giant(picture, out, options)
    assert len(result.gaussians) == count and result.gaussians.blend == blend


def test_relocation_works_in_tiles(picture, out):
    result = fit_giant(picture, out, dataclasses.replace(OPTIONS, iterations=70))
    assert len(result.gaussians) == 1500 and result.comparison.psnr > 27


def test_transparency_of_one_corner_is_kept(mosaic, out, tmp_path):
    alpha = np.full(mosaic.shape[:2], 255, np.uint8)
    alpha[250:, 330:] = 0
    Image.fromarray(np.dstack([mosaic, alpha])).save(tmp_path / "logo.png")
    result = fit_giant(tmp_path / "logo.png", out, OPTIONS)
    assert result.gaussians.alpha and result.gaussians.channels == 4
    drawn = tifffile.imread(out / "logo.tif")
    assert drawn.shape == (300, 420, 4) and drawn[:200, :, 3].min() > 200 and drawn[270:, 350:, 3].max() < 60
    composited = dataclasses.replace(OPTIONS, background=(255, 255, 255))
    assert fit_giant(tmp_path / "logo.png", out, composited).gaussians.channels == 3


def test_gray_and_deep_pictures_are_fitted(mosaic, out, tmp_path):
    tifffile.imwrite(tmp_path / "gray.tif", mosaic[..., 1].astype(np.uint16) * 257, rowsperstrip=16)
    result = fit_giant(tmp_path / "gray.tif", out, OPTIONS, bits=16, pyramid=True)
    assert result.gaussians.channels == 1
    with tifffile.TiffFile(out / "gray.tif") as file:
        assert [level.shape for level in file.series[0].levels] == [(300, 420), (150, 210)]
        assert file.pages[0].dtype == np.uint16


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.full((20, 30, 3), 2.5, np.float32), {"photometric": "rgb"}, "has high dynamic range, which is not fitted"),
        (np.zeros((20, 30, 7), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}, "has 7 channels"),
        (np.zeros((2, 70_000), np.uint8), {}, "has 70000 x 2 pixels; a side is at most 65,535"),
    ],
)
def test_pictures_that_cannot_be_in_tiles_are_one_line(out, tmp_path, names, values, options, message):
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    with pytest.raises(ImageError, match=message) as error:
        fit_giant(tmp_path / "a.tif", out, OPTIONS)
    assert str(error.value).startswith(f"{tmp_path / 'a.tif'}: ") and names(out) == []


def stop_after(count):
    """Return a progress that ends the run when so many tiles are done."""

    def progress(share, state):
        if state.startswith(f"tile {count + 1} of") and "iteration 10" in state:
            raise StopError

    return progress


def test_a_run_that_was_ended_goes_on_with_the_same_result(picture, out, names):
    fit_giant(picture, out, OPTIONS)
    whole = (out / "map.safetensors").read_bytes(), (out / "map.tif").read_bytes()
    for name in names(out):
        (out / name).unlink()
    for count in (0, 2, 7):
        with pytest.raises(StopError):
            fit_giant(picture, out, OPTIONS, progress=stop_after(count))
        assert names(out) == ["map.tiles"]
    os.utime(picture)  # a new time alone is no change
    result = fit_giant(picture, out, OPTIONS)
    assert result.resumed == 7 and result.comparison.psnr > 0
    assert whole == ((out / "map.safetensors").read_bytes(), (out / "map.tif").read_bytes())
    assert names(out) == ["map.safetensors", "map.tif"]


def test_tiles_of_another_picture_or_other_options_are_not_taken(picture, out, mosaic, names):
    with pytest.raises(StopError):
        fit_giant(picture, out, OPTIONS, progress=stop_after(2))
    kept = names(out / "map.tiles")
    other = dataclasses.replace(OPTIONS, num_gaussians=1600, seed=3)
    with pytest.raises(ImageError, match="num_gaussians 1500 instead of 1600, seed 0 instead of 3; give the same"):
        fit_giant(picture, out, other)
    before = picture.read_bytes()
    changed = mosaic.copy()
    changed[0, 0] = 7
    tifffile.imwrite(picture, changed, tile=(64, 64), photometric="rgb")
    with pytest.raises(ImageError, match=r"map\.tif: has changed since its tiles in .* were fitted; bring the old one"):
        fit_giant(picture, out, OPTIONS)
    (out / "map.tiles" / "plan.json").write_bytes(b"{}")
    with pytest.raises(ImageError, match=r"plan\.json cannot be read .*; delete .*map\.tiles to begin anew"):
        fit_giant(picture, out, OPTIONS)
    assert names(out / "map.tiles") == kept and before != picture.read_bytes()


def test_a_picture_that_changes_while_it_is_read_is_one_line(picture, out):
    def change(share, state):
        if state.startswith("tile 3"):
            picture.write_bytes(b"II*\0 something else")

    with pytest.raises(ImageError, match=r"map\.tif: has changed while it was read"):
        fit_giant(picture, out, OPTIONS, progress=change)


def test_a_tile_that_was_not_written_whole_is_fitted_again(picture, out):
    with pytest.raises(StopError):
        fit_giant(picture, out, OPTIONS, progress=stop_after(3))
    (out / "map.tiles" / "tile-000002.safetensors").unlink()
    with open_source(picture) as source:
        plan = measure(source, OPTIONS, lambda share, state: None)
    assert len(Tiles(plan, OPTIONS, out / "map.tiles").records) == 2
    assert fit_giant(picture, out, OPTIONS).resumed == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile": 7}, "tile: must be at least 128, got 7"),
        ({"tile": 10**6}, "tile: must be at most 65,535, got 1000000"),
        ({"init": "grid"}, "init: expected one of curvature, gradient for a fit in tiles, got 'grid'"),
        ({"num_gaussians": 0}, "num_gaussians: must be at least 1, got 0"),
        ({"loss": "l9"}, "loss: expected one of"),
    ],
)
def test_options_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OPTIONS, **changes)
