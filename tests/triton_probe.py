"""A small Triton kernel, to see whether Triton works on this machine."""

import torch
import triton
import triton.language as tl


@triton.jit
def double(values, number, block: tl.constexpr):
    """Double a (number,) tensor in place, in a loop, as the kernels of the package have one."""
    for first in range(0, number, block):
        index = first + tl.arange(0, block)
        tl.store(values + index, 2.0 * tl.load(values + index, index < number, 0.0), index < number)


def run(device):
    """Run the kernel and check what it computes."""
    values = torch.arange(10.0, device=device)
    double[(1,)](values, 10, block=4)
    assert torch.equal(values, 2 * torch.arange(10.0, device=device))
