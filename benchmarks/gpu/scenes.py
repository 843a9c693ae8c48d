"""Inputs of all sections: sizes, a photo, and Gaussians from a short fit of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu.timing import Timer
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Blend, Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.images import find_images, load_image
from fastgs.render import Backend, cuda
from fastgs.render import cuda_bin_kernels as bin_kernels
from fastgs.render import rasterize as dispatch

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Sizes of all measurements.

    Attributes:
        scenes: Sides in pixels and K of the scenes that are timed.
        tuned: Scenes in which launch shapes and gsplat are tried.
        scene_iterations: Number of iterations of the fit that makes a scene.
        checked: Side in pixels and K of the batches that are compared with the reference.
        checked_steps: Number of steps of the descents that are compared.
        blends: Rules that are checked.
        copied: Size in bytes of the buffers that are copied.
        steps: Number of steps of a descent that are timed by the host's clock.
        side: Side in pixels of the photos that are fitted and given to the networks.
        counts: K of these.
        iterations: Number of iterations of the longest fit.
        lengths: Numbers of iterations of the fits whose PSNR is recorded.
        batches: Sides in pixels, K and number of images that are fitted at once.
        crops: Number of crops in a batch of training.
        crop: Side of the crops in pixels.
        training_steps: Number of steps of training that are timed.
    """

    scenes: tuple[tuple[int, int], ...]
    tuned: tuple[tuple[int, int], ...]
    scene_iterations: int
    checked: tuple[int, int]
    checked_steps: int
    blends: tuple[Blend, ...]
    copied: int
    steps: int
    side: int
    counts: tuple[int, ...]
    iterations: int
    lengths: tuple[int, ...]
    batches: tuple[tuple[int, int, int], ...]
    crops: int
    crop: int
    training_steps: int


FULL = Plan(
    scenes=((512, 10_000), (512, 50_000), (512, 100_000), (2048, 50_000), (2048, 500_000)),
    tuned=((512, 10_000), (512, 50_000)),
    scene_iterations=30,
    checked=(150, 1_000),
    checked_steps=10,
    blends=("normalized", "sum"),
    copied=2**31,
    steps=500,
    side=512,
    counts=(10_000, 50_000),
    iterations=400,
    lengths=(20, 100, 200),
    batches=((64, 128, 1_000), (128, 512, 250), (256, 2_000, 64)),
    crops=16,
    crop=256,
    training_steps=10,
)
# The smallest sizes that reach every line of code, since the interpreter is slow.
TOY = Plan(
    scenes=((8, 6),),
    tuned=((8, 6),),
    scene_iterations=1,
    checked=(6, 4),
    checked_steps=2,
    blends=("normalized",),
    copied=2**20,
    steps=1,
    side=24,
    counts=(12,),
    iterations=4,
    lengths=(2,),
    batches=((16, 8, 2),),
    crops=2,
    crop=16,
    training_steps=1,
)


def rasterize(
    *tensors: Tensor, blend: Blend = "normalized", backend: Backend = "cuda", top_k: None = None, **batch: Any
) -> Tensor:
    """Render with the kernels like `fastgs.render.rasterize`, which refuses them for tensors on the CPU.

    There, the interpreter runs them. `top_k` must be None; it is accepted because `AutogradDescent` passes it.
    """
    means, scales, rotations, colors = tensors
    if means.is_cuda or backend == "reference":
        return dispatch(means, scales, rotations, colors, **batch, blend=blend, backend=backend)
    return cuda.rasterize(means, scales, rotations, colors, **batch, normalized=blend == "normalized")


def tensors_of(gaussians: Gaussians) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return means, scales, rotations and colours."""
    return gaussians.means, gaussians.scales, gaussians.rotations, gaussians.colors


def initialize(target: Tensor, num_gaussians: int) -> Gaussians:
    """Place Gaussians by the default initializer, for a target (3, H, W) on the CPU, where positions are drawn."""
    return INITIALIZERS[DEFAULT](target, num_gaussians, torch.Generator().manual_seed(0))


class Scene:
    """Gaussians from a short fit of a photo, and all inputs and outputs of the kernels.

    Args:
        target: (3, H, W) image on the CPU.
        num_gaussians: K.
        iterations: Number of iterations of the fit.
        device: Device of the tensors.
    """

    def __init__(self, target: Tensor, num_gaussians: int, iterations: int, device: torch.device) -> None:
        start = initialize(target, num_gaussians).to(device)
        self.target = target.to(device)
        self.gaussians = fit(self.target, start, FitOptions(iterations)).gaussians
        self.height, self.width = target.shape[1:]
        self.record: Record = {"size": self.height, "num_gaussians": num_gaussians}
        self.layout = cuda.lay_out((num_gaussians,), ((1.0, 1.0),), self.height, self.width, device)
        self.rows = cuda.prepare(*tensors_of(self.gaussians))
        self.bins = cuda.find_tiles(self.rows, self.layout)
        self.counts = self.bins.counts.clone()  # which a drawing empties
        self.entries = int(self.counts.sum())
        self.state = torch.zeros(bin_kernels.STATES.value, dtype=torch.int32, device=device)
        self.image = self.target.new_empty(1, len(target), self.height, self.width)
        self.in_pixels = self.target.new_empty(1, len(target) + 1, self.height, self.width)
        self.in_gaussians = tuple(torch.empty_like(each) for each in tensors_of(self.gaussians))
        self.draw()

    def draw(self) -> None:
        """Render, and compute the gradients of the squared error in the pixels."""
        self.bins.counts.copy_(self.counts)
        cuda.draw(
            *(self.rows, len(self.target), self.bins, self.layout, True),
            *(self.image, self.in_pixels, self.target[None], self.state),
        )

    def fill(self) -> None:
        """Put all Gaussians into the bins."""
        self.bins.counts.zero_()
        cuda.fill(self.rows, self.layout, self.bins, self.state)

    def collect(self) -> None:
        """Compute the gradients of the Gaussians from those of the pixels."""
        cuda.collect(self.gaussians.scales, self.rows, self.layout, self.in_pixels, self.in_gaussians)


@dataclass(frozen=True, eq=False)  # by identity, as a key of caches
class Bench:
    """Argument of all sections.

    Attributes:
        device: Device of the measurements.
        timer: Timer of that device.
        plan: Sizes.
        photo: File of a photo.
        fit_photos: Folder of more photos, or None.
        seed: Seed of random inputs.
    """

    device: torch.device
    timer: Timer
    plan: Plan
    photo: Path
    fit_photos: Path | None
    seed: int


@cache
def photos(bench: Bench) -> list[tuple[str, Tensor]]:
    """Return the name and the centre crop (3, side, side), on the CPU, of all photos that are fitted."""
    paths = [bench.photo, *(find_images(bench.fit_photos) if bench.fit_photos else ())]
    return [(path.name, load_image(path, bench.plan.side)) for path in paths]


@cache
def scene(bench: Bench, side: int, num_gaussians: int) -> Scene:
    """Make a scene from the photo, stretched to a square."""
    photo = load_image(bench.photo)
    target = functional.interpolate(photo[None], size=(side, side), mode="area")[0].clamp(0, 1)
    return Scene(target, num_gaussians, bench.plan.scene_iterations, bench.device)
