"""What a principal autoencoder computes of the training images before it is trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fastgs.autoencoders.networks import Autoencoder, PrincipalAutoencoder
from fastgs.splats import SplatBatch, SplatDataset

# Images, turned ones included, that components are computed of, and those that tell how much channels matter.
IMAGES, SENSITIVITY_IMAGES = 12_000, 256


def set_components(
    network: Autoencoder,
    dataset: SplatDataset,
    sets: Callable[[SplatBatch], Tensor],
    rendered: Callable[[Tensor], Tensor],
) -> None:
    """Give the parts of a network that start from principal components theirs.

    Args:
        network: its other parts stay as they are.
        dataset: the training images; where it turns them, the components are those of turned images, too.
        sets: (B, K, C) what the network is given of a batch, in [-1, 1].
        rendered: (B, 3, H, W) pictures of such sets, differentiable.
    """
    if not any(isinstance(part, PrincipalAutoencoder) for part in network.parts):
        return
    generator = torch.Generator().manual_seed(dataset.seed)
    order = torch.randperm(len(dataset), generator=generator)[:IMAGES]
    examples = torch.cat([sets(dataset.batch(part, symmetry)) for part, symmetry in _turns(dataset, order)])
    weights = sensitivities(examples[:SENSITIVITY_IMAGES], rendered, generator)
    first = 0
    for part in network.parts:
        channels = slice(first, first + part.channels)
        first += part.channels
        if isinstance(part, PrincipalAutoencoder):
            part.set_components(examples[..., channels], weights[channels])


def _turns(dataset: SplatDataset, order: Tensor) -> list[tuple[Tensor, int]]:
    """Images and symmetries, as many of all as there is room for, and of each image different ones."""
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
    """(C,) root mean square of what a picture changes by a unit of one channel of one element.

    With J the derivative of the picture and white noise n, the mean square of J^T n is that of J's columns.
    """
    with torch.enable_grad():
        variable = sets.detach().clone().requires_grad_()
        pictures = rendered(variable)
        noise = torch.randn(pictures.shape, generator=generator)
        (gradient,) = torch.autograd.grad((pictures * noise.to(pictures)).sum(), variable)
    # What nothing depends on still has a weight, as it is divided by.
    mean = gradient.square().mean((0, 1)).sqrt()
    return mean.clamp(min=1e-3 * float(mean.max()))
