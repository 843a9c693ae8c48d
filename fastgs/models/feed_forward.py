"""Feed-forward pipeline: predict a density, sample it, correct the attributes (Fast-2DGS, arXiv 2512.12774).

Both networks correct the best heuristic; until trained, they correct nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from fastgs.gaussians import Gaussians
from fastgs.initializers import curvature
from fastgs.initializers.from_density import gaussians_in_batch, index_images
from fastgs.initializers.sampling import METHODS, sample
from fastgs.models import AttributeNetwork, PositionNetwork, correct
from fastgs.models.attribute import CORRECTIONS, AttributeInputs, GaussianState, units
from fastgs.models.conditioned import ConditionedNetwork
from fastgs.models.forces import FastForces
from fastgs.models.inference import MOST_PER_PIXEL, FastPasses, PreparedAttribute
from fastgs.models.prepared import FastPosition, PreparedUNet
from fastgs.render import rasterize
from fastgs.runtime import threads
from fastgs.runtime.precision import has_bfloat16, repeatable
from fastgs.runtime.transfer import send

Generators = Sequence[torch.Generator | None]
Prepared = TypeVar("Prepared", bound=PreparedUNet)


class Joined(NamedTuple):
    """Sets of Gaussians of a batch of images, which are worked on as one.

    Attributes:
        gaussians: All Gaussians, those of one image after those of the other.
        counts: Number of Gaussians of each image.
    """

    gaussians: Gaussians
    counts: list[int]

    def split(self) -> list[Gaussians]:
        """Return the set of each image."""
        whole = self.gaussians
        columns = (
            torch.split(each, self.counts) for each in (whole.means, whole.scales, whole.rotations, whole.colors)
        )
        return [whole.with_tensors(*each) for each in zip(*columns, strict=True)]

    def render(self) -> Tensor:
        """Render the (B, C, H, W) images, differentiable in the tensors."""
        whole = self.gaussians
        return rasterize(
            whole.means,
            whole.scales,
            whole.rotations,
            whole.colors,
            counts=self.counts,
            pitches=[(1.0, 1.0)] * len(self.counts),
            height=whole.height,
            width=whole.width,
            blend=whole.blend,
        )


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
        result: Tensor = self.position(images, prior, send(torch.tensor(counts), images.device))
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
    def place(self, images: Tensor, densities: Tensor, counts: Sequence[int], generators: Generators) -> Joined:
        """Draw Gaussians from (B, H, W) densities; their attributes are those of the heuristics."""
        with threads.reserved():
            drawn = zip(densities.cpu(), counts, generators, strict=True)  # the one wait for a GPU
            means = torch.cat([sample(density, count, self.sampling, source) for density, count, source in drawn])
            return Joined(gaussians_in_batch(send(means, images.device), images, densities, counts), list(counts))

    def correct(self, images: Tensor, densities: Tensor, placed: Joined) -> list[Joined]:
        """Let the attribute network correct placed Gaussians.

        Gradients go to its weights; those of a pass do not reach back into the pass before (as in RAFT, Teed and Deng
        2020): each pass learns to improve on what it finds.

        Args:
            images: (B, 3, H, W) in [0, 1].
            densities: (B, H, W) densities that the Gaussians were drawn from.
            placed: Sets of Gaussians of the images.

        Returns:
            The sets after each pass; their values are not checked.
        """
        corrections = self._corrections(images, densities, placed)
        return [Joined(correct(placed.gaussians, each), placed.counts) for each in corrections]

    def _corrections(self, images: Tensor, densities: Tensor, placed: Joined) -> Iterator[Tensor]:
        """Yield the (N, 8) corrections of joined sets after each pass."""
        assert self.attribute is not None
        base, counts = placed
        num_gaussians = send(torch.tensor(counts), images.device)
        scatter = _Scatter(base.means, counts, images.shape)
        corrections = forces = added = base.means.new_zeros(len(base), CORRECTIONS)
        for _ in range(self.attribute.passes):
            previous_forces = forces
            errors, forces = _errors_and_forces(images, base, corrections, counts)
            # Errors fall by a factor of ten from pass to pass and from few to many Gaussians, so the network is given
            # their size separately.
            with threads.reserved():  # the mean depends on the number of threads in its last bits
                sizes = errors.square().mean((1, 2, 3)).sqrt().clamp(min=1e-4)
            size = sizes[scatter.images, None]
            unit = units(size)
            state = GaussianState(scatter.number, corrections, forces / size, previous_forces / size, added / unit)
            planes = scatter.means(state.columns())
            inputs = AttributeInputs(
                images, densities, errors / sizes[:, None, None, None], sizes, planes, num_gaussians
            )
            answer = unit * scatter.gather(self.attribute(inputs))
            yield corrections + answer
            added = answer.detach()
            corrections = corrections + added

    @threads.reserved()
    def _fast_corrections(self, images: Tensor, densities: Tensor, placed: Joined) -> Tensor:
        """Return the last of `_corrections`, by `fastgs.models.inference`."""
        assert self.attribute is not None
        base, counts = placed
        scatter = _Scatter(base.means, counts, images.shape)
        look = FastForces(images, base, counts, scatter.images, scatter.number)
        network = self._prepare(PreparedAttribute, self.attribute)
        passes = FastPasses(network, images, densities, scatter.pixels, torch.tensor(counts))
        corrections = added = base.means.new_zeros(len(base), CORRECTIONS)
        for _ in range(self.attribute.passes):
            seen = look(corrections, added)
            added = units(seen.sizes[scatter.images, None]) * passes(seen)
            corrections = corrections + added
        return corrections

    def _prepare(self, kind: type[Prepared], network: ConditionedNetwork) -> Prepared:
        """Return a network in another form, which is kept until its weights or the precision change."""
        precision = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        # Optimizers and files of weights change tensors in place, which counts up their versions.
        tensors = network.state_dict(keep_vars=True).values()
        key = (precision, [(each.data_ptr(), 0 if each.is_inference() else each._version) for each in tensors])
        if kind not in self._prepared or self._prepared[kind][0] != key:
            with torch.autocast("cpu", enabled=False):  # sums of weights are of float32
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

        Returns:
            The Gaussians of each image, whose values are not checked.
        """
        if not fast or images.device.type != "cpu":
            densities = self.densities(images, counts)
            placed = self.place(images, densities, counts, generators)
            if self.attribute is not None:
                *_, corrections = self._corrections(images, densities, placed)
                placed = placed._replace(gaussians=correct(placed.gaussians, corrections))
            return placed.split()
        return self._fast_forward(images, counts, generators)

    @torch.no_grad()
    def _fast_forward(self, images: Tensor, counts: Sequence[int], generators: Generators) -> list[Gaussians]:
        """Return what `forward` does, by `fastgs.models.inference` where that is possible."""
        with threads.reserved():  # what is worth sharing is shared there
            densities = self.densities(images, counts, fast=True)
            placed = self.place(images, densities, counts, generators)
        if self.attribute is None:
            return placed.split()
        if 0 < len(placed.gaussians) <= MOST_PER_PIXEL * densities.numel():
            corrections = self._fast_corrections(images, densities, placed)
        else:
            *_, corrections = self._corrections(images, densities, placed)
        with threads.reserved():
            return placed._replace(gaussians=correct(placed.gaussians, corrections)).split()

    @torch.no_grad()
    def initialize(self, image: Tensor, num_gaussians: int, generator: torch.Generator | None = None) -> Gaussians:
        """Make K Gaussians for one (C, H, W) image, as a `fastgs.initializers.Initializer`.

        The networks see RGB: gray three times, or the first three channels. Colours of other channels are those of the
        pixels, as of the heuristics.
        """
        # bfloat16, as in training, takes half the time of float32 and costs 0.01 dB; emulated, it would be slower.
        native = image.device.type == "cpu" and has_bfloat16()
        with torch.autocast("cpu", torch.bfloat16, enabled=native), repeatable(image.device):
            gaussians: Gaussians = self(to_rgb(image)[None], [num_gaussians], [generator], fast=True)[0]
        return from_rgb(gaussians, image)


