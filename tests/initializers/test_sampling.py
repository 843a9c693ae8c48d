"""Sampling: exactly K positions, where the density wants them, as evenly as each method promises."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter
from seeds import seeded

from fastgs.initializers import sampling_kernels as kernels
from fastgs.initializers.sampling import METHODS, SIGMA, plan, project, project_at, sample

EVERY_METHOD = pytest.mark.parametrize("method", list(METHODS))


def make_uneven(height=12, width=17):
    return torch.rand(height, width, generator=torch.Generator().manual_seed(9)) ** 4 + 1e-4


def count_per_pixel(positions, height, width):
    counts = torch.zeros(height, width, dtype=torch.int64)
    columns, rows = positions.floor().long().T
    counts.index_put_((rows, columns), torch.ones(len(positions), dtype=torch.int64), accumulate=True)
    return counts


@EVERY_METHOD
@pytest.mark.parametrize(("height", "width"), [(12, 17), (1, 1), (1, 9), (8, 1)])
def test_exactly_k_positions_on_the_canvas(method, height, width, seeded):
    pixels = height * width
    for count in (0, 1, 7, pixels - 1, pixels, pixels + 1, 3 * pixels + 5):
        positions = sample(make_uneven(height, width), count, method, seeded())
        assert positions.shape == (count, 2)
        assert positions.dtype == torch.float32
        assert (positions >= 0).all()
        assert (positions < torch.tensor([width, height])).all()
        assert len(torch.unique(positions, dim=0)) == count, "two coincide"


@EVERY_METHOD
def test_positions_repeat_for_a_seed(method, seeded):
    first, again, other = (sample(make_uneven(), 80, method, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(3)
    unseeded = sample(make_uneven(), 80, method)
    torch.manual_seed(3)
    assert torch.equal(unseeded, sample(make_uneven(), 80, method))


@EVERY_METHOD
def test_scale_and_precision_of_the_density_do_not_matter(method, seeded):
    powers_of_two = torch.randint(0, 4, (12, 17), generator=seeded()).exp2()
    first = sample(powers_of_two, 50, method, seeded())
    assert torch.equal(first, sample(powers_of_two.double() * 2.0**70, 50, method, seeded()))
    assert torch.equal(first, sample(powers_of_two.half() / 1024, 50, method, seeded()))


@EVERY_METHOD
def test_positions_are_in_raster_order(method, seeded):
    columns, rows = sample(make_uneven(), 100, method, seeded()).double().T
    assert ((rows.floor() * 17 + columns).diff() >= 0).all()


@EVERY_METHOD
@pytest.mark.parametrize("count", [1, 40])
def test_all_mass_in_one_pixel_stays_there(method, count, seeded):
    """Error diffusion may round one position to a neighbour of the pixel."""
    density = torch.zeros(9, 11)
    density[4, 5] = 1e-30
    counts = count_per_pixel(sample(density, count, method, seeded()), 9, 11)
    assert counts.sum() == count
    assert counts[4, 5] >= count - 1
    assert counts[3:6, 4:7].sum() == count


def test_pixels_of_density_zero_stay_empty(seeded):
    density = make_uneven(20, 20)
    density[:, 5:15] = 0
    density[3] = 0
    allowed = int((density > 0).sum())
    for method, count in [("multinomial", 5000), ("without_replacement", allowed), ("without_replacement", 5000)]:
        counts = count_per_pixel(sample(density, count, method, seeded()), 20, 20)
        assert not counts[density == 0].any()


def test_multinomial_counts_follow_the_density(seeded):
    density, count = make_uneven(6, 7) + 0.02, 20_000
    counts = count_per_pixel(sample(density, count, "multinomial", seeded()), 6, 7)
    expected = density.double() / density.double().sum() * count
    # A wrong density would give p = 0; a right one fails once in a thousand seeds, and not with this one.
    assert stats.chisquare(counts.ravel(), expected.ravel()).pvalue > 1e-3
    assert stats.chisquare(counts.ravel(), expected.flip(0).ravel()).pvalue < 1e-9


def test_without_replacement_draws_by_the_density_and_never_twice(seeded):
    density = torch.tensor([[8.0, 4.0, 2.0, 1.0, 1.0]])
    draws = [count_per_pixel(sample(density, 2, "without_replacement", seeded(seed)), 1, 5)[0] for seed in range(2000)]
    assert max(int(draw.max()) for draw in draws) == 1
    # The chance that pixel i is one of two: it comes first, or second after some j.
    p = density[0].double() / density.sum()
    chance = p + torch.stack([sum(p[j] * p[i] / (1 - p[j]) for j in range(5) if j != i) for i in range(5)])
    deviations = (torch.stack(draws).double().mean(0) - chance) / (chance * (1 - chance) / 2000).sqrt()
    assert deviations.abs().max() < 4


@pytest.mark.parametrize("count", [1, 100, 203, 204])
def test_without_replacement_takes_every_pixel_before_any_twice(count, seeded):
    positions = sample(make_uneven(), count, "without_replacement", seeded())
    assert count_per_pixel(positions, 12, 17).max() == 1
    assert (positions % 1 == 0.5).all()  # each at the centre of its pixel
    counts = count_per_pixel(sample(make_uneven(), 204 + count, "without_replacement", seeded()), 12, 17)
    assert counts.min() >= 1
    assert counts.max() <= 2


def count_per_block(method, density, count, generator, block=16):
    counts = count_per_pixel(sample(density, count, method, generator), *density.shape)
    height, width = density.shape
    return counts.view(height // block, block, width // block, block).sum((1, 3)).double()


def test_error_diffusion_is_ten_times_more_even_than_independent_draws(seeded):
    """A density is uniform, and blocks of 16 x 16 are counted: independent draws vary as Poisson's."""
    density, count = torch.ones(128, 128), 128 * 128 // 5
    variance = {
        method: count_per_block(method, density, count, seeded()).var() for method in ("multinomial", "error_diffusion")
    }
    assert variance["multinomial"] > 25  # 51.2 expected
    assert variance["error_diffusion"] < 51.2 / 10  # 2.7 measured


