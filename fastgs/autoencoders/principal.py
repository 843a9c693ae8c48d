"""Autoencoder that starts from the best linear one: principal components in the metric of the picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from fastgs.autoencoders.convolutional import ConvAutoencoder

# Number of components that the randomized decomposition computes beyond those that are kept, and number of its power
# iterations (Halko, Martinsson and Tropp 2011).
OVERSAMPLING, POWER_ITERATIONS = 20, 2

# Smallest standard deviation of a latent, absolute and as a share of the largest: latents are divided by it.
MIN_DEVIATION = 1e-4


class PrincipalAutoencoder(ConvAutoencoder):
    """Autoencoder of fixed principal components of the sets, and convolutions that learn what is not linear.

    Channels are weighed by how much the picture depends on them, so that the error which principal components minimize
    is nearly that of the picture: the colour of a small Gaussian shows, its angle hardly. Latents have unit variance at
    first. The convolutions are those of `ConvAutoencoder`. Values beyond [-1, 1] are cut off, not squashed.

    `set_components` must be called before training.
    """

    weights: Tensor
    mean: Tensor
    components: Tensor
    deviations: Tensor

    @override
    def _build_encoder(self) -> nn.Module:
        size = self.channels * self.rows * self.columns
        self.register_buffer("weights", torch.ones(self.channels))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.zeros(size, self.latent))
        self.register_buffer("deviations", torch.ones(self.latent))
        return super()._build_encoder()

    def set_components(self, sets: Tensor, weights: Tensor) -> None:
        """Compute the linear part, and reset the convolutions so that they add nothing to it; deterministic.

        Args:
            sets: (N, K, C) training sets in [-1, 1].
            weights: (C,) change of a picture with each channel, in any unit, above 0.
        """
        self.weights.copy_(weights / weights.max())
        flat = (sets * self.weights).flatten(1)
        self.mean.copy_(flat.mean(0))
        flat = flat - self.mean
        known = min(self.latent, *flat.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            rank = min(known + OVERSAMPLING, *flat.shape)
            _, _, components = torch.svd_lowrank(flat, q=rank, niter=POWER_ITERATIONS)
        self.components.zero_()
        self.components[:, :known] = components[:, :known]
        deviations = (flat @ self.components).std(0)
        self.deviations.copy_(deviations.clamp(min=MIN_DEVIATION * max(1.0, float(deviations.max()))))
        for half in (self.encoder, self.decoder):
            last = [layer for layer in half.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    @override
    def encode(self, sets: Tensor) -> Tensor:
        weighed = sets * self.weights
        linear = (weighed.flatten(1) - self.mean) @ self.components / self.deviations
        return linear + super().encode(weighed)

    @override
    def decode(self, latents: Tensor) -> Tensor:
        linear = ((latents * self.deviations) @ self.components.T + self.mean).view(len(latents), -1, self.channels)
        grids: Tensor = self.decoder(latents)
        return ((linear + grids.float().flatten(2).transpose(1, 2)) / self.weights).clamp(-1, 1)
