"""The attribute network: how the Gaussians look that were placed on an image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fastgs.gaussians import Gaussians
from fastgs.models.film import density_condition
from fastgs.models.unet import UNet

# The corrections of a Gaussian: offset x, y; logarithm of its size; elongation along x and along the diagonal; R, G, B.
CHANNELS = 8
MIN_SCALE = 0.3  # pixels, as of the heuristics


class AttributeNetwork(nn.Module):
    """Corrections of the Gaussians that a heuristic would make; none until trained.

    It is applied a few times. In each pass it sees the image, how densely Gaussians were to be placed, where they are,
    what their rendering still lacks, how they were corrected so far, and the gradient of the error in each of their
    corrections; and it answers with what to add to the corrections.

    Args:
        encoder, depth, width, blocks, encoder_weights: see `fastgs.models.unet.UNet`.
        passes: how often it is applied.
    """

    units: Tensor

    def __init__(
        self,
        encoder: str = "tu-resnet18",
        depth: int = 2,
        width: int = 32,
        blocks: int = 1,
        passes: int = 4,
        encoder_weights: str | None = None,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "encoder": encoder,
            "depth": depth,
            "width": width,
            "blocks": blocks,
            "passes": passes,
        }
        self.passes = passes
        self.unet = UNet(
            8 + 2 * CHANNELS,
            CHANNELS,
            encoder=encoder,
            depth=depth,
            width=width,
            blocks=blocks,
            encoder_weights=encoder_weights,
        )
        # What a correction of a unit means: geometry in scales, logarithms; colours in parts of their range.
        self.register_buffer("units", torch.tensor([0.3] * 5 + [0.1] * 3), persistent=False)

    def forward(
        self, images: Tensor, densities: Tensor, errors: Tensor, state: Tensor, num_gaussians: Tensor
    ) -> Tensor:
        """What to add to the corrections of a Gaussian at any pixel.

        Args:
            images: (B, 3, H, W) in [0, 1].
            densities: (B, H, W), positive, each summing to 1.
            errors: (B, 3, H, W) image minus rendering.
            state: (B, 17, H, W): number of Gaussians in each pixel; the means over them of their corrections, in
                `units`; and of the forces on them.
            num_gaussians: (B,).

        Returns:
            (B, 8, H, W).
        """
        spacing = -0.5 * (densities * num_gaussians[:, None, None]).log()  # logarithm of pixels
        planes = [images - 0.5, spacing[:, None] - 1, 20 * errors, state]
        condition = density_condition(num_gaussians, *images.shape[-2:])
        result: Tensor = self.units[:, None, None] * self.unet(torch.cat(planes, dim=1), condition)
        return result


def correct(gaussians: Gaussians, corrections: Tensor) -> Gaussians:
    """Apply corrections to Gaussians.

    Offsets are bounded by the geometric mean of the two scales. Size and elongation are corrected together, as the
    logarithm of `Sigma^(1/2)`, a symmetric matrix `[[m + p, q], [q, m - p]]`: that has no branch cut and no order of
    the axes, as two log scales and an angle have. Colours are added.

    Args:
        gaussians: K of them.
        corrections: (K, 8).
    """
    size = gaussians.scales.prod(1, keepdim=True).sqrt()
    means = gaussians.means + size * torch.tanh(corrections[:, :2])
    log_scales, angle = gaussians.scales.log(), 2 * gaussians.rotations
    half_ratio = 0.5 * (log_scales[:, 0] - log_scales[:, 1])
    m = log_scales.mean(1) + corrections[:, 2]
    p = half_ratio * torch.cos(angle) + corrections[:, 3]
    q = half_ratio * torch.sin(angle) + corrections[:, 4]
    # A circle has no direction: keep away from zero, where the derivatives are infinite.
    radius = torch.sqrt(p.square() + q.square() + 1e-12)
    scales = torch.stack([m + radius, m - radius], dim=1).exp().clamp(min=MIN_SCALE)
    rotations = 0.5 * torch.atan2(q, p + (radius < 2e-6) * 1e-6)
    return replace(
        gaussians, means=means, scales=scales, rotations=rotations, colors=gaussians.colors + corrections[:, 5:]
    )
