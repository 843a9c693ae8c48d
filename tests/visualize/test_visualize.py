"""Tests of the figure of a fit and of plain pictures: panels, ellipses, files, and no need for a display."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from PIL import Image

from fastgs.gaussians import Gaussians
from fastgs.visualize import centres_image, density_image, error_image, figure, save_figure, strip
from fastgs.visualize.figure import MAX_ELLIPSES

HEIGHT, WIDTH = 24, 36


def bright_gaussians(count: int, height: int = HEIGHT, width: int = WIDTH) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    scales = 0.5 + torch.rand(count, 2, generator=generator)
    colors = 1.4 * torch.rand(count, 3, generator=generator) - 0.2  # beyond [0, 1], as after a fit
    return Gaussians(means, scales, torch.zeros(count), colors, height, width)


@pytest.fixture
def target() -> torch.Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def panel_titles(drawing) -> list[str]:
    return [axes.get_title("left") for axes in drawing.axes]


def test_figure_has_the_panels_of_its_arguments(target):
    gaussians = bright_gaussians(50)
    image = (target + 0.1).clamp(0, 1).requires_grad_()
    history = [(0, 0.5, 20.0), (10, 1.0, 25.0)]
    full = panel_titles(figure(target, image, gaussians, gaussians, history))
    assert [title.split(",")[0] for title in full] == [
        "Input",
        "Density of centres",
        "Sampled centres",
        "Gaussians at 1σ",
        "Reconstruction",
        "Absolute error",
        "PSNR in dB over iterations and seconds",
    ]
    assert full[0] == "Input, 36 × 24" and full[4].startswith("Reconstruction, K = 50, 2") and full[4].endswith(" dB")
    assert len(panel_titles(figure(target, image, gaussians))) == 4
    assert len(panel_titles(figure(target, image, gaussians, history=history[:1]))) == 5
    assert len(panel_titles(figure(target, image, bright_gaussians(0), bright_gaussians(0)))) == 5


def test_figure_draws_ellipses_rotated_from_x_towards_y_down():
    red, canvas = torch.tensor([[1.0, 0, 0]]), torch.ones(3, 64, 64)
    one = Gaussians(torch.tensor([[32.0, 24]]), torch.tensor([[16.0, 2]]), torch.tensor([math.pi / 6]), red, 64, 64)
    drawing = figure(canvas, canvas, one)
    agg = FigureCanvasAgg(drawing)
    agg.draw()
    pixels = np.asarray(agg.buffer_rgba())
    panel = drawing.axes[1]

    def color(x: float, y: float) -> tuple[int, ...]:
        column, row = panel.transData.transform((x, y))
        return tuple(pixels[len(pixels) - 1 - int(row), int(column), :3].tolist())

    cosine, sine = math.cos(math.pi / 6), math.sin(math.pi / 6)
    assert color(32 + 14 * cosine, 24 + 14 * sine) == (255, 0, 0)  # down and to the right
    assert color(32 - 14 * cosine, 24 - 14 * sine) == (255, 0, 0)
    for x, y in [
        (32 + 18 * cosine, 24 + 18 * sine),  # beyond one standard deviation
        (32 + 14 * cosine, 24 - 14 * sine),
        (32 - 3 * sine, 24 + 3 * cosine),
    ]:
        assert color(x, y) != (255, 0, 0)


def test_figure_shows_the_most_crowded_part_of_many_gaussians():
    crowd, rest = bright_gaussians(MAX_ELLIPSES, 20, 30), bright_gaussians(MAX_ELLIPSES, 200, 300)
    means = torch.cat([crowd.means + torch.tensor([250.0, 20]), rest.means])
    both = [torch.cat([getattr(crowd, name), getattr(rest, name)]) for name in ("scales", "rotations", "colors")]
    target = torch.rand(3, 200, 300)
    drawing = figure(target, target, Gaussians(means, *both, 200, 300))
    panel = drawing.axes[1]
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    assert 230 < left < 265 < right < 300 and 0 <= top < 30 < bottom < 60
    assert (right - left) / (bottom - top) == pytest.approx(1.5)
    assert f"densest part ({300 / (right - left):.1f}×)" in panel.get_title("left")
    assert len(drawing.axes[0].patches) == 2  # the outline of the window
    (ellipses,) = (item for item in panel.collections if isinstance(item, EllipseCollection))
    assert MAX_ELLIPSES <= len(ellipses.get_offsets()) < 2 * MAX_ELLIPSES
    assert not drawing.axes[0].patches[0].get_fill()


def test_error_panel_shows_the_mean_over_channels(target):
    image = target.clone()
    image[0] = (target[0] + 0.5) % 1
    panel = figure(target, image, bright_gaussians(5)).axes[-1]
    np.testing.assert_allclose(panel.images[0].get_array(), 0.5 / 3, atol=1e-6)
    assert panel.get_title("left") == "Absolute error, mean 0.167"


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_save_figure_writes_one_file(tmp_path, target, suffix):
    gaussians = bright_gaussians(20)
    path = tmp_path / f"fit.{suffix}"
    save_figure(path, target, target, gaussians, gaussians, [(0, 0.1, 20.0)])
    assert list(tmp_path.iterdir()) == [path]
    if suffix == "png":
        assert Image.open(path).width == 2560
    else:
        assert path.read_bytes().startswith(b"%PDF")


def test_plain_pictures_mark_the_right_pixels(target):
    density = torch.arange(HEIGHT * WIDTH).view(HEIGHT, WIDTH) / 1e5
    brightness = density_image(density).mean(0)
    assert brightness.shape == density.shape and brightness[-1, -1] > 2 * brightness[0, 0]
    assert density_image(torch.zeros(4, 5)).isfinite().all()

    image = target.clone()
    image[1, 5, 7] += 0.5
    error = error_image(image, target)
    assert error.shape == target.shape and error.mean(0).argmax() == 5 * WIDTH + 7
    assert (error.mean(0) < 0.01).sum() == HEIGHT * WIDTH - 1

    gaussians = bright_gaussians(2)
    gaussians.means[:] = torch.tensor([[7.9, 5.1], [-3.0, 5.0]])  # x, y; the second left the canvas
    centres = centres_image(gaussians, target)
    dimmed = 0.35 * target.mean(0)
    assert (centres != dimmed).any(0).nonzero().tolist() == [[5, 7]]
    assert centres[:, 5, 7].mul(255).tolist() == [255, 213, 74]


@pytest.mark.parametrize(("side", "shown"), [(64, 256), (300, 300), (1024, 512)])
def test_strip_resizes_pictures_and_writes_titles(side, shown):
    red, blue = torch.zeros(2, 3, side, side)
    red[0], blue[2] = 1.2, 1  # beyond 1 is clamped
    picture = strip([("red", red), ("blue", blue)])
    assert picture.size == (2 * shown + 4, shown + 20)
    assert picture.getpixel((0, 20)) == picture.getpixel((shown - 1, shown + 19)) == (255, 0, 0)
    assert picture.getpixel((shown + 4, 20)) == (0, 0, 255) and picture.getpixel((shown + 2, 50)) == (255, 255, 255)
    assert np.asarray(picture.crop((0, 0, 40, 20))).min() < 100  # a title


def test_save_figure_leaves_no_file_when_it_fails(tmp_path, target):
    with pytest.raises(ValueError, match="not supported"):
        save_figure(tmp_path / "fit.nonsense", target, target, bright_gaussians(5))
    with pytest.raises(ValueError, match="expected two images"):
        save_figure(tmp_path / "fit.png", target, target[:, 1:], bright_gaussians(5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_save_figure_imports_matplotlib_late_and_pyplot_never(tmp_path):
    code = f"""
import sys, torch, fastgs.visualize
assert "matplotlib" not in sys.modules
from fastgs.gaussians import Gaussians
gaussians = Gaussians(torch.ones(2, 2), torch.ones(2, 2), torch.zeros(2), torch.ones(2, 3), 8, 8)
fastgs.visualize.save_figure({str(tmp_path / "fit.png")!r}, torch.ones(3, 8, 8), torch.ones(3, 8, 8), gaussians)
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
