"""A pretended device: tensors that say they are on the device "meta", and whose operations a CPU computes.

Like those of an Apple GPU, they are none of float64, have no memory that NumPy could see, and do not mix with tensors
of the CPU, but for single numbers.
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from fastgs.runtime import precision, transfer

PRETENDED = torch.device("meta")  # of all types the one that PyTorch asks no driver for
# Operations whose results have a shape that depends on values, which a GPU must tell before anything goes on.
SHAPED_BY_VALUES = ("nonzero", "masked_select", "bincount", "repeat_interleave", "unique_dim", "_unique2")
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


waits: list[str] = []  # names of operations that would wait for a GPU, in their order


class Pretended(torch.Tensor):
    """Tensor on the pretended device.

    Args:
        inner: Tensor of the CPU that holds the numbers.
    """

    @staticmethod
    def __new__(cls, inner):
        if inner.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"{inner.dtype} was made on a device that has none")
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=PRETENDED
        )

    def __init__(self, inner):
        self.inner = inner

    def tolist(self):
        waits.append("tolist")
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function, args, kwargs):
    """Compute an operation of tensors of one device, or a move to another, on the CPU."""
    given = tree_leaves((args, kwargs))
    remote = [each for each in given if isinstance(each, Pretended)]
    local = [each for each in given if isinstance(each, torch.Tensor) and not isinstance(each, Pretended)]
    if remote and function not in MOVES and any(each.ndim for each in local):
        raise TypeError(f"{function} mixes devices")
    wanted = kwargs.get("device")
    is_remote = bool(remote) if wanted is None else wanted == PRETENDED
    name = function.overloadpacket.__name__
    leaves = bool(remote) and not is_remote
    arrives = function in MOVES and is_remote and bool(local) and not kwargs.get("non_blocking")
    if leaves or arrives or (remote and name in (*SHAPED_BY_VALUES, "_local_scalar_dense")):
        waits.append(name)
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args, kwargs = tree_map_only(Pretended, lambda each: each.inner, (args, kwargs))
    results = function(*args, **kwargs)
    if not is_remote:
        return results
    changed = {id(each.inner): each for each in remote}  # by operations in place
    return tree_map_only(
        torch.Tensor, lambda each: changed[id(each)] if id(each) in changed else Pretended(each), results
    )


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


@contextmanager
def pretended_device():
    """Let there be the device, in this block, which gives it."""
    precision.WITHOUT_FLOAT64.add(PRETENDED.type)
    transfer.WITHOUT_WAIT.add(PRETENDED.type)
    waits.clear()
    try:
        with _Operations():
            yield PRETENDED
    finally:
        precision.WITHOUT_FLOAT64.remove(PRETENDED.type)
        transfer.WITHOUT_WAIT.remove(PRETENDED.type)
