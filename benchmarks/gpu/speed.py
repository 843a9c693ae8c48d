"""Sections `rasterizer`, `launch_shapes` and `gsplat`: times of the kernels, alone and together.

Single kernels are replayed on the same memory, so caches are warm, as they are between the kernels of an iteration.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor

from benchmarks.gpu.scenes import Bench, Record, Scene, rasterize, scene, tensors_of
from benchmarks.gpu.timing import Timer, Work, spread
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.optimizer_cuda import BATCH, CudaDescent
from fastgs.fitting.parametrization import Relative
from fastgs.gaussians import Gaussians
from fastgs.render import cuda, render
from fastgs.render import cuda_bin_kernels as bin_kernels
from fastgs.render import cuda_kernels as kernels

# Gaussians of a program, lanes of a Gaussian, and warps in the backward kernel, for one and four warps of 32 threads.
BACKWARD_SHAPES = [(32 // lanes, lanes, 1) for lanes in (4, 8, 16, 32)]
BACKWARD_SHAPES += [(128 // lanes, lanes, 4) for lanes in (8, 16, 32, 64, 128)]
FORWARD_WARPS = (1, 2, 4)
# Of programs by Gaussian, as a whole iteration takes them: a warp moves Gaussians as fast as it moves one.
ITERATION_SHAPES = [(32 // lanes, lanes, 1) for lanes in (4, 8, 16, 32)]


@cache
def kernel_times(bench: Bench, side: int, num_gaussians: int) -> dict[str, list[float]]:
    """Measure the kernels in milliseconds.

    Those of an iteration are "slices", "descend" and "forward", the others those of renderings with gradients. All but
    "prepare" and "backward" include launches that set counters.
    """
    case = scene(bench, side, num_gaussians)
    descent = CudaDescent(Relative(case.gaussians), case.target, LearningRates())
    descent.step(0.0)

    def descend() -> None:
        descent._bins.counts.zero_()
        descent._state[bin_kernels.COMING.value] = 0
        others = mock.patch.multiple(cuda, sum_slices=mock.DEFAULT, spread=mock.DEFAULT, draw=mock.DEFAULT)
        with others:
            descent._iterate()

    def slices() -> None:
        cuda.sum_slices(descent._rows, descent._layout, descent._in_pixels, descent._slices, descent._state)
        descent._bins.counts.zero_()
        descent._state[bin_kernels.COMING.value] = descent._state[bin_kernels.SLICES.value]
        cuda.spread(descent._rows, descent._layout, descent._bins, descent._state, descent._slices)

    works: dict[str, Work] = {
        "prepare": lambda: cuda.prepare(*tensors_of(case.gaussians)),
        "fill": case.fill,
        "forward": case.draw,
        "backward": case.collect,
        "slices": slices,
        "descend": descend,
    }
    return {name: bench.timer.replays(work) for name, work in works.items()}


def iteration(case: Scene, timer: Timer, steps: int) -> Iterator[Record]:
    """Measure whole steps of a descent, with a factor of 0, which changes nothing, and a relocation's edit."""

    def begin() -> CudaDescent:
        descent = CudaDescent(Relative(case.gaussians), case.target, LearningRates())
        take(descent, 2 * BATCH)
        return descent

    def take(descent: CudaDescent, count: int) -> None:
        for _ in range(count):
            descent.step(0.0)

    def edit() -> None:
        some = slice(0, max(1, len(case.gaussians) // 20))
        keep = torch.ones(len(case.gaussians), dtype=torch.bool, device=case.target.device)
        keep[some] = False
        means, scales, rotations, colors = (each[some] for each in tensors_of(case.gaussians))
        descent.edit(keep, Gaussians(means, scales, rotations, colors, case.height, case.width))

    descent = begin()
    yield {"part": "descent until its graphs exist", **spread([timer.wall(begin, 1) for _ in range(3)])}
    batches = [time / BATCH for time in timer.singles(lambda: take(descent, BATCH))]
    yield {"part": "iteration, of ten", **spread(batches)}
    each = timer.wall(lambda: take(descent, BATCH), -(-steps // BATCH)) / BATCH
    yield {"part": "iteration, of ten, host's clock", **spread([each])}
    descent.image()
    yield {"part": "iteration, alone, with a question", **spread([timer.wall(lambda: ask(descent), steps)])}
    yield {"part": "edit of a twentieth", **spread(timer.singles(edit))}


def ask(descent: CudaDescent) -> None:
    """Take one step, and wait for it."""
    descent.step(0.0)
    descent.image()


def eager(case: Scene, timer: Timer) -> Iterator[Record]:
    """Measure forward and backward passes with autograd, and rendering without."""
    leaves = tuple(each.detach().clone().requires_grad_() for each in tensors_of(case.gaussians))
    upstream = torch.randn_like(case.image)

    def forward() -> Tensor:
        sizes: dict[str, Any] = {"height": case.height, "width": case.width}
        return rasterize(*leaves, counts=[len(case.gaussians)], pitches=[(1.0, 1.0)], **sizes)

    image = forward()
    yield {"part": "forward, eager", **spread(timer.singles(forward))}
    gradients = spread(timer.singles(lambda: torch.autograd.grad(image, leaves, upstream, retain_graph=True)))
    yield {"part": "backward, eager", **gradients}
    with torch.no_grad():
        rendering = spread(timer.singles(lambda: render(case.gaussians)))
    yield {"part": "rendering, eager", **rendering}


def rasterizer(bench: Bench) -> Iterator[Record]:
    """Yield records by scene and part; those of renderings have frames per second."""
    for side, num_gaussians in bench.plan.scenes:
        case = scene(bench, side, num_gaussians)
        for record in (*eager(case, bench.timer), *iteration(case, bench.timer, bench.plan.steps)):
            if record["part"].startswith("rendering"):
                record["per_second"] = round(1e3 / record["milliseconds"], 1)
            yield case.record | record
        for name, milliseconds in kernel_times(bench, side, num_gaussians).items():
            yield case.record | {"part": f"kernel {name}", **spread(milliseconds)}


def shaped_backward(case: Scene, gaussians: int, lanes: int, warps: int, results: tuple[Tensor, ...]) -> Work:
    """Return the work of `Scene.collect` with another launch shape."""
    scales = case.gaussians.scales
    number = len(scales)

    def work() -> None:
        kernels.backward[(triton.cdiv(number, gaussians),)](
            scales, case.rows, case.layout.images, case.layout.pitches, case.in_pixels, *results,
            number, case.height, case.width,
            CHANNELS=len(case.target), GAUSSIANS=gaussians, LANES=lanes, num_warps=warps,
        )  # fmt: skip

    return work


def shaped_forward(case: Scene, warps: int, image: Tensor, in_pixels: Tensor) -> Work:
    """Return the work of `Scene.draw` with another number of warps."""
    rows, columns = case.layout.tiles

    def work() -> None:
        case.bins.counts.copy_(case.counts)
        kernels.forward[(rows * columns,)](
            case.rows, *case.bins, case.state, case.layout.pitches, image, in_pixels, case.target,
            len(case.gaussians), case.height, case.width, rows, columns,
            CHANNELS=len(case.target), NORMALIZED=True, DESCEND=True, num_warps=warps,
        )  # fmt: skip

    return work


def shaped_iteration(case: Scene, shape: cuda.Shape) -> tuple[Work, Tensor]:
    """Return the work of an iteration with another shape of programs by Gaussian, and the image that it renders."""
    chosen = mock.patch.object(cuda, "choose_shape", return_value=shape)
    with chosen:
        descent = CudaDescent(Relative(case.gaussians), case.target, LearningRates())
        descent.step(0.0)
        descent.image()
    descent._factors.zero_()

    def work() -> None:
        with chosen:
            descent._iterate()

    return work, descent._images


def difference(found: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> float:
    """Return the largest relative difference of tensors, by their norms."""
    pairs = zip(found, right, strict=True)
    norms = [(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)).item() for a, b in pairs]
    return float(f"{max(norms):.3g}")


def launch_shapes(bench: Bench) -> Iterator[Record]:
    """Yield times by launch shape, the difference of the results from those of the usual shape, and the fastest."""
    for side, num_gaussians in bench.plan.tuned:
        case = scene(bench, side, num_gaussians)
        found: dict[str, list[Record]] = {"backward": [], "forward": [], "iteration": []}
        case.collect()
        results = tuple(torch.empty_like(each) for each in case.in_gaussians)
        for gaussians, lanes, warps in BACKWARD_SHAPES:
            times = spread(bench.timer.replays(shaped_backward(case, gaussians, lanes, warps, results)))
            shape = {"gaussians": gaussians, "lanes": lanes, "warps": warps}
            found["backward"].append({**shape, **times, "difference": difference(results, case.in_gaussians)})
        pixels = torch.empty_like(case.image), torch.empty_like(case.in_pixels)
        for warps in FORWARD_WARPS:
            times = spread(bench.timer.replays(shaped_forward(case, warps, *pixels)))
            shape = {"gaussians": 0, "lanes": 0, "warps": warps}
            found["forward"].append({**shape, **times, "difference": difference(pixels, (case.image, case.in_pixels))})
        for gaussians, lanes, warps in ITERATION_SHAPES:
            work, image = shaped_iteration(case, cuda.Shape(gaussians, lanes, warps))
            shape = {"gaussians": gaussians, "lanes": lanes, "warps": warps}
            times = spread(bench.timer.replays(work))
            found["iteration"].append({**shape, **times, "difference": difference((image,), (case.image,))})
        for kernel, records in found.items():
            fastest = min(records, key=lambda record: float(record["milliseconds"]))
            for record in records:
                agrees = record["difference"] < 1e-4
                yield case.record | {"kernel": kernel, **record, "fastest": record is fastest, "passed": agrees}


def gsplat_wrapper() -> Any | None:
    """Return gsplat's module of CUDA functions, or None if its extension is not built: an import would build it."""
    if importlib.util.find_spec("gsplat") is None:
        return None
    from torch.utils.cpp_extension import _get_build_directory  # deferred: looks for compilers

    built = Path(_get_build_directory("gsplat_cuda", verbose=False), "gsplat_cuda.so").is_file()
    if not built and importlib.util.find_spec("gsplat.csrc") is None:
        return None
    from gsplat.cuda import _backend, _wrapper

    return None if _backend._C is None else _wrapper


def gsplat(bench: Bench) -> Iterator[Record]:
    """Measure gsplat's rasterizer, which blends front to back, on the same Gaussians, if its CUDA code is built."""
    wrapper = gsplat_wrapper()
    if wrapper is None:
        yield {"note": "gsplat's CUDA code is not built"}
        return
    for side, num_gaussians in bench.plan.tuned:
        case = scene(bench, side, num_gaussians)
        for opacity in (1.0, 0.5):
            yield from blended(case, wrapper, opacity, bench.timer)


def blended(case: Scene, wrapper: Any, opacity: float, timer: Timer, tile: int = 16) -> Iterator[Record]:
    """Measure lists, forward and backward pass of gsplat for one scene."""
    means, scales, rotations, colors = (each[None] for each in tensors_of(case.gaussians))
    cosine, sine = torch.cos(rotations), torch.sin(rotations)
    u, v = scales.square().reciprocal().unbind(-1)
    precision = (cosine**2 * u + sine**2 * v, cosine * sine * (u - v), sine**2 * u + cosine**2 * v)
    leaves = [each.detach().clone().requires_grad_() for each in (means, torch.stack(precision, -1), colors)]
    opacities = torch.full_like(rotations, opacity).requires_grad_()
    radii = case.rows[None, :-1, bin_kernels.EXTENT.value :].ceil().int()
    depths = torch.arange(means.shape[1], dtype=torch.float32, device=means.device)[None]
    columns, rows = triton.cdiv(case.width, tile), triton.cdiv(case.height, tile)

    def lists() -> tuple[Tensor, Tensor]:
        _, keys, entries = wrapper.isect_tiles(means.contiguous(), radii, depths, tile, columns, rows)
        return wrapper.isect_offset_encode(keys, 1, columns, rows), entries

    offsets, entries = lists()

    def forward() -> Tensor:
        image, _ = wrapper.rasterize_to_pixels(*leaves, opacities, case.width, case.height, tile, offsets, entries)
        return image  # type: ignore[no-any-return]

    image = forward()
    upstream = torch.randn_like(image)
    works: dict[str, Work] = {
        "lists": lists,
        "forward": forward,
        "backward": lambda: torch.autograd.grad(image, [*leaves, opacities], upstream, retain_graph=True),
    }
    for part, work in works.items():
        yield case.record | {"opacity": opacity, "part": part, "entries": len(entries), **spread(timer.singles(work))}
