"""Base classes of all autoencoders of sets: the interface, and the base of a single network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

WeightInit = Literal["default", "xavier", "kaiming"]


# Fewest channels that stand last in memory, which is faster on CPUs: with fewer, the backward of oneDNN's strided 1 x 1
# convolutions writes beyond its buffers on some CPUs (torch 2.14, AMD Zen 1: "free(): invalid next size").
LEAST_LAST = 8


class Autoencoder(nn.Module):
    """Maps sets of elements on a grid, K = rows x columns, to latents and back.

    Attributes:
        channels: Number C of channels of an element.
        rows, columns: Size of the grid of elements.
        latent: Number of latents of one set.
        parts: Networks that the autoencoder is made of.
    """

    channels: int
    rows: int
    columns: int
    latent: int
    parts: Sequence[SingleAutoencoder]

    def encode(self, sets: Tensor) -> Tensor:
        """Map (B, K, C) sets in [-1, 1] to (B, latent) numbers."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Map (B, latent) numbers to (B, K, C) sets in [-1, 1]."""
        raise NotImplementedError

    def forward(self, sets: Tensor) -> Tensor:
        """Return the reconstruction of (B, K, C) sets."""
        return self.decode(self.encode(sets))


class SingleAutoencoder(Autoencoder):
    """Autoencoder of one network for all channels.

    A subclass builds its two halves: `encoder`, which maps (B, C, rows, columns) to (B, latent), and `decoder`, which
    maps back.

    Args:
        channels: Number C of channels of an element.
        rows, columns: Size of the grid of elements.
        latent: Number of latents of one set.
        width: Width of the layers; its unit depends on the subclass.
        dropout: Share of the features that training leaves out, in [0, 1).
        batch_norm: Normalize features over the batch.
        weight_init: Initialization of weights. "default" is torch's; "xavier" (Glorot and Bengio 2010, uniform) and
            "kaiming" (He et al. 2015, normal) set the weights of all linear layers and convolutions, and their biases
            to 0.

    Attributes:
        arguments: Arguments that rebuild the network, as files of weights hold them.

    Raises:
        ValueError: An argument is out of range; the message begins with its name.
    """

    def __init__(
        self,
        channels: int = 8,
        rows: int = 32,
        columns: int = 32,
        latent: int = 256,
        width: int = 32,
        dropout: float = 0.0,
        batch_norm: bool = True,
        weight_init: WeightInit = "default",
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "rows": rows, "columns": columns, "latent": latent, "width": width}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name}: must be at least 1, got {value}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: must be in [0, 1), got {dropout}")
        if weight_init not in get_args(WeightInit):
            raise ValueError(f"weight_init: expected one of {', '.join(get_args(WeightInit))}, got {weight_init!r}")
        self.arguments: dict[str, Any] = {
            **sizes,
            "dropout": dropout,
            "batch_norm": batch_norm,
            "weight_init": weight_init,
        }
        self.channels, self.rows, self.columns, self.latent = channels, rows, columns, latent
        self.width, self.dropout, self.batch_norm = width, dropout, batch_norm
        self.encoder, self.decoder = self._build_encoder(), self._build_decoder()
        _initialize_weights(self, weight_init)
        self._order = torch.channels_last if width >= LEAST_LAST else torch.contiguous_format
        self.to(memory_format=self._order)

    @property
    @override
    def parts(self) -> Sequence[SingleAutoencoder]:  # type: ignore[override]
        return [self]

    @override
    def encode(self, sets: Tensor) -> Tensor:
        grids = sets.transpose(1, 2).reshape(len(sets), self.channels, self.rows, self.columns)
        latents: Tensor = self.encoder(grids.contiguous(memory_format=self._order))
        return latents.float()

    @override
    def decode(self, latents: Tensor) -> Tensor:
        grids: Tensor = self.decoder(latents)
        return grids.float().tanh().flatten(2).transpose(1, 2)

    def _build_encoder(self) -> nn.Module:
        raise NotImplementedError

    def _build_decoder(self) -> nn.Module:
        raise NotImplementedError


def _initialize_weights(network: nn.Module, weight_init: WeightInit) -> None:
    if weight_init == "default":
        return
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            if weight_init == "xavier":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
