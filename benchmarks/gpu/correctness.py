"""Section `correctness`: the kernels against the reference in float64, on random inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

import torch
import triton
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu.scenes import Bench, Record, rasterize, tensors_of
from fastgs.fitting import optimizer as descents
from fastgs.fitting import optimizer_cuda
from fastgs.fitting.optimizer import AutogradDescent, Descent, LearningRates
from fastgs.fitting.optimizer_cuda import CudaDescent
from fastgs.fitting.parametrization import Relative
from fastgs.gaussians import Blend, Gaussians
from fastgs.render import Backend, cuda, reference

VALUE_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3  # relative, in the norm of all values
# Relative difference of the Gaussians after a few steps: both terms of the quotients of Adam may be close to 0, where
# rounding decides.
DESCENT_TOLERANCE = 1e-2
TRACE = 1e-9  # weight that a tile may not miss
NAMES = ("means", "scales", "rotations", "colors")


class Case(NamedTuple):
    """Batch of Gaussians."""

    tensors: tuple[Tensor, ...]  # means, scales, rotations, colours, on the device
    counts: list[int]
    pitches: list[tuple[float, float]]
    height: int
    width: int

    def render(self, tensors: tuple[Tensor, ...], blend: Blend, backend: Backend) -> Tensor:
        """Render (B, 3, H, W) from other tensors of the same shapes."""
        return rasterize(
            *tensors,
            counts=self.counts,
            pitches=self.pitches,
            height=self.height,
            width=self.width,
            blend=blend,
            backend=backend,
        )


def relative_error(found: Tensor, right: Tensor) -> float:
    """Return the norm of the difference divided by the norm of `right`; NaN and infinity are kept."""
    difference = float(torch.linalg.vector_norm(found.double() - right.double()))
    norm = float(torch.linalg.vector_norm(right.double()))
    return difference / norm if norm else difference


def cases(bench: Bench, generator: torch.Generator) -> Iterator[tuple[str, Case]]:
    """Yield names and batches of shapes and positions that are difficult for kernels."""
    side, most = bench.plan.checked
    height, width = side, side + side // 3
    extent = torch.tensor([width, height], dtype=torch.float32)
    ones = [(1.0, 1.0)]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def case(means: Tensor, scales: Tensor, counts: list[int], pitches: list[tuple[float, float]], *size: int) -> Case:
        number = len(means)
        tensors = (means, scales.expand(number, 2), 7 * uniform(number) - 3.5, 1.5 * uniform(number, 3) - 0.25)
        return Case(tuple(each.to(bench.device) for each in tensors), counts, pitches, *(size or (height, width)))

    def mixed(number: int) -> Tensor:
        return 0.5 * 8 ** uniform(number, 2)

    def anywhere(number: int) -> Tensor:
        return extent * uniform(number, 2)

    few = max(2, most // 20)
    yield "mixed", case(anywhere(most), mixed(most), [most], ones)
    ragged = [0, most // 2, 1, few, 0]
    pitches = [(1.0, 1.0), (0.5, 2.0), (1.3, 0.7), (1.0, 1.0), (2.5, 2.5)]
    yield "ragged", case(anywhere(sum(ragged)), mixed(sum(ragged)), ragged, pitches)
    yield "tiny", case(anywhere(most), 0.25 + 0.1 * uniform(most, 2), [most], ones)
    yield "huge", case(anywhere(few), side * 10 ** uniform(few, 2), [few], ones)
    yield "elongated", case(anywhere(few), torch.tensor([0.4, 60.0]), [few], ones)
    outside = extent * (5 * uniform(most, 2) - 2)
    outside[0] = extent / 2  # otherwise, everything visible might be too faint for float32
    yield "outside", case(outside, side * uniform(most, 2) + 0.5, [most], ones)
    yield "pile", case(8 + 8 * uniform(3 * most, 2), mixed(3 * most), [3 * most], ones)
    yield "one", case(anywhere(1), mixed(1), [1], ones)
    yield "none", case(anywhere(0), mixed(0), [0], ones)
    yield "one pixel", case(4 * uniform(few, 2) - 2, mixed(few), [few], ones, 1, 1)


def spoil(device: torch.device) -> None:
    """Leave NaN in the memory that is allocated next, so that unwritten elements are noticed."""
    for exponent in range(8, 24, 2):
        torch.full((1 << exponent,), torch.nan, device=device)


def differentiated(case: Case, blend: Blend, backend: Backend, dtype: torch.dtype, upstream: Tensor) -> list[Tensor]:
    """Return the image, and the gradients of the four tensors."""
    tensors = tuple(each.detach().to(dtype).requires_grad_() for each in case.tensors)
    image = case.render(tensors, blend, backend)
    return [image.detach(), *torch.autograd.grad(image, tensors, upstream.to(dtype))]


def compare(name: str, case: Case, blend: Blend, generator: torch.Generator) -> Record:
    """Render a case by one rule, twice with the kernels and once with the reference, and compare."""
    shape = (len(case.counts), 3, case.height, case.width)
    upstream = torch.randn(shape, generator=generator).to(case.tensors[0].device)
    runs = []
    for _ in range(2):
        spoil(upstream.device)
        runs.append(differentiated(case, blend, "cuda", torch.float32, upstream))
    right = differentiated(case, blend, "reference", torch.float64, upstream)
    errors = [relative_error(*pair) for pair in zip(runs[0], right, strict=True)]
    identical = all(torch.equal(*pair) for pair in zip(*runs, strict=True))
    close = errors[0] < VALUE_TOLERANCE and all(error < GRADIENT_TOLERANCE for error in errors[1:])
    record: Record = {"check": "rasterize", "case": name, "blend": blend, "gaussians": sum(case.counts)}
    record |= {key: float(f"{error:.3g}") for key, error in zip(("value", *NAMES), errors, strict=True)}
    return record | {"identical": identical, "passed": close and identical}


def compare_bins(name: str, case: Case) -> Record:
    """Count the pairs of a tile and a Gaussian that are in bins, and those of a brute force; each must be in a bin."""
    number, (columns, rows) = sum(case.counts), (triton.cdiv(size, cuda.TILE) for size in (case.width, case.height))
    layout = cuda.lay_out(tuple(case.counts), tuple(case.pitches), case.height, case.width, case.tensors[0].device)
    bins = cuda.find_tiles(cuda.prepare(*(each.contiguous() for each in case.tensors)), layout)
    tiles = torch.arange(len(bins.counts), device=bins.bins.device).repeat_interleave(bins.counts)
    found = torch.zeros(max(1, number), len(bins.counts), dtype=torch.bool, device=tiles.device)
    found[bins.bins.long(), tiles] = True
    first, needed = 0, torch.zeros_like(found)
    y, x = (torch.arange(size, dtype=torch.float64, device=tiles.device) + 0.5 for size in (case.height, case.width))
    for image, (count, (pitch_y, pitch_x)) in enumerate(zip(case.counts, case.pitches, strict=True)):
        if not count:
            continue
        means, scales, rotations = (each[first : first + count].double() for each in case.tensors[:3])
        places = torch.cartesian_prod(y * pitch_y, x * pitch_x).flip(1)
        weighs = reference.weights(means, scales, rotations, places).T.view(count, 1, case.height, case.width) > TRACE
        padded = functional.pad(weighs.float(), (0, -case.width % cuda.TILE, 0, -case.height % cuda.TILE))
        touched = functional.max_pool2d(padded, cuda.TILE).flatten(1) > 0
        place = image * rows * columns
        needed[first : first + count, place : place + rows * columns] = touched
        first += count
    record: Record = {"check": "bins", "case": name, "entries": int(found.sum()), "needed": int(needed.sum())}
    return record | {"passed": bool((found | ~needed).all())}


def compare_descents(name: str, start: Gaussians, target: Tensor, rates: LearningRates, steps: int) -> Record:
    """Compare `CudaDescent` with torch's Adam on the same kernels, and its image with that of its Gaussians."""
    filled = mock.patch.object(CudaDescent, "_fill", autospec=True, side_effect=CudaDescent._fill)
    with mock.patch.object(descents, "rasterize", rasterize), filled as fill:
        ours = CudaDescent(Relative(start), target, rates)
        theirs = AutogradDescent(Relative(start), target, rates.config(), "cuda")
        both: tuple[Descent, ...] = (ours, theirs)
        for descent in both:
            for step in range(steps):
                descent.step(rates.factor(step / steps))
        image = ours.image().clone()  # makes room in the bins, and takes the steps that had no room
        found, right = (descent.gaussians() for descent in both)
    again = rasterize(
        *tensors_of(found), counts=[len(found)], pitches=[(1.0, 1.0)], height=found.height, width=found.width
    )
    moves = (
        [after - before for after, before in zip(tensors_of(each), tensors_of(start), strict=True)]
        for each in (found, right)
    )
    errors = {key: relative_error(*pair) for key, *pair in zip(NAMES, *moves, strict=True)}
    errors["value"] = relative_error(image, again[0])
    passed = errors["value"] < VALUE_TOLERANCE and all(errors[key] < DESCENT_TOLERANCE for key in NAMES)
    record: Record = {"check": "descent", "case": name, "gaussians": len(start)}
    record |= {key: float(f"{error:.3g}") for key, error in errors.items()}
    return record | {"made_room": fill.call_count > 1, "passed": passed}


