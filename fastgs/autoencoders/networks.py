"""Registry of autoencoders of sets that have an order: Gaussians in the cells of a grid, or pixels.

All map (B, K, C) values in [-1, 1], K = rows x columns, to (B, latent) numbers and back. To add one, write a subclass
of `SingleAutoencoder` with the two halves of its network, and name it in `Model` and `NETWORKS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from fastgs.autoencoders.base import Autoencoder, SingleAutoencoder, WeightInit
from fastgs.autoencoders.convolutional import ConvAutoencoder, ResNetAutoencoder
from fastgs.autoencoders.principal import PrincipalAutoencoder

__all__ = [
    "NETWORKS",
    "Autoencoder",
    "ConvAutoencoder",
    "DeepAutoencoder",
    "Model",
    "PrincipalAutoencoder",
    "ResNetAutoencoder",
    "SingleAutoencoder",
    "SplitAutoencoder",
    "WeightInit",
    "build_autoencoder",
]

Model = Literal["deep", "conv", "resnet", "principal"]


class DeepAutoencoder(SingleAutoencoder):
    """Autoencoder of the set as one flat vector: four linear layers each way, of 16 x `width` hidden units."""

    @override
    def _build_encoder(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), *self._build_layers(self.channels * self.rows * self.columns, self.latent))

    @override
    def _build_decoder(self) -> nn.Module:
        layers = self._build_layers(self.latent, self.channels * self.rows * self.columns)
        return nn.Sequential(*layers, nn.Unflatten(1, (self.channels, self.rows, self.columns)))

    def _build_layers(self, first: int, last: int) -> list[nn.Module]:
        units, layers = 16 * self.width, list[nn.Module]()
        for inputs in (first, units, units):
            norm = nn.BatchNorm1d(units) if self.batch_norm else nn.Identity()
            layers += [nn.Linear(inputs, units), norm, nn.ReLU(inplace=True), nn.Dropout(self.dropout)]
        return [*layers, nn.Linear(units, last)]


class SplitAutoencoder(Autoencoder):
    """Autoencoder that has a network of its own for each group of channels; its latents are theirs in a row.

    Args:
        networks: Networks in the order of the channels, all for the same grid.

    Raises:
        ValueError: The grids differ.
    """

    parts: Sequence[SingleAutoencoder]

    def __init__(self, networks: Sequence[SingleAutoencoder]) -> None:
        super().__init__()
        if len({(each.rows, each.columns) for each in networks}) != 1:
            raise ValueError("networks: expected one or more, all of the same rows and columns")
        self.parts = nn.ModuleList(networks)  # type: ignore[assignment]
        self.rows, self.columns = networks[0].rows, networks[0].columns
        self.channels, self.latent = (sum(getattr(each, name) for each in networks) for name in ("channels", "latent"))

    @override
    def encode(self, sets: Tensor) -> Tensor:
        pieces = torch.split(sets, [each.channels for each in self.parts], dim=2)
        return torch.cat([each.encode(piece) for each, piece in zip(self.parts, pieces, strict=True)], dim=1)

    @override
    def decode(self, latents: Tensor) -> Tensor:
        pieces = torch.split(latents, [each.latent for each in self.parts], dim=1)
        return torch.cat([each.decode(piece) for each, piece in zip(self.parts, pieces, strict=True)], dim=2)


NETWORKS: dict[Model, type[SingleAutoencoder]] = {
    "deep": DeepAutoencoder,
    "conv": ConvAutoencoder,
    "resnet": ResNetAutoencoder,
    "principal": PrincipalAutoencoder,
}


def build_autoencoder(model: Model, groups: Sequence[int], latent: int, **arguments: Any) -> Autoencoder:
    """Build one network, or one for each group of channels, which share the latents as evenly as possible.

    Args:
        model: Kind of network, a name in NETWORKS.
        groups: Number of channels of each group.
        latent: Number of latents of one set.
        **arguments: Other arguments of `SingleAutoencoder`.

    Raises:
        ValueError: An argument is out of range; the message begins with its name.
    """
    share, rest = divmod(latent, len(groups))
    if share < 1:
        raise ValueError(f"latent: must be at least {len(groups)}, one number for each attribute, got {latent}")
    kind = NETWORKS[model]
    networks = [kind(channels, latent=share + (i < rest), **arguments) for i, channels in enumerate(groups)]
    return networks[0] if len(networks) == 1 else SplitAutoencoder(networks)
