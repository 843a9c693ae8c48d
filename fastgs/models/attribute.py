"""Attribute network: corrects how placed Gaussians look."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastgs.gaussians import CHANNELS, MIN_SCALE, Gaussians
from fastgs.models.conditioned import ConditionedNetwork
from fastgs.models.unet import stack

# Corrections of the shape of a Gaussian: offset x, y; logarithm of its size; elongation along x and along the diagonal.
GEOMETRY = 5
# All corrections of a Gaussian: of its shape, then of its colour (R, G, B).
CORRECTIONS = GEOMETRY + CHANNELS

MAX_CHANGE = 2.0  # bound of changes of log size and elongation: no network may make a Gaussian that covers everything
GEOMETRY_UNIT = 0.3  # what an answer of 1 means for an offset or a log scale, so that the first steps are small


class GaussianState(NamedTuple):
    """State of N Gaussians before a pass; the network sees its means over the Gaussians in each pixel.

    The forces before and after the last answer together tell how far that step should have gone, as in a secant method.

    Attributes:
        number: (N, 1) number of Gaussians in the pixel of each.
        corrections: (N, 8) corrections so far.
        forces: (N, 8) forces on the corrections, divided by the size of the error.
        previous_forces: (N, 8) forces in the pass before, divided by the size of the present error.
        previous_answer: (N, 8) corrections that the pass before added, in `units` of the present error.
    """

    number: Tensor
    corrections: Tensor
    forces: Tensor
    previous_forces: Tensor
    previous_answer: Tensor

    def columns(self) -> Tensor:
        """Return all values as one (N, STATE_CHANNELS) tensor."""
        return torch.cat(self, dim=1)


STATE_CHANNELS = 1 + (len(GaussianState._fields) - 1) * CORRECTIONS


class AttributeInputs(NamedTuple):
    """Inputs of the attribute network for a batch.

    Attributes:
        images: (B, 3, H, W) in [0, 1].
        densities: (B, H, W) positive densities that the Gaussians were drawn from, each summing to 1.
        errors: (B, 3, H, W) images minus renderings, divided by their size.
        sizes: (B,) sizes of the errors: root mean squares of images minus renderings.
        state: (B, STATE_CHANNELS, H, W) means of `GaussianState.columns` over the Gaussians in each pixel.
        num_gaussians: (B,) numbers of Gaussians.
    """

    images: Tensor
    densities: Tensor
    errors: Tensor
    sizes: Tensor
    state: Tensor
    num_gaussians: Tensor

    def planes(self) -> Tensor:
        """Return the (B, INPUT_CHANNELS, H, W) planes that the U-Net sees."""
        height, width = self.images.shape[-2:]
        spacing = -0.5 * (self.densities * self.num_gaussians[:, None, None]).log()  # logarithm of pixels
        sizes = (self.sizes.log() + 3)[:, None, None, None].expand(-1, 1, height, width)
        return stack([self.images - 0.5, spacing[:, None] - 1, self.errors, sizes, self.state])


# Image, spacing, error, size of the error, state: in the order of `AttributeInputs.planes`.
INPUT_CHANNELS = CHANNELS + 1 + CHANNELS + 1 + STATE_CHANNELS


class AttributeNetwork(ConditionedNetwork):
    """Corrects the Gaussians that a heuristic would make; until trained, it corrects nothing.

    It is applied a few times. In each pass it sees the image, the density that Gaussians were drawn from, what their
    rendering still lacks, and their state: where they are, how they were corrected so far, and how the error pulls at
    each correction (see `AttributeInputs` and `GaussianState`). It answers with what to add to the corrections.

    Args:
        encoder, depth, width, blocks, encoder_weights, conditioned: Arguments of `ConditionedNetwork`.
        passes: Number of times that the network is applied.
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
        super().__init__(
            INPUT_CHANNELS,
            CORRECTIONS,
            encoder=encoder,
            depth=depth,
            width=width,
            blocks=blocks,
            encoder_weights=encoder_weights,
            conditioned=conditioned,
        )
        self.arguments["passes"] = passes
        self.passes = passes

    def forward(self, inputs: AttributeInputs) -> Tensor:
        """Return what to add to the corrections of a Gaussian at any pixel.

        Returns:
            (B, 8, H, W) in `units` of the sizes of the errors.
        """
        condition = self.condition(inputs.num_gaussians, *inputs.images.shape[-2:])
        answer: Tensor = self.unet(inputs.planes(), condition)
        return answer


def units(sizes: Tensor) -> Tensor:
    """Return the (N, 8) corrections that an answer of 1 means, for (N, 1) sizes of errors.

    They are small for the shape, and the size of the error for colours.
    """
    geometry = torch.full_like(sizes, GEOMETRY_UNIT).expand(-1, GEOMETRY)
    return torch.cat([geometry, sizes.expand(-1, CHANNELS)], dim=1)


def correct(gaussians: Gaussians, corrections: Tensor) -> Gaussians:
    """Apply corrections to Gaussians.

    Offsets are bounded by the geometric mean of the two scales, changes of log size and elongation by MAX_CHANGE.
    Size and elongation are corrected together, as the logarithm of `Sigma^(1/2)`, a symmetric matrix
    `[[m + p, q], [q, m - p]]`: that has no branch cut and no order of the axes, as two log scales and an angle have.
    Colours are added.

    Args:
        gaussians: K Gaussians.
        corrections: (K, 8) offset x, y in units of the size; log size; two elongations; R, G, B.

    Returns:
        The corrected Gaussians, whose values are not checked.
    """
    size = gaussians.scales.prod(1, keepdim=True).sqrt()
    means = gaussians.means + size * torch.tanh(corrections[:, :2])
    log_scales, angle = gaussians.scales.log(), 2 * gaussians.rotations
    half_ratio = 0.5 * (log_scales[:, 0] - log_scales[:, 1])
    changes = MAX_CHANGE * torch.tanh(corrections[:, 2:GEOMETRY] / MAX_CHANGE)
    m = log_scales.mean(1) + changes[:, 0]
    p = half_ratio * torch.cos(angle) + changes[:, 1]
    q = half_ratio * torch.sin(angle) + changes[:, 2]
    # A circle has no direction: keep away from zero, where the derivatives are infinite.
    radius = torch.sqrt(p.square() + q.square() + 1e-12)
    scales = torch.stack([m + radius, m - radius], dim=1).exp()
    # Gaussians that were placed at the smallest scale stand on the limit: rounding must not decide about their forces.
    scales = torch.where(scales > MIN_SCALE * (1 - 1e-5), scales, MIN_SCALE)
    rotations = 0.5 * torch.atan2(q, p + (radius < 2e-6) * 1e-6)
    colors = gaussians.colors + corrections[:, GEOMETRY:]
    return gaussians.with_tensors(means, scales, rotations, colors)
