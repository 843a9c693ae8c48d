"""The number of Gaussians that a fit is brought to, with files whose sizes are known."""

import pytest
import torch

from fastgs.codec.sizing import EVENTS, FEWEST, LEAST_STEPS, MOST, SHORT, Sizing
from fastgs.fitting.densification import Relocation
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions

STEPS = 150


def count_after(image, start, size, bytes_of_one, steps=STEPS, most=10_000, relocation=None):
    """Fit, and return the number of Gaussians at the end."""
    relocation = relocation or Relocation([], [])
    strategy = Sizing(relocation, steps, size, most, lambda gaussians: bytes_of_one * len(gaussians))
    return len(fit(image, start, FitOptions(steps), densification=lambda _: strategy).gaussians)


@pytest.mark.parametrize(("size", "count"), [(500, 125), (300, 75), (401, 100), (4, 9), (10**6, 900)])
def test_number_follows_the_size(photo, random_gaussians, size, count):
    """The second event goes on where the first one has reached its bounds."""
    assert FEWEST == 0.3 and MOST == 3
    assert count_after(photo, random_gaussians(100), size, 4) == count


def test_number_is_bounded(photo, random_gaussians):
    assert count_after(photo, random_gaussians(100), 10**6, 4, most=110) == 110


def test_short_runs_have_fewer_events(photo, random_gaussians):
    relocation = Relocation([0.2, 0.7], [0.1, 0.1])
    events = [Sizing(relocation, steps, 1, 1, len).events for steps in (SHORT, SHORT - 1, LEAST_STEPS, LEAST_STEPS - 1)]
    one = [0.2, EVENTS[1], 0.7]
    assert events == [[EVENTS[0], *one], one, one, [0.2, 0.7]]
    assert count_after(photo, random_gaussians(100), 800, 4, steps=LEAST_STEPS - 1) == 100


def test_added_gaussians_help_and_repeat(photo, random_gaussians):
    def run(size):
        generator = torch.Generator().manual_seed(5)
        relocation = Relocation([0.3], [0.05], generator)
        strategy = Sizing(relocation, STEPS, size, 10_000, lambda gaussians: 4 * len(gaussians))
        return fit(photo, random_gaussians(100), FitOptions(STEPS), densification=lambda _: strategy)

    more, again, same = run(800), run(800), run(400)
    assert len(more.gaussians) == 200 and len(same.gaussians) == 100
    assert torch.equal(more.gaussians.means, again.gaussians.means)
    assert more.history[-1].psnr > same.history[-1].psnr + 1
