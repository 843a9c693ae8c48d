"""Adam with memories that grow: its weights, its steps against the definition, and torch's as a case of it."""

from itertools import islice

import pytest
import torch

from fastgs.fitting.adam import BetaSchedule, GrowingAdam, weights
from fastgs.fitting.options import ADAM_EPSILON


def test_beta_schedule_grows_up_to_its_longest_memory():
    memory = BetaSchedule(first=1.0, growth=0.5, longest=2.0)
    assert [memory.beta(step) for step in range(5)] == pytest.approx([0, 1 / 3, 1 / 2, 1 / 2, 1 / 2])


def test_weights_match_the_exponential_average():
    """The average of ones that began at zero equals `known`; divided by that it is one."""
    average = 0.0
    for new, known in islice(weights(BetaSchedule(1.5, 0.3, 4.0)), 20):
        average += new * (1 - average)
        assert average == pytest.approx(known)
    # All memories alike: 1 - beta^n.
    assert [each.known for each in islice(weights(BetaSchedule(5.0, 0.0, 5.0)), 3)] == pytest.approx([0.2, 0.36, 0.488])


def descend(optimizer, variable, gradients, rates):
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        variable.grad = gradient.clone()
        optimizer.step()
    return variable.detach()


def test_growing_adam_steps_match_the_definition():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(12, 7, generator=generator)
    rates = torch.linspace(0.3, 0.01, 12).tolist()
    memories = BetaSchedule(1.0, 0.4, 3.0), BetaSchedule(1.4, 0.1, 2.0)
    variable = torch.zeros(7, requires_grad=True)
    moved = descend(GrowingAdam([variable], *memories), variable, gradients, rates)

    wanted, average, square = torch.zeros(3, 7)
    for gradient, rate, one, two in zip(gradients, rates, *map(weights, memories), strict=False):
        average += one.new * (gradient - average)
        square += two.new * (gradient**2 - square)
        wanted -= rate * (average / one.known) / ((square / two.known).sqrt() + ADAM_EPSILON)
    torch.testing.assert_close(moved, wanted)


def test_growing_adam_without_growth_is_adam():
    gradients = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    ours, theirs = (torch.zeros(5, requires_grad=True) for _ in range(2))
    growing = GrowingAdam([ours], BetaSchedule(10, 0, 10), BetaSchedule(5, 0, 5))
    usual = torch.optim.Adam([theirs], betas=(0.9, 0.8), eps=ADAM_EPSILON)
    torch.testing.assert_close(
        descend(growing, ours, gradients, [0.1] * 9), descend(usual, theirs, gradients, [0.1] * 9)
    )
