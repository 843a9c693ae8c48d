"""Image-GS as published."""

import pytest
import torch
from method_data import HEIGHT, WIDTH, Still, counts_over_a_run, photo, some_gaussians
from seeds import seeded

from fastgs.methods import METHODS, image_gs
from fastgs.metrics.quality import ssim_loss


@pytest.fixture(scope="module")
def image():
    return photo()


@pytest.mark.parametrize("name", ["image-gs-gradient", "image-gs-saliency"])
def test_image_gs_adds_an_eighth_four_times(name, image):
    assert counts_over_a_run(name, image, 60, 20) == [(0.05, 38), (0.1, 46), (0.15, 54), (0.2, 60)]
    assert counts_over_a_run(name, image, 3, 20) == [(0.05, 3), (0.1, 3), (0.15, 3), (0.2, 3)]


def test_image_gs_adds_gaussians_by_the_error_in_its_colours(image):
    rendered = image.clone()
    rendered[:, 10:14, 20:24] = 0
    before = image_gs.by_gradient(image, 8, seeded())
    keep, added = image_gs.ErrorGuided(16, seeded()).edit(0, image, Still(before, rendered))
    assert keep.all() and len(added) == 2
    columns, rows = added.means.long().unbind(1)
    assert ((rows >= 10) & (rows < 14) & (columns >= 20) & (columns < 24)).all()
    torch.testing.assert_close(added.colors, image[:, rows, columns].T)  # the target less black
    assert torch.equal(added.scales, torch.full((2, 2), 5.0))
    nothing_wrong = image_gs.ErrorGuided(16, seeded()).edit(0, image, Still(before, image))
    assert len(nothing_wrong.added) == 2


def test_image_gs_blurs_the_target_of_large_images():
    noise = torch.rand(3, 400, 401, generator=seeded())
    assert torch.equal(image_gs._denoise(noise[:, :399, :399]), noise[:, :399, :399])
    assert image_gs._denoise(noise).std() < 0.7 * noise.std()


def test_image_gs_starts_with_circles_of_five_pixels(image):
    initial = image_gs.by_gradient(image, 500, seeded())
    assert len({tuple(mean) for mean in initial.means.tolist()}) == 500  # without replacement
    assert torch.equal(initial.scales, torch.full((500, 2), 5.0))
    assert not initial.rotations.any()
    columns, rows = initial.means.long().unbind(1)
    assert torch.equal(initial.colors, image[:, rows, columns].T)


def test_gradient_density_is_the_squared_gradient_and_three_tenths_of_anything():
    steps = torch.zeros(3, 20, 40)
    steps[:, :, 10:] = 0.2
    steps[:, :, 30:] = 0.6  # twice as high: four times the density
    density = image_gs.gradient_density(steps)
    assert density.sum().item() == pytest.approx(1)
    least = 0.3 / density.numel()
    assert density[5, 20].item() == pytest.approx(least)
    assert (density[5, 30] - least).item() == pytest.approx(4 * (density[5, 10] - least).item(), rel=1e-4)


def test_inverse_scales_are_as_published():
    variables = image_gs.InverseScale(some_gaussians(1, blend="normalized"))
    with torch.no_grad():
        variables.free["inverse_scales"].copy_(torch.tensor([[0.25, -1e-9]]))
        variables.free["means"].copy_(torch.tensor([[0.5, 0.25]]))
    means, scales, _, _ = variables.attributes()
    torch.testing.assert_close(scales, torch.tensor([[4.0, HEIGHT + WIDTH]]).double())
    torch.testing.assert_close(means, torch.tensor([[0.5 * WIDTH, 0.25 * HEIGHT]]).double())


def test_image_gs_loss_is_l1_and_ssim(image):
    rendered = image.roll(1, dims=2)
    expected = (rendered - image).abs().mean() + 0.1 * ssim_loss(rendered, image)
    torch.testing.assert_close(METHODS["image-gs-gradient"].optimization.loss(rendered, image), expected)


def test_rates_of_image_gs_fall_once_to_a_tenth():
    """The 1000 entries are those of 10,000 steps: PSNRs rise until a third of the run."""
    psnrs = [20 + min(0.05 * entry, 16.0) for entry in range(1001)]

    def factor(entry):
        return image_gs.schedule(entry / 1000, psnrs[: entry + 1])

    assert [factor(entry) for entry in (0, 100, 320, 419)] == [1, 1, 1, 1]
    assert [factor(entry) for entry in (421, 700, 1000)] == [0.1, 0.1, 0.1]
