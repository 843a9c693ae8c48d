"""Generators from seeds, for helpers of tests; tests themselves may use the fixture `seeded`."""

import torch


def seeded(seed=0):
    """Return a generator that begins at a seed."""
    return torch.Generator().manual_seed(seed)
