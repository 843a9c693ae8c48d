"""Base of both networks: a U-Net that is conditioned on the density of Gaussians."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastgs.models.film import constant_condition, density_condition
from fastgs.models.unet import UNet


class ConditionedNetwork(nn.Module):
    """U-Net whose features are conditioned (FiLM) on how densely Gaussians are placed.

    Args:
        in_channels, out_channels, encoder, depth, width, blocks, encoder_weights: Arguments of
            `fastgs.models.unet.UNet`.
        conditioned: Condition features on the density of Gaussians. Without it, for ablations, the condition is that
            of 10,000 Gaussians at 512 x 512 at any density.

    Attributes:
        arguments: Arguments that rebuild the network, as files of weights hold them.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        encoder: str,
        depth: int,
        width: int,
        blocks: int,
        encoder_weights: str | None,
        conditioned: bool,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {"encoder": encoder, "depth": depth, "width": width, "blocks": blocks}
        self.unet = UNet(in_channels, out_channels, encoder_weights=encoder_weights, **self.arguments)
        self.conditioned = conditioned
        if not conditioned:  # files of weights leave the default out
            self.arguments["conditioned"] = False

    def condition(self, num_gaussians: Tensor, height: int, width: int) -> Tensor:
        """Return the (B,) conditions for (B,) numbers of Gaussians on a canvas of that size in pixels."""
        if not self.conditioned:
            return constant_condition(num_gaussians)
        return density_condition(num_gaussians, height, width)
