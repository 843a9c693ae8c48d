"""FiLM (Perez et al. 2018): scale and shift features by a condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# A density of Gaussians is named by the number that it gives on this many pixels, at most MAX_GAUSSIANS.
REFERENCE_PIXELS = 512 * 512
MAX_GAUSSIANS = 100_000
# Density whose condition networks see at any density if they are not conditioned on it.
UNCONDITIONED_GAUSSIANS = 10_000


def density_condition(num_gaussians: Tensor, height: int, width: int) -> Tensor:
    """Return the (B,) conditions `log(1 + K) / log(1 + K_max)`, K being the count of equal density at 512 x 512.

    Args:
        num_gaussians: (B,) counts of Gaussians on a canvas.
        height: Height of the canvas in pixels.
        width: Width of the canvas in pixels.
    """
    equivalent = num_gaussians.float() * (REFERENCE_PIXELS / (height * width))
    return torch.log1p(equivalent) / math.log1p(MAX_GAUSSIANS)


def constant_condition(num_gaussians: Tensor) -> Tensor:
    """Return the (B,) condition of UNCONDITIONED_GAUSSIANS at 512 x 512, whatever the (B,) counts are."""
    equivalent = torch.full_like(num_gaussians, UNCONDITIONED_GAUSSIANS).float()
    return torch.log1p(equivalent) / math.log1p(MAX_GAUSSIANS)


class FiLM(nn.Module):
    """Layer `F' = (1 + gamma(e)) F + beta(e)`, e an embedding of one number; the identity until trained.

    Args:
        channels: Number of channels of the features.
        embedding: Length of e.
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
        """Return (B, C, H, W) features scaled and shifted by a (B,) condition of about [0, 1]."""
        embedded = self.embed(condition[:, None])
        gamma: Tensor = self.gamma(embedded)[..., None, None]
        beta: Tensor = self.beta(embedded)[..., None, None]
        return features * (1 + gamma) + beta
