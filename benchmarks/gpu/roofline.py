"""Section `roofline` of cuda.py: the least that each kernel must do, how fast the card could do that, and the gap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from benchmarks.gpu.scenes import Bench, Record, Scene, scene
from benchmarks.gpu.speed import kernel_times
from benchmarks.gpu.timing import spread
from fastgs.render import cuda
from fastgs.render import cuda_kernels as kernels

# Of one pixel and one Gaussian, counted in the kernels without indexing; minima and maxima count too.
FORWARD_INSTRUCTIONS, BACKWARD_INSTRUCTIONS = 14, 29
# Of a multiprocessor in a clock; of the architectures since 2020.
FLOAT_LANES, SPECIAL_LANES = 128, 16
CHUNK = 1 << 18  # entries whose pixels are looked at at a time


class Ceilings(NamedTuple):
    """What the card can do in a second; None where it does not say."""

    bytes: float  # measured
    instructions: float | None  # of float32, each possibly a multiplication and an addition
    specials: float | None  # exponentials


class Needs(NamedTuple):
    """What a kernel cannot do without."""

    bytes: float  # each input read once and each output written once
    instructions: float = 0.0
    specials: float = 0.0

    def milliseconds(self, ceilings: Ceilings) -> dict[str, float | None]:
        """Time that each of them takes at least."""
        times: dict[str, float | None] = {}
        for name, need, ceiling in zip(self._fields, self, ceilings, strict=True):
            times[name] = None if ceiling is None else 1e3 * need / ceiling
        return times


class Pairs(NamedTuple):
    """How many pairs of a pixel and a Gaussian there are."""

    forward: int  # evaluated: pixels of the tiles of each Gaussian
    backward: int  # evaluated: pixels of the bounding boxes
    issued: int  # backward, with the lanes that idle
    needed: int  # within the support


def clock_rate(device: torch.device) -> float | None:
    """Highest clock of the multiprocessors in hertz, from whichever knows."""
    if device.type != "cuda":
        return None
    kilohertz = getattr(torch.cuda.get_device_properties(device), "clock_rate", None)
    if not kilohertz:
        properties = triton.runtime.driver.active.utils.get_device_properties(torch.cuda.current_device())
        kilohertz = properties.get("sm_clock_rate")
    return kilohertz * 1e3 if kilohertz else None


def ceilings(bench: Bench) -> tuple[Ceilings, Record]:
    """Of the card, and what they come from."""
    source = torch.rand(bench.plan.copied // 4, device=bench.device)
    copy = torch.empty_like(source)
    milliseconds = spread(bench.timer.singles(lambda: copy.copy_(source)))
    rate = 2 * bench.plan.copied / (milliseconds["milliseconds"] * 1e-3)
    clock = clock_rate(bench.device)
    count = torch.cuda.get_device_properties(bench.device).multi_processor_count if clock else None
    cycles = clock * count if clock and count else None
    found = Ceilings(rate, *(lanes * cycles if cycles else None for lanes in (FLOAT_LANES, SPECIAL_LANES)))
    record: Record = {"copied_bytes": bench.plan.copied, "multiprocessors": count, "clock_hertz": clock}
    return found, record | {f"{name}_per_second": value for name, value in found._asdict().items()}


def boxes(case: Scene) -> Tensor:
    """(K,) numbers of pixels in the bounding boxes, as the backward kernel walks them."""
    centers, extents = case.frames[:, :2], case.frames[:, 6:8]
    most = torch.tensor([case.width, case.height], device=centers.device)
    first = (centers - extents - 0.5).ceil().clamp(min=0).minimum(most)
    end = (centers + extents + 0.5).floor().clamp(min=0).minimum(most)
    return (end - first).clamp(min=0).prod(1).long()


def supported(case: Scene) -> int:
    """Number of pairs within the support: elsewhere the weight is zero."""
    tile = kernels.TILE.value
    _, columns = case.layout.tiles
    lengths = case.tiles.starts.diff().long()
    tiles = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    inner = torch.arange(tile, device=lengths.device)
    limit = kernels.CUTOFF.value**2 * kernels.UNIT.value
    count = 0
    for which, where in zip(
        torch.split(case.tiles.entries[: len(tiles)], CHUNK), torch.split(tiles, CHUNK), strict=True
    ):
        column, row = where[:, None] % columns * tile + inner, where[:, None] // columns * tile + inner
        x, y, ux, uy, vx, vy = (each[:, None] for each in case.frames[which.long()][:, :6].unbind(1))
        dx, dy = (column + 0.5 - x)[:, None], (row + 0.5 - y)[:, :, None]
        u, v = ux[..., None] * dx + uy[..., None] * dy, vx[..., None] * dx + vy[..., None] * dy
        inside = (u * u + v * v < limit) & (column < case.width)[:, None] & (row < case.height)[:, :, None]
        count += int(inside.sum())
    return count


def pairs(case: Scene) -> Pairs:
    """Of one scene."""
    pixels = boxes(case)
    number = len(pixels)
    lanes = cuda._lanes(case.height * case.width / number)
    group = max(1, cuda.BLOCK // lanes)
    programs = torch.nn.functional.pad(pixels, (0, -number % group)).view(-1, group)
    # The Gaussians of a program take as many steps as the largest of them.
    issued = int(((programs.amax(1) + lanes - 1) // lanes).sum()) * lanes * group
    return Pairs(case.entries * kernels.TILE.value**2, int(pixels.sum()), issued, supported(case))


def needs(case: Scene, forward: int, backward: int) -> dict[str, Needs]:
    """By kernel, given the numbers of pairs. A float takes four bytes, as does an index."""
    number, entries, area = len(case.gaussians), case.entries, case.height * case.width
    starts = len(case.tiles.starts)
    frame, color = kernels.FRAME.value, 3
    numbers = {
        # means, scales, rotations, images; frames, counts
        "prepare": number * (5 + 1 + frame + 1),
        # frames, images, ends; entries, starts
        "lists": number * (frame + 1 + 1) + entries + starts,
        # entries, starts, frames, colours, target; image, gradients
        "forward": entries + starts + number * (frame + color) + area * (3 + 3 + 4),
        # scales, colours, frames, images; gradients; gradients
        "backward": number * (2 + color + frame + 1 + 8) + 4 * area,
        # eight variables and their two averages, read and written; gradients; start, unit, floors, scales; Gaussians
        "adam": number * (8 * 3 * 2 + 8 + 2 + 1 + 2 + 2 + 8),
    }
    work = {
        "forward": (forward * FORWARD_INSTRUCTIONS, forward),
        "backward": (backward * BACKWARD_INSTRUCTIONS, backward),
    }
    return {name: Needs(4 * count, *work.get(name, (0, 0))) for name, count in numbers.items()}


def bound(need: Needs, limits: Ceilings) -> tuple[float, str]:
    """Milliseconds below which nothing can be, and by what."""
    times = {name: value for name, value in need.milliseconds(limits).items() if value is not None}
    limit = max(times, key=lambda name: times[name])
    return times[limit], limit


def roofline(bench: Bench) -> Iterator[Record]:
    """The ceilings; then, by scene, the pairs, and by kernel the floor and the time over it.

    The floor is of what the kernel evaluates; that of what it needs counts the pairs within the support alone.
    """
    limits, record = ceilings(bench)
    yield record
    for side, num_gaussians in bench.plan.scenes:
        case = scene(bench, side, num_gaussians)
        counted = pairs(case)
        yield case.record | {
            "entries": case.entries,
            **{f"{key}_pairs": value for key, value in counted._asdict().items()},
        }
        times = kernel_times(bench, side, num_gaussians)
        least = needs(case, counted.needed, counted.needed)
        for kernel, need in needs(case, counted.forward, counted.backward).items():
            floor, limit = bound(need, limits)
            taken = float(spread(times[kernel])["milliseconds"])
            yield case.record | {
                "kernel": kernel,
                **need._asdict(),
                "milliseconds": taken,
                "floor_milliseconds": round(floor, 6),
                "limit": limit,
                "over_floor": round(taken / floor, 2),
                "over_needed_floor": round(taken / bound(least[kernel], limits)[0], 2),
            }  # fmt: skip
