"""Feed-forward pipeline: predict a density, sample it, correct the attributes (Fast-2DGS, arXiv 2512.12774).

Both networks correct the best heuristic; until trained, they correct nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature
from fastgs.initializers.from_density import gaussians_at
from fastgs.initializers.sampling import METHODS, sample
from fastgs.models import AttributeNetwork, PositionNetwork, correct
from fastgs.models.attribute import CORRECTIONS, AttributeInputs, GaussianState, units
from fastgs.models.conditioned import ConditionedNetwork
from fastgs.models.inference import MOST_PER_PIXEL, FastPasses, FastPosition, PreparedAttribute, PreparedUNet
from fastgs.render import rasterize
from fastgs.runtime import threads
from fastgs.runtime.precision import has_bfloat16

Generators = Sequence[torch.Generator | None]
Prepared = TypeVar("Prepared", bound=PreparedUNet)


class LearnedInitializer(nn.Module):
    """Makes K Gaussians of an image in one forward pass.

    Args:
        position: Network that predicts the density; None places Gaussians by the density of the curvature heuristic.
        attribute: Network that corrects the attributes; None leaves them as the heuristics make them.
        sampling: Name of a method of `fastgs.initializers.sampling.sample`.

    Raises:
        ValueError: The method of sampling is unknown.
    """

    def __init__(
        self,
        position: PositionNetwork | None,
        attribute: AttributeNetwork | None = None,
        sampling: str = "error_diffusion",
    ) -> None:
        super().__init__()
        if sampling not in METHODS:
            raise ValueError(f"sampling: expected one of {', '.join(METHODS)}, got {sampling!r}")
        self.position = position
        self.attribute = attribute
        self.sampling = sampling
        self._prepared: dict[type, tuple[object, Any]] = {}

    def log_densities(self, images: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the (B, H, W) logarithms of densities, each summing to 1, for B counts on (B, 3, H, W) images."""
        prior = _curvature_densities(images, counts)
        if self.position is None:
            return prior.log()
        result: Tensor = self.position(images, prior, torch.tensor(counts, device=images.device))
        return result

    @torch.no_grad()
    def densities(self, images: Tensor, counts: Sequence[int], fast: bool = False) -> Tensor:
        """Return the (B, H, W) densities, each summing to 1, for B counts on (B, 3, H, W) images; no gradient.

        `fast` is that of `forward`.
        """
        if self.position is None:
            return _curvature_densities(images, counts)
        if fast and images.device.type == "cpu":
            prior = _curvature_densities(images, counts)
            log_densities: Tensor = self._prepare(FastPosition, self.position)(images, prior, torch.tensor(counts))
            return log_densities.exp()
        return self.log_densities(images, counts).exp()

    @torch.no_grad()
    def place(
        self, images: Tensor, densities: Tensor, counts: Sequence[int], generators: Generators
    ) -> list[Gaussians]:
        """Draw Gaussians from (B, H, W) densities; their attributes are those of the heuristics."""
        with threads.reserved():
            return [
                gaussians_at(sample(density, count, self.sampling, generator).to(image.device), image, density)
                for image, density, count, generator in zip(images, densities, counts, generators, strict=True)
            ]

    def correct(self, images: Tensor, densities: Tensor, gaussians: Sequence[Gaussians]) -> list[list[Gaussians]]:
        """Let the attribute network correct placed Gaussians.

        Gradients go to its weights; those of a pass do not reach back into the pass before (as in RAFT, Teed and Deng
        2020): each pass learns to improve on what it finds.

        Args:
            images: (B, 3, H, W) in [0, 1].
            densities: (B, H, W) densities that the Gaussians were drawn from.
            gaussians: B sets of Gaussians.

        Returns:
            The B sets after each pass.
        """
        base, counts = _join(gaussians), [len(each) for each in gaussians]
        corrections = self._corrections(images, densities, base, counts, fast=False)
        return [_split(correct(base, each), counts) for each in corrections]

    def _corrections(
        self, images: Tensor, densities: Tensor, base: Gaussians, counts: list[int], fast: bool
    ) -> Iterator[Tensor]:
        """Yield the (N, 8) corrections of joined sets after each pass, by `FastPasses` if that is possible."""
        assert self.attribute is not None
        num_gaussians = torch.tensor(counts, device=images.device)
        scatter = _Scatter(base.means, num_gaussians, images.shape)
        passes = self._fast_passes(images, densities, scatter, num_gaussians) if fast else None
        corrections = forces = added = base.means.new_zeros(len(base), CORRECTIONS)
        for _ in range(self.attribute.passes):
            previous_forces = forces
            errors, forces = _errors_and_forces(images, base, corrections, counts)
            # Errors fall by a factor of ten from pass to pass and from few to many Gaussians, so the network is given
            # their size separately.
            with threads.reserved():  # the mean depends on the number of threads in its last bits
                sizes = errors.square().mean((1, 2, 3)).sqrt().clamp(min=1e-4)
            size = torch.repeat_interleave(sizes, num_gaussians)[:, None]
            unit = units(size)
            state = GaussianState(scatter.number, corrections, forces / size, previous_forces / size, added / unit)
            errors = errors / sizes[:, None, None, None]
            if passes is not None:
                answer = unit * passes(errors, sizes, state.columns())
            else:
                planes = scatter.means(state.columns())
                inputs = AttributeInputs(images, densities, errors, sizes, planes, num_gaussians)
                answer = unit * scatter.gather(self.attribute(inputs))
            yield corrections + answer
            added = answer.detach()
            corrections = corrections + added

    def _fast_passes(
        self, images: Tensor, densities: Tensor, scatter: _Scatter, num_gaussians: Tensor
    ) -> FastPasses | None:
        """Return the passes without gradients; None on another device than the CPU, or for too many Gaussians."""
        assert self.attribute is not None
        if images.device.type != "cpu" or not 0 < len(scatter.pixels) <= MOST_PER_PIXEL * densities.numel():
            return None
        network = self._prepare(PreparedAttribute, self.attribute)
        return FastPasses(network, images, densities, scatter.pixels, scatter.number, num_gaussians)

    def _prepare(self, kind: type[Prepared], network: ConditionedNetwork) -> Prepared:
        """Return a network in another form, which is kept until its weights or the precision change."""
        precision = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        # Optimizers and files of weights change tensors in place, which counts up their versions.
        tensors = network.state_dict(keep_vars=True).values()
        key = (precision, [(each.data_ptr(), 0 if each.is_inference() else each._version) for each in tensors])
        if kind not in self._prepared or self._prepared[kind][0] != key:
            self._prepared[kind] = key, kind(network, precision)
        prepared: Prepared = self._prepared[kind][1]
        return prepared

    def forward(
        self, images: Tensor, counts: Sequence[int], generators: Generators, fast: bool = False
    ) -> list[Gaussians]:
        """Make Gaussians for a batch.

        Args:
            images: (B, 3, H, W) in [0, 1].
            counts: B numbers of Gaussians; exactly as many are made.
            generators: B generators on the CPU for everything random; None stands for the global one.
            fast: Use `fastgs.models.inference` where that is possible: without gradients, and rounded differently.
        """
        densities = self.densities(images, counts, fast)
        placed = self.place(images, densities, counts, generators)
        if self.attribute is None:
            return placed
        base, counts = _join(placed), list(counts)
        *_, corrections = self._corrections(images, densities, base, counts, fast)
        return _split(correct(base, corrections), counts)

    @torch.no_grad()
    def initialize(self, image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
        """Make K Gaussians for one (C, H, W) image, as a `fastgs.initializers.Initializer`.

        The networks see RGB: gray three times, or the first three channels. Colours of other channels are those of the
        pixels, as of the heuristics.
        """
        # bfloat16, as in training, takes half the time of float32 and costs 0.01 dB; emulated, it would be slower.
        native = image.device.type == "cpu" and has_bfloat16()
        with torch.autocast("cpu", torch.bfloat16, enabled=native):
            gaussians: Gaussians = self(to_rgb(image)[None], [num_gaussians], [generator], fast=True)[0]
        return from_rgb(gaussians, image)


@torch.no_grad()
def _curvature_densities(images: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the (B, H, W) densities of the curvature heuristic for B counts on (B, 3, H, W) images."""
    with threads.reserved():
        return torch.stack([curvature.density(image, count) for image, count in zip(images, counts, strict=True)])


def to_rgb(image: Tensor) -> Tensor:
    """Return the (3, H, W) image that the networks see of a (C, H, W) one."""
    return image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)


def from_rgb(gaussians: Gaussians, image: Tensor) -> Gaussians:
    """Return RGB Gaussians that the networks made for `to_rgb(image)` with as many channels as the image."""
    if len(image) == gaussians.channels:
        return gaussians
    _, height, width = image.shape
    columns = gaussians.means[:, 0].long().clamp(0, width - 1)
    rows = gaussians.means[:, 1].long().clamp(0, height - 1)
    known = gaussians.colors if len(image) > gaussians.channels else gaussians.colors.mean(1, keepdim=True)
    return replace(gaussians, colors=torch.cat([known, image[known.shape[1] :, rows, columns].T], dim=1))


class _Scatter:
    """Maps values of Gaussians to planes over pixels and back, for a ragged batch.

    Args:
        means: (N, 2) centres of the joined Gaussians in pixels.
        num_gaussians: (B,) numbers of Gaussians of the images.
        shape: (B, C, H, W) shape of the images.

    Attributes:
        pixels: (N,) index of each Gaussian's pixel among all B H W.
        number: (N, 1) number of Gaussians in that pixel.
    """

    def __init__(self, means: Tensor, num_gaussians: Tensor, shape: torch.Size) -> None:
        batch, _, self.height, self.width = shape
        columns = means[:, 0].long().clamp(0, self.width - 1)
        rows = means[:, 1].long().clamp(0, self.height - 1)
        image = torch.repeat_interleave(torch.arange(batch, device=means.device), num_gaussians)
        self.pixels = (image * self.height + rows) * self.width + columns
        self.number = torch.bincount(self.pixels)[self.pixels, None].to(means)
        self._planes = means.new_zeros(batch * self.height * self.width, 0)

    def means(self, values: Tensor) -> Tensor:
        """Map (N, C) values to the (B, C, H, W) means over the Gaussians in each pixel; valid until the next call."""
        channels = values.shape[1]
        # One buffer serves all calls: fresh memory of this size takes ten times as long as what is done in it.
        if self._planes.shape[1] != channels:
            self._planes = values.new_zeros(len(self._planes), channels)
        self._planes.index_fill_(0, self.pixels, 0.0).index_add_(0, self.pixels, values / self.number)
        return self._planes.view(-1, self.height, self.width, channels).permute(0, 3, 1, 2)

    def gather(self, planes: Tensor) -> Tensor:
        """Return the (N, C) values of (B, C, H, W) planes at each Gaussian's pixel."""
        return planes.permute(0, 2, 3, 1).reshape(-1, planes.shape[1])[self.pixels]


def _errors_and_forces(
    images: Tensor, base: Gaussians, corrections: Tensor, counts: list[int]
) -> tuple[Tensor, Tensor]:
    """Return the errors of corrected Gaussians as images, and how they pull at each correction.

    Returns:
        (B, 3, H, W) image minus rendering, and (N, 8) minus half the gradient of the sum of its squares in the
        corrections, per area 2 pi s1 s2 of the uncorrected Gaussian.
    """
    height, width = images.shape[-2:]
    with threads.reserved(), torch.enable_grad():
        variables = corrections.clone().requires_grad_()
        gaussians = correct(base, variables)
        rendered = rasterize(
            gaussians.means,
            gaussians.scales,
            gaussians.rotations,
            gaussians.colors,
            counts=counts,
            pitches=[(1.0, 1.0)] * len(counts),
            height=height,
            width=width,
        )
        errors = images - rendered.detach()
        (forces,) = torch.autograd.grad(rendered, variables, errors)
    return errors, forces / (2 * torch.pi * base.scales.prod(1, keepdim=True))


def _join(gaussians: Sequence[Gaussians]) -> Gaussians:
    """Join sets of one canvas to one set, in their order."""
    return replace(
        gaussians[0],
        means=torch.cat([each.means for each in gaussians]),
        scales=torch.cat([each.scales for each in gaussians]),
        rotations=torch.cat([each.rotations for each in gaussians]),
        colors=torch.cat([each.colors for each in gaussians]),
    )


def _split(gaussians: Gaussians, counts: list[int]) -> list[Gaussians]:
    """Invert `_join`."""
    tensors = (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.colors)
    return [
        replace(gaussians, means=means, scales=scales, rotations=rotations, colors=colors)
        for means, scales, rotations, colors in zip(*(torch.split(each, counts) for each in tensors), strict=True)
    ]
