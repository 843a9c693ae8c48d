"""Principal components of the training images, from which a principal autoencoder starts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fastgs.autoencoders.networks import Autoencoder, PrincipalAutoencoder
from fastgs.splats import SplatBatch, SplatDataset

# Number of images, turned ones included, that the components are computed of, and of those that weigh the channels.
IMAGES, SENSITIVITY_IMAGES = 12_000, 256


def set_components(
    network: Autoencoder,
    dataset: SplatDataset,
    sets: Callable[[SplatBatch], Tensor],
    rendered: Callable[[Tensor], Tensor],
) -> None:
    """Compute the principal components of those parts of a network that start from them.

    Args:
        network: Autoencoder, whose other parts stay as they are.
        dataset: Training images; if it turns them, the components are those of turned images, too.
        sets: Function that returns the (B, K, C) sets in [-1, 1] that the network is given of a batch.
        rendered: Differentiable function that returns the (B, D, H, W) pictures, of D channels, of such sets.
    """
    if not any(isinstance(part, PrincipalAutoencoder) for part in network.parts):
        return
    generator = torch.Generator().manual_seed(dataset.seed)
    order = torch.randperm(len(dataset), generator=generator)[:IMAGES]
    examples = torch.cat([sets(dataset.batch(part, symmetry)) for part, symmetry in _select_turns(dataset, order)])
    weights = sensitivities(examples[:SENSITIVITY_IMAGES], rendered, generator)
    first = 0
    for part in network.parts:
        channels = slice(first, first + part.channels)
        first += part.channels
        if isinstance(part, PrincipalAutoencoder):
            part.set_components(examples[..., channels], weights[channels])


def _select_turns(dataset: SplatDataset, order: Tensor) -> list[tuple[Tensor, int]]:
    """Select images and a symmetry for each: as many turns as IMAGES allows, different ones for each image."""
    if not dataset.turn:
        return [(order, 0)]
    symmetries = 8 if dataset.height == dataset.width else 4
    rounds = max(1, min(symmetries, IMAGES // max(1, len(order))))
    return [
        (order[symmetry::symmetries], (symmetry + turn) % symmetries)
        for turn in range(rounds)
        for symmetry in range(symmetries)
        if len(order[symmetry::symmetries])
    ]


def sensitivities(sets: Tensor, rendered: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
    """Estimate the change of a picture with each channel.

    With J the derivative of the picture and white noise n, the mean square of J^T n is that of J's columns.

    Args:
        sets: (N, K, C) sets in [-1, 1].
        rendered: Differentiable function that returns the (N, D, H, W) pictures, of D channels, of sets.
        generator: Source of the noise, on the CPU.

    Returns:
        (C,) root mean squares of the change of a picture by a unit of one channel of one element.
    """
    with torch.enable_grad():
        variable = sets.detach().clone().requires_grad_()
        pictures = rendered(variable)
        noise = torch.randn(pictures.shape, generator=generator)
        (gradient,) = torch.autograd.grad((pictures * noise.to(pictures)).sum(), variable)
    # Channels that nothing depends on still get a weight, since weights are divided by.
    mean = gradient.square().mean((0, 1)).sqrt()
    return mean.clamp(min=1e-3 * float(mean.max()))
