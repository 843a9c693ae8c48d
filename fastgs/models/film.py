"""FiLM (Perez et al. 2018): features scaled and shifted by what a condition says."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Densities are named as the number of Gaussians they would give at this size, in pixels, and go up to MAX_GAUSSIANS.
REFERENCE_PIXELS = 512 * 512
MAX_GAUSSIANS = 100_000
# Networks that are not conditioned on the density see the condition of this one at any density.
UNCONDITIONED_GAUSSIANS = 10_000


def density_condition(num_gaussians: Tensor, height: int, width: int) -> Tensor:
    """(B,) counts on a canvas to `log(1 + K) / log(1 + K_max)`, K being the count at 512 x 512 of the same density."""
    equivalent = num_gaussians.float() * (REFERENCE_PIXELS / (height * width))
    return torch.log1p(equivalent) / math.log1p(MAX_GAUSSIANS)


def constant_condition(num_gaussians: Tensor) -> Tensor:
    """Return the (B,) condition of UNCONDITIONED_GAUSSIANS at 512 x 512, whatever the (B,) counts are."""
    equivalent = torch.full_like(num_gaussians, UNCONDITIONED_GAUSSIANS).float()
    return torch.log1p(equivalent) / math.log1p(MAX_GAUSSIANS)


class FiLM(nn.Module):
    """`F' = (1 + gamma(e)) F + beta(e)`, e an embedding of one number; the identity until trained.

    Args:
        channels: C of the features.
        embedding: length of e.
    """

    def __init__(self, channels: int, embedding: int = 64) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(1, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.gamma = nn.Linear(embedding, channels)
        self.beta = nn.Linear(embedding, channels)
        for head in (self.gamma, self.beta):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W) features under a (B,) condition of about [0, 1]."""
        embedded = self.embed(condition[:, None])
        gamma: Tensor = self.gamma(embedded)[..., None, None]
        beta: Tensor = self.beta(embedded)[..., None, None]
        return features * (1 + gamma) + beta