@torch.no_grad()
def _curvature_densities(images: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the (B, H, W) densities of the curvature heuristic for B counts on (B, 3, H, W) images."""
    with threads.reserved():
        return curvature.densities(images, counts)


def to_rgb(image: Tensor) -> Tensor:
    """Return the (3, H, W) image that the networks see of a (C, H, W) one."""
    return image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)


def from_rgb(gaussians: Gaussians, image: Tensor) -> Gaussians:
    """Return RGB Gaussians that the networks made for `to_rgb(image)` with as many channels as the image."""
    _, height, width = image.shape
    colors = gaussians.colors
    if len(image) != gaussians.channels:
        columns = gaussians.means[:, 0].long().clamp(0, width - 1)
        rows = gaussians.means[:, 1].long().clamp(0, height - 1)
        known = colors if len(image) > gaussians.channels else colors.mean(1, keepdim=True)
        colors = torch.cat([known, image[known.shape[1] :, rows, columns].T], dim=1)
    return replace(gaussians, colors=colors)  # which checks them


class _Scatter:
    """Maps values of Gaussians to planes over pixels and back, for a ragged batch.

    Args:
        means: (N, 2) centres of the joined Gaussians in pixels.
        counts: B numbers of Gaussians of the images.
        shape: (B, C, H, W) shape of the images.

    Attributes:
        images: (N,) number of the image of each Gaussian.
        pixels: (N,) index of each Gaussian's pixel among all B H W.
        number: (N, 1) number of Gaussians in that pixel.
    """

    def __init__(self, means: Tensor, counts: list[int], shape: torch.Size) -> None:
        batch, _, self.height, self.width = shape
        columns = means[:, 0].long().clamp(0, self.width - 1)
        rows = means[:, 1].long().clamp(0, self.height - 1)
        self.images = index_images(counts, means.device)
        self.pixels = (self.images * self.height + rows) * self.width + columns
        ones = torch.ones_like(means[:, 0])
        # Not `bincount`, which waits for a GPU to learn the length of its result.
        in_pixel = means.new_zeros(batch * self.height * self.width).index_add_(0, self.pixels, ones)
        self.number = in_pixel[self.pixels, None]
        self._planes = means.new_zeros(batch * self.height * self.width, 0)

    def means(self, values: Tensor) -> Tensor:
        """Map (N, C) values to the (B, C, H, W) means over the Gaussians in each pixel; valid until the next call."""
        channels = values.shape[1]
        # One buffer serves all calls: fresh memory of this size takes ten times as long as what is done in it.
        if self._planes.shape[1] != channels:
            self._planes = values.new_zeros(len(self._planes), channels)
        self._planes.index_fill_(0, self.pixels, 0.0)
        if self._planes.device.type == "cpu":
            self._planes.index_add_(0, self.pixels, values / self.number)
        else:  # not by atomics, whose order, and with it the last bits of a sum, changes from run to run
            self._planes.index_put_((self.pixels,), values / self.number, accumulate=True)
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
    with threads.reserved(), torch.enable_grad():
        variables = corrections.clone().requires_grad_()
        gaussians = correct(base, variables)
        rendered = Joined(gaussians, counts).render()
        errors = images - rendered.detach()
        (forces,) = torch.autograd.grad(rendered, variables, errors)
    return errors, forces / (2 * torch.pi * base.scales.prod(1, keepdim=True))
