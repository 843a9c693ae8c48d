"""Position network: predicts where Gaussians should go, given an image and their number."""

from __future__ import annotations

from torch import Tensor

from fastgs.gaussians import CHANNELS
from fastgs.models.conditioned import ConditionedNetwork
from fastgs.models.unet import stack


class PositionNetwork(ConditionedNetwork):
    """Deep Gaussian prior: corrects the logarithm of a heuristic density; until trained, it corrects nothing.

    Args:
        encoder, depth, width, blocks, encoder_weights, conditioned: Arguments of `ConditionedNetwork`.
    """

    def __init__(
        self,
        encoder: str = "tu-resnet18d",
        depth: int = 4,
        width: int = 32,
        blocks: int = 1,
        encoder_weights: str | None = None,
        conditioned: bool = True,
    ) -> None:
        super().__init__(
            CHANNELS + 1,  # image, prior
            1,
            encoder=encoder,
            depth=depth,
            width=width,
            blocks=blocks,
            encoder_weights=encoder_weights,
            conditioned=conditioned,
        )

    def forward(self, images: Tensor, prior: Tensor, num_gaussians: Tensor) -> Tensor:
        """Return the logarithm of the density over pixels.

        Args:
            images: (B, 3, H, W) in [0, 1].
            prior: (B, H, W) positive densities to correct, each summing to 1.
            num_gaussians: (B,) numbers of Gaussians that will be drawn on the canvas.

        Returns:
            (B, H, W) log densities, whose exponentials sum to 1 over each image.
        """
        height, width = images.shape[-2:]
        relative = (prior * (height * width)).log()  # 0 where the prior is at its mean
        condition = self.condition(num_gaussians, height, width)
        correction: Tensor = self.unet(stack([images - 0.5, relative[:, None]]), condition)
        return (relative + correction[:, 0]).flatten(1).log_softmax(1).view_as(relative)
