"""Small networks and random data for tests."""

import copy
import functools

import torch
from seeds import seeded

from fastgs.models import AttributeNetwork, PositionNetwork
from fastgs.models.feed_forward import LearnedInitializer

SMALL = {"encoder": "tu-resnet10t", "depth": 2, "width": 8, "blocks": 1}


def random_sets(*shape, seed=0):
    """Return uniform random numbers in [-1, 1)."""
    return torch.rand(shape, generator=seeded(seed)) * 2 - 1


@functools.cache
def _built(kind, **arguments):
    """Build a network once; callers copy it, since building takes a second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(**SMALL, **arguments)


def position_network():
    return copy.deepcopy(_built(PositionNetwork))


def attribute_network(passes=2):
    return copy.deepcopy(_built(AttributeNetwork, passes=passes))


def disturbed(network, seed=0, size=0.05):
    """Fill parameters that are zero, as those of untrained heads are, with random numbers, as if trained."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, size, generator=generator)
    return network


def initializer(seed=0):
    """Return both networks, as if trained."""
    return disturbed(LearnedInitializer(position_network(), attribute_network()), seed).eval()