def test_error_diffusion_follows_a_ramp(seeded):
    ramp = torch.linspace(0.1, 1, 128).repeat(128, 1)
    blocks = count_per_block("error_diffusion", ramp, 3000, seeded())
    expected = ramp.view(8, 16, 8, 16).sum((1, 3)) / ramp.sum() * 3000
    assert (blocks - expected).abs().max() < 8
    columns, wanted = blocks.sum(0), expected.sum(0)
    # The thin end has fewer: error has to build up before the first position is placed.
    assert ((columns - wanted).abs() / wanted)[0] < 0.2
    assert ((columns - wanted).abs() / wanted)[1:].max() < 0.04


def diffused(mass, count, noise):
    """Return Floyd and Steinberg's error diffusion by its definition, one pixel after the other."""
    expected, (height, width) = mass / mass.sum() * count, mass.shape
    counts = np.zeros(mass.shape, np.int64)
    for y in range(height):
        step = 1 if y % 2 == 0 else -1
        for x in range(width)[::step]:
            counts[y, x] = max(0, np.floor(expected[y, x] + 0.5 + noise[y, x]))
            for dy, dx, share in ((0, step, 7), (1, -step, 3), (1, 0, 5), (1, step, 1)):
                if y + dy < height and 0 <= x + dx < width:
                    expected[y + dy, x + dx] += (expected[y, x] - counts[y, x]) * share / 16
    return counts


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (9, 1), (23, 31)])
@pytest.mark.parametrize("share", [0.02, 0.7, 5.0])
def test_diffusion_by_rows_is_that_by_pixels(height, width, share):
    """They come in two parts, as for large images, and in raster order."""
    random = np.random.default_rng(height)
    mass, uniform = random.random((height, width)) ** 4, random.random((height, width))
    count, half = round(share * mass.size), height // 2
    errors, pixels = np.zeros(width + 2), np.full(count + height + width + 1, -1)
    found = kernels.diffuse(mass, mass.sum(), count, uniform[:half], errors, 0, pixels, 0)
    found = kernels.diffuse(mass, mass.sum(), count, uniform[half:], errors, half, pixels, found)
    wanted = diffused(mass, count, (2 * uniform - 1) * kernels.NOISE)
    assert pixels[:found].tolist() == np.repeat(np.arange(mass.size), wanted.ravel()).tolist()
    assert (pixels[found:] == -1).all()


