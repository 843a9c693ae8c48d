"""The position network: where Gaussians should go, given an image and how many there will be."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastgs.models.film import constant_condition, density_condition
from fastgs.models.unet import UNet, stack


class PositionNetwork(nn.Module):
    """The deep Gaussian prior: a correction, in logarithms, of a heuristic density; none until trained.

    Args:
        encoder, depth, width, blocks, encoder_weights: Arguments of `fastgs.models.unet.UNet`.
        conditioned: Condition features on the density of Gaussians (FiLM). Without it, for ablations, the condition
            is that of 10,000 Gaussians at 512 x 512 at any density.
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
        super().__init__()
        self.arguments: dict[str, Any] = {"encoder": encoder, "depth": depth, "width": width, "blocks": blocks}
        if not conditioned:  # the default is left out, as in the files of weights that were made before
            self.arguments["conditioned"] = False
        self.conditioned = conditioned
        self.unet = UNet(
            4, 1, encoder=encoder, depth=depth, width=width, blocks=blocks, encoder_weights=encoder_weights
        )

    def forward(self, images: Tensor, prior: Tensor, num_gaussians: Tensor) -> Tensor:
        """Log density over pixels.

        Args:
            images: (B, 3, H, W) in [0, 1].
            prior: (B, H, W), positive, each summing to 1: the density to correct.
            num_gaussians: (B,) how many will be drawn on this canvas.

        Returns:
            (B, H, W); its exponential sums to 1 over each image.
        """
        height, width = images.shape[-2:]
        relative = (prior * (height * width)).log()  # 0 where the prior is at its mean
        condition = (
            density_condition(num_gaussians, height, width) if self.conditioned else constant_condition(num_gaussians)
        )
        correction: Tensor = self.unet(stack([images - 0.5, relative[:, None]]), condition)
        return (relative + correction[:, 0]).flatten(1).log_softmax(1).view_as(relative)
