"""New places that are drawn on a GPU; Triton's interpreter stands in for it."""

import math

import numpy as np
import pytest
import torch
from against_reference import DEVICE
from optional import skip_without_kernels
from seeds import seeded

from fastgs.initializers import sampling

skip_without_kernels()
from fastgs.fitting import densification, placement_cuda  # noqa: E402
from fastgs.fitting.removal import Appraisal  # noqa: E402
from fastgs.initializers.filters import smooth  # noqa: E402


def uneven(height=23, width=30):
    density = smooth(torch.rand(height, width, generator=seeded(9)), 2.0) ** 8
    return (density / density.sum()).to(DEVICE)


def walk(expected, noise):
    """Return the counts of Floyd and Steinberg (1976), pixel after pixel."""
    height, width = expected.shape
    errors = np.zeros((height + 1, width + 2), np.float64)
    counts = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            wanted = expected[y, x] + errors[y, x + 1]
            counts[y, x] = max(0, math.floor(wanted + 0.4 + 0.2 * noise[y, x]))
            error = wanted - counts[y, x]
            errors[y, x + 2] += error * 7 / 16
            errors[y + 1, x : x + 3] += error * np.array([3, 5, 1]) / 16
    return counts


@pytest.mark.slow
def test_rows_at_a_time_are_error_diffusion():
    """A program of fewer lanes than rows walks them in turns."""
    expected, noise = 90 * uneven(), torch.rand(23, 30, generator=seeded(1)).to(DEVICE)
    wanted = torch.from_numpy(walk(expected.cpu().double().numpy(), noise.cpu().numpy()))
    for lanes in (8, 32):
        counts = torch.empty(23, 30, dtype=torch.int32, device=DEVICE)
        errors = torch.zeros(24, 32, device=DEVICE)
        placement_cuda.diffuse[(1,)](expected, noise, errors, counts, 23, 30, LANES=lanes, num_warps=1)
        assert torch.equal(counts.cpu(), wanted)
    assert 85 <= wanted.sum() <= 95


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 80, 2000])
def test_exactly_m_places_follow_the_density(count):
    """Whatever leaves at the borders; several in a pixel do not coincide."""
    density = uneven()
    places = placement_cuda.sample(density, count, seeded())
    assert places.shape == (count, 2)
    assert torch.equal(places, placement_cuda.sample(density, count, seeded()))
    assert len(torch.unique(places, dim=0)) == count
    assert ((places >= 0) & (places < torch.tensor([30, 23], device=DEVICE))).all()
    left = density[:, :15].sum() * count
    assert abs((places[:, 0] < 15).sum() - left) <= 3 + 0.01 * count


def test_density_of_positions_is_that_of_the_cpu():
    points, means = (torch.rand(count, 2, generator=seeded()) * torch.tensor([70.0, 41.0]) for count in (20, 300))
    means[:20] = points
    found = placement_cuda.project_at(points.to(DEVICE), means.to(DEVICE), 41, 70)
    torch.testing.assert_close(found.cpu(), sampling.project_at(points, means, 41, 70), rtol=1e-5, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [3, 6])
def test_relocation_on_a_gpu_draws_there(spacing, monkeypatch, random_gaussians):
    """Gaussians that are far apart have places in cells of four pixels."""
    monkeypatch.setattr(densification, "choose", lambda *_, **__: "cuda")
    target = torch.rand(3, 31, 45, generator=seeded())
    target[:, 10:, 20:] *= 0.1
    gaussians = random_gaussians(31 * 45 // spacing**2, 31, 45)
    appraisal = Appraisal(gaussians, torch.zeros_like(target), target)
    places = densification.plan_places(appraisal, len(gaussians), 25, seeded())()
    assert places.shape == (25, 2)
    assert ((places >= 0) & (places < torch.tensor([45, 31]))).all()
    assert ((places[:, 0] < 20) | (places[:, 1] < 10)).sum() >= 23
    keep = torch.arange(len(gaussians)) >= 25
    added = densification.settle(places, target, gaussians, keep)
    monkeypatch.undo()
    again = densification.settle(places, target, gaussians, keep)
    torch.testing.assert_close(added.scales, again.scales)
