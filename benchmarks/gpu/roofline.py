"""Section `roofline`: the least work of each kernel, the time in which the card could do it, and the gap."""

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
from fastgs.render import cuda_bin_kernels as bin_kernels

# Instructions for one pixel and one Gaussian, counted in the source of the kernels without indexing; minima and maxima
# count, too.
FORWARD_INSTRUCTIONS, BACKWARD_INSTRUCTIONS = 14, 29
# Instructions of a multiprocessor per clock, for architectures since 2020.
FLOAT_LANES, SPECIAL_LANES = 128, 16
CHUNK = 1 << 18  # entries whose pixels are examined at a time


class Ceilings(NamedTuple):
    """Limits of the card per second; None if they are unknown."""

    bytes: float  # measured
    instructions: float | None  # in float32; a fused multiplication and addition is one
    specials: float | None  # exponentials


class Needs(NamedTuple):
    """Least work of a kernel."""

    bytes: float  # each input read once and each output written once
    instructions: float = 0.0
    specials: float = 0.0

    def milliseconds(self, ceilings: Ceilings) -> dict[str, float | None]:
        """Return the least time in milliseconds that each kind of work takes."""
        times: dict[str, float | None] = {}
        for name, need, ceiling in zip(self._fields, self, ceilings, strict=True):
            times[name] = None if ceiling is None else 1e3 * need / ceiling
        return times


class Pairs(NamedTuple):
    """Numbers of pairs of a pixel and a Gaussian."""

    forward: int  # evaluated in the forward pass: pixels of the tiles of each Gaussian
    backward: int  # evaluated in the backward pass: pixels of the bounding boxes
    issued: int  # in the backward pass, including idle lanes
    needed: int  # within the support


def clock_rate(device: torch.device) -> float | None:
    """Return the highest clock of the multiprocessors in hertz, from torch or else Triton; None if unknown."""
    if device.type != "cuda":
        return None
    kilohertz = getattr(torch.cuda.get_device_properties(device), "clock_rate", None)
    if not kilohertz:
        properties = triton.runtime.driver.active.utils.get_device_properties(torch.cuda.current_device())
        kilohertz = properties.get("sm_clock_rate")
    return kilohertz * 1e3 if kilohertz else None


def ceilings(bench: Bench) -> tuple[Ceilings, Record]:
    """Return the limits of the card, and a record of what they follow from."""
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
    """Return the numbers (K,) of pixels in the bounding boxes, as in the backward kernel."""
    centers, extents = case.rows[:-1, :2], case.rows[:-1, bin_kernels.EXTENT.value :]
    most = torch.tensor([case.width, case.height], device=centers.device)
    first = (centers - extents - 0.5).ceil().clamp(min=0).minimum(most)
    end = (centers + extents + 0.5).floor().clamp(min=0).minimum(most)
    return (end - first).clamp(min=0).prod(1).long()


def supported(case: Scene) -> int:
    """Count the pairs within the support of Gaussians, outside of which the weight is 0."""
    tile = bin_kernels.TILE.value
    _, columns = case.layout.tiles
    lengths = case.counts.long()
    tiles = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    inner = torch.arange(tile, device=lengths.device)
    limit = bin_kernels.CUTOFF.value**2 * bin_kernels.UNIT.value
    count = 0
    for which, where in zip(torch.split(case.bins.bins, CHUNK), torch.split(tiles, CHUNK), strict=True):
        column, row = where[:, None] % columns * tile + inner, where[:, None] // columns * tile + inner
        x, y, ux, uy, vx, vy = (each[:, None] for each in case.rows[which.long()][:, :6].unbind(1))
        dx, dy = (column + 0.5 - x)[:, None], (row + 0.5 - y)[:, :, None]
        u, v = ux[..., None] * dx + uy[..., None] * dy, vx[..., None] * dx + vy[..., None] * dy
        inside = (u * u + v * v < limit) & (column < case.width)[:, None] & (row < case.height)[:, :, None]
        count += int(inside.sum())
    return count


def pairs(case: Scene) -> Pairs:
    """Count the pairs of a scene."""
    pixels = boxes(case)
    number = len(pixels)
    group, lanes, _ = cuda.choose_shape(case.height * case.width / number)
    programs = torch.nn.functional.pad(pixels, (0, -number % group)).view(-1, group)
    # The Gaussians of a program take as many steps as the largest of them.
    issued = int(((programs.amax(1) + lanes - 1) // lanes).sum()) * lanes * group
    return Pairs(case.entries * bin_kernels.TILE.value**2, int(pixels.sum()), issued, supported(case))


def needs(case: Scene, forward: int, backward: int) -> dict[str, Needs]:
    """Return the least work by kernel, given the numbers of pairs. Floats and indices have four bytes."""
    number, entries, area = len(case.gaussians), case.entries, case.height * case.width
    tiles = len(case.counts)
    row, channels = bin_kernels.ROW.value, len(case.target)
    planes = channels + 1
    values = 5 + channels  # numbers of a Gaussian: means, scales, rotation, colour
    numbers = {
        "prepare": number * (values + row),
        # rows, images, starts; entries, counts
        "fill": number * (row + 1) + entries + 2 * tiles,
        # entries, read, sorted and read, starts, counts, rows; target, image, gradients
        "forward": 3 * entries + 2 * tiles + number * row + area * (2 * channels + planes),
        # scales, rows, images, gradients; gradients of the pixels
        "backward": number * (2 + row + 1 + values) + planes * area,
        # variables and their two averages, read and written, rows and scales, too; start, turn, floors, images;
        # gradients of the pixels; entries, starts, counts
        "descend": number * (values * 3 * 2 + 2 * (row + 2) + 6 + 1) + planes * area + entries + 2 * tiles,
    }
    work = {
        "forward": (forward * FORWARD_INSTRUCTIONS, forward),
        "backward": (backward * BACKWARD_INSTRUCTIONS, backward),
        "descend": (backward * BACKWARD_INSTRUCTIONS, backward),
    }
    return {name: Needs(4 * count, *work.get(name, (0, 0))) for name, count in numbers.items()}


def bound(need: Needs, limits: Ceilings) -> tuple[float, str]:
    """Return the least time of a kernel in milliseconds, and the limit that it comes from."""
    times = {name: value for name, value in need.milliseconds(limits).items() if value is not None}
    limit = max(times, key=lambda name: times[name])
    return times[limit], limit


def roofline(bench: Bench) -> Iterator[Record]:
    """Yield the limits of the card; then, for each scene, the pairs, and for each kernel its least time and its time.

    The least time `floor` counts all pairs that the kernel evaluates, `needed_floor` those within the support only.
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
        times = dict(kernel_times(bench, side, num_gaussians))
        # They share the work of large Gaussians.
        slices = spread(times.pop("slices"))["milliseconds"]
        times["descend"] = [each + slices for each in times["descend"]]
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
