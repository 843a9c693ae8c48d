"""Checks of the compiled kernels, for a process of its own in which Triton does not interpret them.

python tests/ptx/check_kernels.py CAPABILITY
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from against_reference import assert_equal_to_reference, gaussians_and_target, random_tensors
from launch import Emulated

from fastgs.fitting import optimizer_cuda, placement_cuda
from fastgs.fitting.optimizer import AutogradDescent, LearningRates
from fastgs.fitting.parametrization import Relative
from fastgs.render import cuda, cuda_bin_kernels, cuda_kernels

NAMES = {
    cuda_bin_kernels: ("prepare", "fill", "spread"),
    cuda_kernels: ("forward", "pixel_gradients", "backward", "sum_slices"),
}
ORIGINALS = [(module, name, getattr(module, name)) for module, names in NAMES.items() for name in names]
DESCEND = optimizer_cuda.descend


def install(capability: int, seed: int | None = None) -> None:
    """Put the emulated kernels in the place of the others."""
    for module, name, kernel in ORIGINALS:
        setattr(module, name, Emulated(kernel, capability, seed))
    optimizer_cuda.descend = Emulated(DESCEND, capability, seed)


def check_rendering() -> None:
    """Compare values and gradients with the reference, on a ragged batch of two canvases."""
    counts, pitches = [14, 0, 11], [(1.0, 1.0), (1.0, 1.0), (0.5, 2.0)]
    tensors = random_tensors(25, 11, 17)
    assert_equal_to_reference(tensors, 11, 17, "normalized", cuda, counts=counts, pitches=pitches)
    assert_equal_to_reference(tensors, 11, 17, "sum", cuda, counts=counts, pitches=pitches)
    # Programs of several warps for one Gaussian, and more Gaussians than are sorted at a time.
    assert_equal_to_reference(random_tensors(1, 9, 20, channels=4), 9, 20, "normalized", cuda)
    many = random_tensors(150, 8, 8, scales=lambda uniform: 0.5 + 3 * uniform(150, 2), channels=1)
    assert_equal_to_reference(many, 8, 8, "normalized", cuda)


def descend(count: int, seed: int | None, capability: int) -> tuple[torch.Tensor, ...]:
    """Compare a descent with autograd, where atomic operations arrive in some order, and return its Gaussians."""
    install(capability, seed)
    gaussians, target = gaussians_and_target(count, 13, 18)
    rates = LearningRates()
    ours = optimizer_cuda.CudaDescent(Relative(gaussians), target, rates)
    theirs = AutogradDescent(Relative(gaussians), target, rates.config(), "auto")
    for factor in (1.0, 0.7, 0.2):
        ours.step(factor)
        theirs.step(factor)
    torch.testing.assert_close(ours.image(), theirs.image().detach(), rtol=0, atol=1e-4)
    found, wanted = ours.gaussians(), theirs.gaussians()
    pairs = [(getattr(found, name), getattr(wanted, name)) for name in ("means", "scales", "rotations", "colors")]
    for ours_now, theirs_now in pairs:
        torch.testing.assert_close(ours_now, theirs_now, rtol=0, atol=1e-3)
    return tuple(each for each, _ in pairs)


def check_placement(capability: int) -> None:
    """Compare programs of one and of two warps, which go through rows in turns."""
    diffuse = Emulated(placement_cuda.diffuse, capability)
    expected, noise = torch.rand(2, 40, 9, generator=torch.Generator().manual_seed(0))
    counts = [torch.empty(40, 9, dtype=torch.int32) for _ in range(2)]
    for warps, found in enumerate(counts, 1):
        diffuse[(1,)](0.2 * expected, noise, torch.zeros(41, 11), found, 40, 9, LANES=32 * warps, num_warps=warps)
    assert torch.equal(*counts)
    assert abs(counts[0].sum() - 0.2 * expected.sum()) < 5


if __name__ == "__main__":
    capability = int(sys.argv[1])
    install(capability)
    check_rendering()
    check_placement(capability)
    optimizer_cuda.SLICE, optimizer_cuda.LONGEST = 40, 4  # many Gaussians are cut
    first, second = (descend(40, seed, capability) for seed in (None, 1))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    descend(2, 0, capability)  # programs of several warps
    print("checked")