def correctness(bench: Bench) -> Iterator[Record]:
    """Yield records with `passed`, which is None if there was nothing to compare with."""
    generator = torch.Generator().manual_seed(bench.seed)
    bins = []
    for name, case in cases(bench, generator):
        for blend in bench.plan.blends:
            yield compare(name, case, blend, generator)
        bins.append(compare_bins(name, case))
    yield from bins
    side, count = 2 * bench.plan.checked[0], bench.plan.checked[1]
    steps = bench.plan.checked_steps
    usual = LearningRates.for_iterations(steps)
    # Tiny Gaussians of about the image's colour grow fast, and need more room in the bins than there is at first.
    for name, scale, rates in (("mixed", 1.5, usual), ("growing", 0.3, replace(usual, scales=4 / steps))):
        means = side * torch.rand(count, 2, generator=generator)
        scales = scale * (0.9 + 0.2 * torch.rand(count, 2, generator=generator))
        rotations, colors = (
            torch.rand(count, generator=generator),
            0.7 + 0.2 * torch.rand(count, 3, generator=generator),
        )
        start = Gaussians(means, scales, rotations, colors, side, side).to(bench.device)
        target = 0.7 + 0.2 * torch.rand(3, side, side, generator=generator)
        spare = 0 if name == "growing" else optimizer_cuda.SPARE
        with mock.patch.object(optimizer_cuda, "SPARE", spare):
            yield compare_descents(name, start, target.to(bench.device), rates, steps)
