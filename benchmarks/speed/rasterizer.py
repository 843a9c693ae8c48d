"""Time of the rasterizer, forward and backward, by backend, size and K, beside the C++ yardstick.

    python -m benchmarks.speed.rasterizer [PHOTO]

The Gaussians come from a short fit of the photo, so that shapes and sizes are realistic. At 512 x 512, the yardstick
(yardstick.cpp), the kernels of fastgs and two whole fits take turns, since the speed of machines drifts. Results are
medians. The time of an iteration is what a fit of MORE iterations takes longer than one of FEW, by iteration.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from benchmarks.environment import write_results
from benchmarks.speed import yardstick
from fastgs.fitting.fit import fit
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.images import load_image
from fastgs.render import Backend, render

SAMPLE = Path(__file__).parents[2] / "assets" / "coffee.png"
CASES = [(512, 10_000), (512, 50_000), (512, 100_000), (2048, 50_000), (2048, 200_000)]  # side in pixels, K
REFERENCE_CASE = (128, 1_000)  # small, since the reference evaluates every Gaussian at every pixel
REPEATS = 15
FEW, MORE = 10, 30  # iterations


def in_turn(functions: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Return the median time of each function in milliseconds; they take turns, after one round of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: round(statistics.median(values[1:]), 3) for name, values in times.items()}


def leaves(gaussians: Gaussians) -> Gaussians:
    """Copy Gaussians into leaves that require gradients."""
    names = ("means", "scales", "rotations", "colors")
    tensors = {name: getattr(gaussians, name).detach().clone().requires_grad_() for name in names}
    return Gaussians(**tensors, height=gaussians.height, width=gaussians.width)


def passes(gaussians: Gaussians, backend: Backend, upstream: Tensor) -> dict[str, Callable[[], object]]:
    """Return the forward and the backward pass of a backend."""
    parameters = leaves(gaussians)
    rendered: list[Tensor] = []

    def forward() -> None:
        rendered[:] = [render(parameters, backend=backend)]

    def backward() -> None:
        rendered[0].backward(upstream)  # type: ignore[no-untyped-call]

    return {"forward": forward, "backward": backward}


def yardstick_passes(gaussians: Gaussians, upstream: Tensor) -> dict[str, Callable[[], object]]:
    """Return both passes of the C++ yardstick, and a step of Adam on as many parameters as a fit has."""
    cosine, sine = torch.cos(gaussians.rotations), torch.sin(gaussians.rotations)
    first, second = gaussians.scales.square().reciprocal().unbind(1)
    conics = torch.stack(
        [
            cosine**2 * first + sine**2 * second,
            cosine * sine * (first - second),
            sine**2 * first + cosine**2 * second,
        ],
        dim=1,
    )
    arrays = (gaussians.means.numpy(), conics.numpy(), gaussians.colors.numpy())
    threads = torch.get_num_threads()
    kept: list[yardstick.Array] = []

    parameters = [
        torch.zeros_like(tensor, requires_grad=True) for tensor in (gaussians.means, conics, gaussians.colors)
    ]
    for parameter in parameters:
        parameter.grad = torch.rand_like(parameter)
    adam = torch.optim.Adam(parameters, lr=0.01, fused=True)

    def forward() -> None:
        kept[:] = yardstick.forward(*arrays, gaussians.height, gaussians.width, threads)

    def backward() -> None:
        image, inverse = kept
        yardstick.backward(*arrays, image, inverse, upstream.numpy(), threads)

    return {"yardstick_forward": forward, "yardstick_backward": backward, "adam": adam.step}


def measure(photo: Tensor, size: int, num_gaussians: int, backend: Backend) -> dict[str, Any]:
    """Measure one case, and return a record with times in milliseconds."""
    target = load_image(torch.nn.functional.interpolate(photo[None], size=(size, size), mode="area")[0])
    gaussians = INITIALIZERS[DEFAULT](target, num_gaussians, torch.Generator().manual_seed(0))
    if backend != "reference":
        gaussians = fit(target, gaussians, FitOptions(30)).gaussians
    upstream = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))
    functions = passes(gaussians, backend, upstream)
    if backend == "cpu" and size == 512:
        functions |= yardstick_passes(gaussians, upstream)
        for iterations in (FEW, MORE):
            functions[f"fit_of_{iterations}"] = partial(fit, target, gaussians, FitOptions(iterations))
    times = in_turn(functions)
    if "adam" in times:
        few, more = (times.pop(f"fit_of_{iterations}") for iterations in (FEW, MORE))
        times["iteration"] = round((more - few) / (MORE - FEW), 3)
        bar = times["yardstick_forward"] + times["yardstick_backward"] + times["adam"]
        times["iteration_over_yardstick"] = round(times["iteration"] / bar, 3)
    return {"backend": backend, "size": size, "num_gaussians": num_gaussians, "milliseconds": times}


def main() -> None:
    """Measure, print the records, and write benchmarks/results/rasterizer.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", default=str(SAMPLE))
    arguments = parser.parse_args()
    photo = load_image(arguments.photo)
    cases: list[tuple[int, int, Backend]] = [(*REFERENCE_CASE, "reference"), (*REFERENCE_CASE, "cpu")]
    cases += [(size, num_gaussians, "cpu") for size, num_gaussians in CASES]
    records = [measure(photo, *case) for case in track(cases, description="timing")]
    for record in records:
        print(record)
    print(write_results("rasterizer", {"photo": Path(arguments.photo).name, "repeats": REPEATS}, records))


if __name__ == "__main__":
    main()
