"""Gaussians at given positions: scales, rotations and colours by one rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fastgs.gaussians import MIN_SCALE, Blend, Gaussians
from fastgs.initializers.filters import measure_structure, smooth
from fastgs.initializers.sampling import sample, sample_each
from fastgs.runtime.transfer import send


@dataclass(frozen=True)
class ShapeRule:
    """Rule for the scales of Gaussians; benchmarks/LOG.md, section "Start", compares such rules.

    Attributes:
        scale: Standard deviation in units of the local spacing 1 / sqrt(K density).
        elongation: Half the logarithm of the axis ratio where all local gradients have one direction: Gaussians are
            long along an edge and short across it.
        noise: Gradient in units of the colour range per pixel; smaller ones are noise and elongate nothing.
    """

    scale: float = 0.42
    elongation: float = 0.5
    noise: float = 0.01


SHAPE = ShapeRule()


def gaussians_from_density(
    image: Tensor, density: Tensor, num_gaussians: int, generator: torch.Generator | None
) -> Gaussians:
    """Return Gaussians at positions drawn from a density by error diffusion.

    Args:
        image: (3, H, W) image.
        density: (H, W) density of positions; its scale does not matter.
        num_gaussians: K, the number of Gaussians.
        generator: Source of everything random, on the CPU; by default torch's global one.
    """
    density = density / density.sum()
    return gaussians_at(sample(density, num_gaussians, generator=generator).to(image.device), image, density)


@dataclass(frozen=True)
class FromDensity:
    """Initializer by a density, of one image or of many at once (`fastgs.initializers.BatchInitializer`).

    Attributes:
        density: Callable (image, K) -> (H, W) density of positions; its scale does not matter.
        densities: Callable (images, counts) -> (B, H, W) densities of (B, C, H, W) images, the same to the bit.
    """

    density: Callable[[Tensor, int], Tensor]
    densities: Callable[[Tensor, Sequence[int]], Tensor]

    def __call__(self, image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
        """Return K Gaussians at positions error-diffused from the density."""
        return gaussians_from_density(image, self.density(image, num_gaussians), num_gaussians, generator)

    def batch(self, images: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> list[Gaussians]:
        """Return K Gaussians for each image."""
        counts = [num_gaussians] * len(images)
        densities = self.densities(images, counts)
        densities = densities / densities.sum((1, 2), keepdim=True)
        means = sample_each(densities, num_gaussians, generator).to(images.device)
        together = gaussians_in_batch(means.flatten(0, 1), images, densities, counts)
        return replace(together).split(counts)  # a copy, of which the constructor checks the values


class Structure(NamedTuple):
    """Structure tensor of an image, smoothed over a pixel: products of its derivatives, summed over channels.

    Attributes:
        xx: (..., H, W) products of the derivatives in x.
        xy: (..., H, W) products of both.
        yy: (..., H, W) products of the derivatives in y.
    """

    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, image: Tensor) -> Structure:
        """Return that of (..., C, H, W) images."""
        return cls(*(smooth(plane, 1.0) for plane in measure_structure(image)))


def gaussians_at(means: Tensor, image: Tensor, density: Tensor, structure: Structure | None = None) -> Gaussians:
    """Return Gaussians at given positions.

    Scales follow the spacing that the density implies, colours are those of the pixels, and the ellipses lie along the
    local structure: their axes and elongation come from direction and coherence of the structure tensor (Foerstner and
    Guelch 1987), smoothed over a pixel.

    Args:
        means: (K, 2) x, y in pixels.
        image: (3, H, W) image.
        density: (H, W) density of positions, which sums to 1.
        structure: Structure of the image, if it is known already.
    """
    rows, columns = _find_pixels(means, image)
    return replace(gaussians_by_spacing(means, image, (len(means) * density[rows, columns]).rsqrt(), structure))


def gaussians_in_batch(means: Tensor, images: Tensor, densities: Tensor, counts: Sequence[int]) -> Gaussians:
    """Return Gaussians as `gaussians_at` does, those of a batch of images one after the other; values are not checked.

    This does not wait for a GPU.

    Args:
        means: (N, 2) x, y in pixels.
        images: (B, 3, H, W) images.
        densities: (B, H, W) densities of positions, each summing to 1.
        counts: B numbers of Gaussians, with the sum N.
    """
    rows, columns = _find_pixels(means, images)
    image = index_images(counts, means.device)
    number = send(torch.tensor(counts), means.device)[image]
    return gaussians_by_spacing_in_batch(means, images, (number * densities[image, rows, columns]).rsqrt(), counts)


def gaussians_by_spacing_in_batch(
    means: Tensor, images: Tensor, spacing: Tensor, counts: Sequence[int], structure: Structure | None = None
) -> Gaussians:
    """Return Gaussians as `gaussians_in_batch` does, where the spacing is known for each.

    Args:
        means: (N, 2) x, y in pixels.
        images: (B, C, H, W) images.
        spacing: (N,) local spacings in pixels.
        counts: B numbers of Gaussians, with the sum N.
        structure: Structure of the images, if it is known already.
    """
    rows, columns = _find_pixels(means, images)
    image = index_images(counts, means.device)
    here = (plane[image, rows, columns] for plane in structure or Structure.of(images))
    scales, rotations = _shape(spacing, Structure(*here), counts)
    colors = images.permute(0, 2, 3, 1)[image, rows, columns]
    return Gaussians.unchecked(means, scales, rotations, colors, *images.shape[-2:])


def index_images(counts: Sequence[int], device: torch.device) -> Tensor:
    """Return the (N,) int64 number of the image of each Gaussian, given the B numbers of Gaussians."""
    return send(torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), device)


def gaussians_by_spacing(
    means: Tensor, image: Tensor, spacing: Tensor, structure: Structure | None = None, blend: Blend = "normalized"
) -> Gaussians:
    """Return Gaussians at given positions as `gaussians_at` does, with given spacings; values are not checked.

    Args:
        means: (K, 2) x, y in pixels.
        image: (3, H, W) image.
        spacing: (K,) local spacings in pixels.
        structure: Structure of the image, if it is known already.
        blend: Blend rule of the Gaussians.
    """
    _, height, width = image.shape
    rows, columns = _find_pixels(means, image)
    here = Structure(*(plane[rows, columns] for plane in structure or Structure.of(image)))
    scales, rotations = _shape(spacing, here)
    colors = image[:, rows, columns].T.contiguous()
    return Gaussians.unchecked(means, scales, rotations, colors, height, width, blend)


def _shape(spacing: Tensor, structure: Structure, counts: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """Return the scales (K, 2) and rotations (K,) for spacings and the structure at the places of Gaussians, (K,).

    With counts, they are the Gaussians of several images, so many of each.
    """
    xx, xy, yy = structure
    spread = torch.sqrt((xx - yy) ** 2 + 4 * xy**2)
    elongation = torch.exp(SHAPE.elongation * spread / (xx + yy + SHAPE.noise**2))
    across = (SHAPE.scale * spacing / elongation).clamp(min=MIN_SCALE)
    along = (SHAPE.scale * spacing * elongation).clamp(min=MIN_SCALE)
    # The direction of the gradient, across the edge. On a CPU, the elements of a tensor that fill no vector are rounded
    # otherwise than the others, so each image is a call of its own.
    sides = 2 * xy, xx - yy
    if counts is None or spacing.is_cuda:
        angles = torch.atan2(*sides)
    else:
        angles = torch.cat(
            [torch.atan2(*pair) for pair in zip(*(torch.split(side, list(counts)) for side in sides), strict=True)]
        )
    return torch.stack([across, along], dim=1), 0.5 * angles


def _find_pixels(means: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of the pixels of (K, 2) positions on (..., H, W) images."""
    height, width = image.shape[-2:]
    return means[:, 1].long().clamp(0, height - 1), means[:, 0].long().clamp(0, width - 1)
