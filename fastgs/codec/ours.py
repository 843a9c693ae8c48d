"""Our codec: fit under the normalized rule, search the symbols that are worth their bits, code them in layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastgs.codec.frame import FormatError, Frame, read_frame, write_frame
from fastgs.codec.layer import MAX_GAUSSIANS, decode_layers, encode_layers, ledger
from fastgs.codec.scheme import Encoded
from fastgs.codec.search import search
from fastgs.codec.symbols import dequantize
from fastgs.densification import relocation
from fastgs.fitting import HistoryEntry, fit
from fastgs.gaussians import Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS

# To fill a file of a given size, steps are made coarser or finer within these bounds, in so many trials; it is full
# with so much of its bytes. A Gaussian costs about so many bits less where steps are twice as coarse.
COARSEST, FINEST = 2.0, 0.5
TRIALS = 8
FULL = 0.972
BITS_OF_COARSENESS = 5.5

# Area of all ellipses, 2 pi s1 s2, in areas of the canvas, where they cover it well.
COVERAGE = 1.6


@dataclass(frozen=True)
class Fastgs:
    """A scheme (see `fastgs.codec.scheme`)."""

    name: str = "fastgs"
    bits: float = 36.0
    iterations: int = 1000

    def encode(
        self,
        image: Tensor,
        num_gaussians: int,
        *,
        iterations: int | None = None,
        seed: int = 0,
        room: int | None = None,
        callback: Callable[[HistoryEntry], None] | None = None,
    ) -> Encoded:
        """See `fastgs.codec.scheme.Scheme`."""
        if not 1 <= num_gaussians <= MAX_GAUSSIANS:
            raise ValueError(f"num_gaussians: must be from 1 to {MAX_GAUSSIANS}, got {num_gaussians}")
        generator = torch.Generator().manual_seed(seed)
        start = INITIALIZERS[DEFAULT](image, num_gaussians, generator)
        fitted = fit(
            image,
            start,
            iterations=self.iterations if iterations is None else iterations,
            densification=relocation(start, generator),
            callback=callback,
        )
        data = _fill(image, fitted.gaussians, room)
        return Encoded(data, self.decode(read_frame(data)).to(image.device), fitted.history)

    def decode(self, frame: Frame) -> Gaussians:
        """See `fastgs.codec.scheme.Scheme`."""
        canvas = frame.height, frame.width
        gaussians = dequantize(decode_layers(frame.layers, canvas), *canvas)
        return gaussians if frame.whole else _widened(gaussians)

    def ledger(self, frame: Frame) -> dict[str, int]:
        """See `fastgs.codec.scheme.Scheme`."""
        canvas = frame.height, frame.width
        bits: dict[str, float] = {}
        for layer in ledger(frame.layers, canvas):
            for name, value in layer.items():
                bits[name] = bits.get(name, 0) + value
        rounded = {name: round(value) for name, value in bits.items() if name != "header"}
        return {**rounded, "header": 8 * len(write_frame(frame)) - sum(rounded.values())}


def _fill(image: Tensor, gaussians: Gaussians, room: int | None) -> bytes:
    """A file of at most `room` bytes if that can be done with these Gaussians."""
    coarseness = 1.0
    best: bytes | None = None
    for _ in range(TRIALS):
        layers = search(image, gaussians, coarseness).layers
        canvas = gaussians.height, gaussians.width
        data = write_frame(Frame(Fastgs.name, *canvas, encode_layers(layers, canvas)))
        if room is None:
            return data
        if best is None or len(best) > room or len(best) < len(data) <= room:
            best = data
        if FULL * room <= len(data) <= room:
            break
        spare = 8 * (0.5 * (1 + FULL) * room - len(data)) / max(1, sum(len(layer.symbols) for layer in layers))
        before = coarseness
        coarseness = min(COARSEST, max(FINEST, coarseness * 2 ** (-spare / BITS_OF_COARSENESS)))
        if coarseness == before:
            break
    assert best is not None
    return best


def _widened(gaussians: Gaussians) -> Gaussians:
    """The first layers of a cut file, so wide that they cover the canvas without the others."""
    if not len(gaussians):
        raise FormatError("is cut before the end of its first layer")
    covered = 2 * math.pi * float(gaussians.scales.prod(1).sum()) / (gaussians.height * gaussians.width)
    return replace(gaussians, scales=gaussians.scales * max(1.0, math.sqrt(COVERAGE / covered)))


SCHEME = Fastgs()
