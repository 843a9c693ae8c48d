"""The attribute network: how the Gaussians look that were placed on an image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fastgs.gaussians import Gaussians
from fastgs.models.film import constant_condition, density_condition
from fastgs.models.unet import UNet, stack

# The corrections of a Gaussian: offset x, y; logarithm of its size; elongation along x and along the diagonal; R, G, B.
CHANNELS = 8
MIN_SCALE = 0.3  # pixels, as of the heuristics
MAX_CHANGE = 2.0  # of log sizes and elongations; no network may make a Gaussian that covers everything
GEOMETRY_UNIT = 0.3  # what an answer of 1 means for an offset or a log scale, so that first steps are small
# What the network sees of each Gaussian, as means over those in a pixel, each of CHANNELS: its corrections, the forces
# on them, those in the pass before, and what that pass added.
SEEN = 4


class AttributeNetwork(nn.Module):
    """Corrections of the Gaussians that a heuristic would make; none until trained.

    It is applied a few times. In each pass it sees the image, how densely Gaussians were to be placed, where they are,
    what their rendering still lacks, how they were corrected so far, and the gradient of the error in each of their
    corrections; and it answers with what to add to the corrections. It also sees what it answered in the pass before,
    and the gradient then: the difference of both gradients tells how far that step should have gone, as in a secant
    method.

    Args:
        encoder, depth, width, blocks, encoder_weights: Arguments of `fastgs.models.unet.UNet`.
        passes: Number of times that it is applied.
        conditioned: Condition features on the density of Gaussians (FiLM). Without it, for ablations, the condition
            is that of 10,000 Gaussians at 512 x 512 at any density.
    """

    def __init__(
        self,
        encoder: str = "tu-resnet18d",
        depth: int = 3,
        width: int = 32,
        blocks: int = 1,
        passes: int = 4,
        encoder_weights: str | None = None,
        conditioned: bool = True,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "encoder": encoder,
            "depth": depth,
            "width": width,
            "blocks": blocks,
            "passes": passes,
        }
        if not conditioned:  # the default is left out, as in the files of weights that were made before
            self.arguments["conditioned"] = False
        self.conditioned = conditioned
        self.passes = passes
        self.unet = UNet(
            9 + SEEN * CHANNELS,
            CHANNELS,
            encoder=encoder,
            depth=depth,
            width=width,
            blocks=blocks,
            encoder_weights=encoder_weights,
        )

    def forward(
        self, images: Tensor, densities: Tensor, errors: Tensor, sizes: Tensor, state: Tensor, num_gaussians: Tensor
    ) -> Tensor:
        """What to add to the corrections of a Gaussian at any pixel.

        Args:
            images: (B, 3, H, W) in [0, 1].
            densities: (B, H, W), positive, each summing to 1.
            errors: (B, 3, H, W) image minus rendering, divided by its size.
            sizes: (B,) root mean squares of image minus rendering.
            state: (B, 33, H, W): number of Gaussians in each pixel, and the means over them that SEEN lists: forces
                divided by the size, what was added in `units` of it.
            num_gaussians: (B,).

        Returns:
            (B, 8, H, W) in `units` of the sizes.
        """
        spacing = -0.5 * (densities * num_gaussians[:, None, None]).log()  # logarithm of pixels
        sizes = (sizes.log() + 3)[:, None, None, None].expand(-1, 1, *images.shape[-2:])
        planes = stack([images - 0.5, spacing[:, None] - 1, errors, sizes, state])
        condition = (
            density_condition(num_gaussians, *images.shape[-2:])
            if self.conditioned
            else constant_condition(num_gaussians)
        )
        answer: Tensor = self.unet(planes, condition)
        return answer


def units(sizes: Tensor) -> Tensor:
    """(N, 1) sizes of errors to (N, 8): what an answer of 1 means, small for geometry and the error for colours."""
    return torch.cat([torch.full_like(sizes, GEOMETRY_UNIT).expand(-1, 5), sizes.expand(-1, 3)], dim=1)


def correct(gaussians: Gaussians, corrections: Tensor) -> Gaussians:
    """Apply corrections to Gaussians.

    Offsets are bounded by the geometric mean of the two scales, changes of log size and elongation by MAX_CHANGE.
    Size and elongation are corrected together, as the logarithm of `Sigma^(1/2)`, a symmetric matrix
    `[[m + p, q], [q, m - p]]`: that has no branch cut and no order of the axes, as two log scales and an angle have.
    Colours are added.

    Args:
        gaussians: K of them.
        corrections: (K, 8).
    """
    size = gaussians.scales.prod(1, keepdim=True).sqrt()
    means = gaussians.means + size * torch.tanh(corrections[:, :2])
    log_scales, angle = gaussians.scales.log(), 2 * gaussians.rotations
    half_ratio = 0.5 * (log_scales[:, 0] - log_scales[:, 1])
    changes = MAX_CHANGE * torch.tanh(corrections[:, 2:5] / MAX_CHANGE)
    m = log_scales.mean(1) + changes[:, 0]
    p = half_ratio * torch.cos(angle) + changes[:, 1]
    q = half_ratio * torch.sin(angle) + changes[:, 2]
    # A circle has no direction: keep away from zero, where the derivatives are infinite.
    radius = torch.sqrt(p.square() + q.square() + 1e-12)
    scales = torch.stack([m + radius, m - radius], dim=1).exp()
    # Gaussians that were placed at the smallest scale stand on the limit: rounding must not decide about their forces.
    scales = torch.where(scales > MIN_SCALE * (1 - 1e-5), scales, MIN_SCALE)
    rotations = 0.5 * torch.atan2(q, p + (radius < 2e-6) * 1e-6)
    return replace(
        gaussians, means=means, scales=scales, rotations=rotations, colors=gaussians.colors + corrections[:, 5:]
    )
