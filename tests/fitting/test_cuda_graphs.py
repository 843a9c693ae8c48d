"""CUDA graphs of the descent on a GPU: what goes on in them, and when; Triton's interpreter stands in for the GPU."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from against_reference import gaussians_and_target
from optional import skip_without_kernels
from torch.utils._python_dispatch import TorchDispatchMode

from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.parametrization import Relative

skip_without_kernels()
from fastgs.fitting import batch_cuda, optimizer_cuda  # noqa: E402
from fastgs.render import cuda_bin_kernels, cuda_kernels  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


class Watch(TorchDispatchMode):
    """Mode that lists the operators of torch, apart from those that launch kernels."""

    def __init__(self):
        super().__init__()
        self.seen, self.launching = [], False

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):
        if not self.launching:
            self.seen.append(str(operator))
        return operator(*arguments, **(named or {}))


class Recorded:
    """Kernel that notes its launches as a graph would: addresses of tensors, and numbers."""

    def __init__(self, kernel, launches, watch):
        self.kernel, self.launches, self.watch = kernel, launches, watch

    def __getitem__(self, grid):
        def launch(*arguments, **constants):
            values = [each.data_ptr() if isinstance(each, torch.Tensor) else each for each in arguments]
            self.launches.append((self.kernel, grid, values, constants))
            self.watch.launching = True
            self.kernel[grid](*arguments, **constants)
            self.watch.launching = False

        return launch


@pytest.fixture
def graphs(monkeypatch):
    """Return the list of graphs that are made; each checks that whatever it does is what it did the first time."""
    made, launches, watch = [], [], Watch()

    class Graph:
        def __init__(self, device):
            self.first = None
            made.append(self)

        def run(self, work):
            launches.clear()
            with watch:
                work()
            assert not watch.seen, "it may not allocate, nor look at a number"
            assert launches
            if self.first is None:
                self.first = list(launches)
            assert launches == self.first, "a graph would do what it did the first time"

    monkeypatch.setattr(optimizer_cuda, "_Graph", Graph)
    monkeypatch.setattr(optimizer_cuda, "descend", Recorded(optimizer_cuda.descend, launches, watch))
    for module, name in ((cuda_kernels, "sum_slices"), (cuda_bin_kernels, "spread"), (cuda_kernels, "forward")):
        monkeypatch.setattr(module, name, Recorded(getattr(module, name), launches, watch))
    return made


def test_edits_that_keep_k_keep_the_graphs(graphs):
    """Steps alone and in tens, with changing factors, before and after Gaussians move."""
    gaussians, target = gaussians_and_target(3, 8, 8)
    descent = optimizer_cuda.CudaDescent(Relative(gaussians), target, LearningRates())
    first = list(graphs)
    for turn, steps in enumerate((11, 10)):
        for step in range(steps):
            descent.step(1.0 - 0.01 * step)
        keep = torch.tensor([True, turn == 1, turn == 0], device=target.device)
        descent.edit(keep, gaussians_and_target(1, 8, 8, seed=turn + 1)[0])
    descent.step(1.0)
    assert len(descent.gaussians()) == 3
    assert graphs == first
    assert [len(each.first) for each in graphs] == [4, 40]
    # Another number of Gaussians takes other graphs.
    descent.edit(torch.ones(3, dtype=torch.bool, device=target.device), gaussians_and_target(1, 8, 8, seed=9)[0])
    descent.step(1.0)
    assert len(descent.gaussians()) == 4
    assert len(graphs) == 4


def test_a_batch_has_the_graphs_of_one_image(graphs):
    """All images are in the launches of one; what moves in one of them changes nothing in them."""
    starts, targets = zip(*(gaussians_and_target(count, 8, 8, seed=count) for count in (2, 3)), strict=True)
    descent = batch_cuda.KernelBatch(targets, starts, LearningRates())
    first = list(graphs)
    for number in range(2):
        for _ in range(11):
            descent.step(1.0)
        keep = torch.arange(5, device=targets[0].device) != 4 * number
        descent.edit(keep, gaussians_and_target(1, 8, 8, seed=9)[0])
    assert [len(each) for each in descent.each()] == [2, 3]
    assert graphs == first and [len(each.first) for each in graphs] == [4, 40]


def test_graphs_are_captured_once_without_emptying_caches(monkeypatch):
    """The objects of torch that only a device has are replaced."""
    calls = []
    cuda = SimpleNamespace(
        CUDAGraph=lambda: SimpleNamespace(
            capture_begin=lambda **_: calls.append("begin"),
            capture_end=lambda: calls.append("end"),
            replay=lambda: calls.append("replay"),
        ),
        device=lambda _: contextlib.nullcontext(),
        stream=lambda _: contextlib.nullcontext(),
        Stream=lambda _: None,
    )
    monkeypatch.setattr(optimizer_cuda, "torch", SimpleNamespace(cuda=cuda))
    graph = optimizer_cuda._Graph(SimpleNamespace(type="cuda"))
    for _ in range(4):
        graph.run(lambda: calls.append("work"))
    assert calls == ["work", "begin", "work", "end", "replay", "replay", "replay"]
