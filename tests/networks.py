"""Networks small enough for tests."""

import copy
import functools

import torch

from fastgs.models import AttributeNetwork, PositionNetwork
from fastgs.models.feed_forward import LearnedInitializer

SMALL = {"encoder": "tu-resnet10t", "depth": 2, "width": 8, "blocks": 1}


@functools.cache
def _built(kind, **arguments):
    """To be copied: building takes a second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(**SMALL, **arguments)


def position_network():
    return copy.deepcopy(_built(PositionNetwork))


def attribute_network(passes=2):
    return copy.deepcopy(_built(AttributeNetwork, passes=passes))


def disturbed(network, seed=0, size=0.05):
    """As if trained: random numbers where there are zeros, which the heads begin with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, size, generator=generator)
    return network


def initializer(seed=0):
    """Both networks, as if trained."""
    return disturbed(LearnedInitializer(position_network(), attribute_network()), seed).eval()
