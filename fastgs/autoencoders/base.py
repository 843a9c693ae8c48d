"""What all autoencoders of sets are: to their users, and to those who write one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

WeightInit = Literal["default", "xavier", "kaiming"]


class Autoencoder(nn.Module):
    """What all are to their users.

    Attributes:
        channels: C of an element.
        rows, columns: of the grid of elements.
        latent: numbers that one set becomes.
        parts: the networks that it is made of.
    """

    channels: int
    rows: int
    columns: int
    latent: int
    parts: Sequence[SingleAutoencoder]

    def encode(self, sets: Tensor) -> Tensor:
        """(B, K, C) in [-1, 1] to (B, latent)."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """(B, latent) to (B, K, C) in [-1, 1]."""
        raise NotImplementedError

    def forward(self, sets: Tensor) -> Tensor:
        """(B, K, C) to its reconstruction."""
        return self.decode(self.encode(sets))


class SingleAutoencoder(Autoencoder):
    """One network for all channels.

    A subclass makes its two halves: `encoder`, (B, C, rows, columns) to (B, latent), and `decoder`, back.

    Args:
        channels: C of an element.
        rows, columns: of the grid of elements.
        latent: numbers that one set becomes.
        width: of the layers, see the subclass.
        dropout: share of the features that training leaves out, in [0, 1).
        batch_norm: normalize features over the batch.
        weight_init: "default" is torch's; "xavier" (Glorot and Bengio 2010, uniform) and "kaiming" (He et al. 2015,
            normal) are for the weights of all linear layers and convolutions, whose biases are 0 then.

    Attributes:
        arguments: those above.

    Raises:
        ValueError: an argument is out of range; the message begins with its name.
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
        self.encoder, self.decoder = self._encoder(), self._decoder()
        _initialize(self, weight_init)
        self.to(memory_format=torch.channels_last)

    @property
    def parts(self) -> Sequence[SingleAutoencoder]:  # type: ignore[override]
        """See `Autoencoder`."""
        return [self]

    def encode(self, sets: Tensor) -> Tensor:
        """See `Autoencoder`."""
        latents: Tensor = self.encoder(sets.transpose(1, 2).reshape(len(sets), self.channels, self.rows, self.columns))
        return latents.float()

    def decode(self, latents: Tensor) -> Tensor:
        """See `Autoencoder`."""
        grids: Tensor = self.decoder(latents)
        return grids.float().tanh().flatten(2).transpose(1, 2)

    def _encoder(self) -> nn.Module:
        raise NotImplementedError

    def _decoder(self) -> nn.Module:
        raise NotImplementedError


def _initialize(network: nn.Module, weight_init: WeightInit) -> None:
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
