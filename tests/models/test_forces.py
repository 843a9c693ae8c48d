"""Tests of forces by kernels against those by autograd."""

import torch
from seeds import seeded

from fastgs.gaussians import MIN_SCALE
from fastgs.initializers.from_density import gaussians_in_batch
from fastgs.models.attribute import CORRECTIONS, GaussianState, units
from fastgs.models.feed_forward import _errors_and_forces
from fastgs.models.forces import FastForces


def test_errors_forces_and_states_are_those_of_autograd():
    """Two passes, so that there are forces before; some Gaussians are circles, and some of the smallest scale."""
    counts, size = [40, 25], (24, 30)
    source = seeded(0)
    images = torch.rand(2, 3, *size, generator=source)
    means = torch.rand(sum(counts), 2, generator=source) * torch.tensor([30.0, 24.0])
    base = gaussians_in_batch(means, images, torch.full((2, *size), 1 / 720), counts)
    scales, rotations = base.scales.clone(), base.rotations
    scales[:5], scales[5:10] = MIN_SCALE, 1.5
    base = base.with_tensors(base.means, scales, rotations, base.colors)
    places = torch.arange(2).repeat_interleave(torch.tensor(counts))
    number = torch.randint(1, 4, (sum(counts), 1), generator=source).float()
    look = FastForces(images, base, counts, places, number)
    corrections = previous = torch.zeros(sum(counts), CORRECTIONS)
    answer = corrections
    for _ in range(3):
        seen = look(corrections, answer)
        errors, forces = _errors_and_forces(images, base, corrections, counts)
        sizes = errors.square().mean((1, 2, 3)).sqrt()
        torch.testing.assert_close(seen.errors, errors, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(seen.sizes, sizes, rtol=1e-5, atol=1e-6)
        size_of = sizes[places, None]
        state = GaussianState(number, corrections, forces / size_of, previous / size_of, answer / units(size_of))
        torch.testing.assert_close(seen.states, state.columns() / number, rtol=1e-3, atol=1e-3)
        previous = forces
        answer = 0.3 * torch.randn(corrections.shape, generator=source)
        corrections = corrections + answer