@pytest.mark.parametrize("row", range(3))
def test_errors_diffuse_in_alternating_directions(row):
    """Two pixels expect 0.45 each: the first one rounds down, and its error brings the second one to 1."""
    mass, pixels = np.zeros((3, 2)), np.zeros(9, np.int64)
    mass[row] = 0.45
    # Uniform numbers of 0.5 are no noise.
    found = kernels.diffuse(mass, 0.9, 0.9, np.full((3, 2), 0.5), np.zeros(4), 0, pixels, 0)
    assert pixels[:found].tolist() == [2 * row + (0 if row == 1 else 1)]


def test_find_gives_the_first_pixel_whose_cumulative_sum_is_larger():
    mass = np.array([[9.0, 9.0, 9.0], [1.0, 0.0, 2.0]])
    pixels = np.zeros(5, np.int64)
    kernels.find(mass, np.ones(5, np.int64), np.array([0.0, 0.9, 1.0, 2.9, 3.1]), pixels)
    assert pixels.tolist() == [3, 3, 5, 5, 5]


@pytest.mark.parametrize(("height", "width", "count"), [(1, 1, 1), (1, 9, 3), (2, 3, 1), (37, 21, 1), (64, 50, 300)])
def test_projection_is_a_mirrored_blur(height, width, count, seeded):
    """It is so, too, where the blur reaches over several mirror images, and for positions on the border."""
    means = torch.rand(count, 2, generator=seeded()) * torch.tensor([width, height])
    means[0] = torch.tensor([width, height])
    columns, rows = means.long().unbind(1)
    impulses = torch.zeros(height, width)
    ones = torch.ones(count)
    impulses.index_put_((rows.clamp(max=height - 1), columns.clamp(max=width - 1)), ones, accumulate=True)
    for sigma in (SIGMA, 2.0):
        spacing = (height * width / count) ** 0.5
        wanted = gaussian_filter(impulses.double().numpy(), sigma * spacing, truncate=3, mode="reflect") / count
        density = project(means, height, width, sigma)
        assert density.dtype == torch.float32
        assert density.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(density, wanted, rtol=1e-5, atol=1e-9)


def test_plan_draws_what_sample_does(seeded):
    draw = plan(make_uneven(), 50, generator=seeded())
    torch.manual_seed(7)  # it needs no random numbers of torch any more
    assert torch.equal(torch.from_numpy(draw()), sample(make_uneven(), 50, generator=seeded()))


BAD = [
    (torch.ones(3), 1, "multinomial", r"density: expected shape \(H, W\), got \(3,\)"),
    (torch.ones(1, 3, 3), 1, "multinomial", r"density: expected shape \(H, W\), got \(1, 3, 3\)"),
    (torch.ones(0, 3), 1, "multinomial", r"density: expected shape \(H, W\), got \(0, 3\)"),
    (torch.zeros(3, 3), 1, "multinomial", "density: must be finite, not negative and not all zero"),
    (torch.tensor([[1.0, -1e-9]]), 1, "multinomial", "density: must be finite"),
    (torch.tensor([[1.0, float("nan")]]), 1, "multinomial", "density: must be finite"),
    (torch.tensor([[1.0, float("inf")]]), 1, "multinomial", "density: must be finite"),
    (torch.ones(3, 3), -1, "multinomial", "num_gaussians: must be 0 or more, got -1"),
    (torch.ones(3, 3), 1, "dice", "method: expected one of multinomial, .*, got 'dice'"),
]


@pytest.mark.parametrize(("density", "count", "method", "message"), BAD)
def test_sample_rejects_wrong_arguments(density, count, method, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sample(density, count, method)


@pytest.mark.parametrize(("height", "width", "count"), [(1, 1, 3), (30, 41, 60), (9, 70, 4)])
def test_density_at_points_is_that_of_the_whole_canvas(height, width, count):
    means = torch.rand(count, 2, generator=seeded()) * torch.tensor([width, height])
    points = torch.rand(20, 2, generator=seeded(1)) * torch.tensor([width, height])
    columns, rows = points.long().unbind(1)
    wanted = project(means, height, width)[rows, columns]
    torch.testing.assert_close(project_at(points, means, height, width), wanted, rtol=1e-5, atol=1e-9)
