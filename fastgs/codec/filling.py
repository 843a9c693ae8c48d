"""Files of a given size: the last search, at steps and at a price that fill the bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from torch import Tensor

from fastgs.codec.frame import Frame, write_frame
from fastgs.codec.layer import encode_layers
from fastgs.codec.learned import UnlikelyError
from fastgs.codec.rdo import LAST_SHARE, Search, count_last
from fastgs.gaussians import Gaussians

# To fill a file of a given size, quantization steps are made coarser or finer.
USUAL = 1.2  # factor of all steps that fits for a given size aim at
COARSEST, FINEST = 2.0, 0.5  # bounds of the factor
TRIALS = 8  # number of factors that are tried at most
FULL = 0.99  # share of the bytes that is enough
MIDDLE = 0.992  # share that is aimed at
INSIDE = 0.1  # least share of what is left that a trial cuts off
NEXT = 1.01  # factor of two coarsenesses between which no other one is tried
# Sweeps after which the first trials end if their files would be so many times too large or too small.
PROBES, PROBE, FAR = 2, 3, 1.12
PROBED = 1.05  # size of the file in units of the bits that are counted then, about
# From about the right size on, the last sweeps of the search are done again at another price.
NEAR = (0.98, 1.01)  # shares of the bytes
FILLED = (0.997, 0.9985)  # share that is enough then, and the one that is aimed at
REFINEMENTS = 3
SHARES = (0.03, 1.5)  # bounds of the factor of the price
# The size of a file falls about in proportion to the root of the price: by so many bytes from 0 to 1, as a share of the
# file, and by so many more where Gaussians are dropped, in proportion to their share.
BYTES_OF_ROOT, BYTES_OF_LOSING = 0.03, 0.15
# Bits that a Gaussian costs less where steps are twice as coarse, about; one more for each channel. A search that drops
# this share of the Gaussians, or more, spares twice as many, as coarser steps leave fewer.
BITS_OF_COARSENESS = 2.5
LOSING = 0.25


@dataclass(frozen=True)
class Start:
    """Place that a search begins at.

    Attributes:
        gaussians: Gaussians to round.
        coarseness: Factor of the quantization steps.
        price: Squared error that a bit is worth at most.
    """

    gaussians: Gaussians
    coarseness: float
    price: float = math.inf

    def search(self, image: Tensor, model: int | None, importance: Tensor | None) -> Search:
        """Return the search; the arguments are those of `fill`."""
        factors = None if importance is None else importance.cpu().numpy()
        return Search(image, self.gaussians, self.coarseness, model, importance=factors, price=self.price)


def estimate_size(bits: float) -> int:
    """Return the bytes of the file at the end of a search whose symbols have so many bits before one of its sweeps."""
    return round(PROBED * bits / 8)


def find_step(searching: Search, size: float, wanted: float) -> float:
    """Return the logarithm of the factor of the steps for a file of another size, about.

    Args:
        searching: Search whose file has `size` bytes.
        size: Size in bytes.
        wanted: Size in bytes that is wanted.
    """
    bits = (BITS_OF_COARSENESS + searching.channels.count) * (1 + min(1, searching.lost / LOSING))
    return 8 * (size - wanted) / max(1, searching.count) / bits * math.log(2)


def fill(
    image: Tensor,
    start: Start,
    target_bytes: int | None,
    sweeps: int,
    model: int | None = None,
    importance: Tensor | None = None,
) -> bytes:
    """Write a file of at most `target_bytes` bytes, if that can be done with these Gaussians.

    Args:
        image: (C, H, W) in [0, 1].
        start: Gaussians fitted to it, and the factor of the quantization steps to begin with.
        target_bytes: Size that the file should fill; None for those steps.
        sweeps: Number of sweeps of each search.
        model: Number of the learned model of symbols, for RGB; None for models that are fitted to each layer.
        importance: (H, W) factors of the squared errors of pixels; None for 1.
    """
    coarseness = start.coarseness
    best: bytes | None = None
    usual = sweeps - count_last(sweeps)
    probes = PROBES if target_bytes is not None and usual > PROBE else 0
    bracket = _Bracket(target_bytes or 0)
    for trial in range(TRIALS):
        searching = replace(start, coarseness=coarseness).search(image, model, importance)
        searching.run(min(PROBE, usual))
        size = estimate_size(searching.bits)
        ended = trial >= probes or 1 / FAR <= size / (target_bytes or size) <= FAR
        if ended:
            searching.run(usual - PROBE)
            data = _finish(searching, sweeps, LAST_SHARE, model)
            if target_bytes is None:
                return data
            size, best = len(data), _choose_fuller(best, data, target_bytes)
            if NEAR[0] * target_bytes <= size <= NEAR[1] * target_bytes:
                for refined in _refine(searching, sweeps, size, target_bytes, model):
                    best = _choose_fuller(best, refined, target_bytes)
            if FULL * target_bytes <= len(best) <= target_bytes:
                break
        bracket.narrow(coarseness, size, ended)
        if ended and size > bracket.wanted and bracket.estimated:
            coarseness = bracket.coarser[0]  # the estimate may be too low, as this file is larger than it tells
        elif not bracket.narrow_enough:
            coarseness = bracket.divide(coarseness, find_step(searching, size, MIDDLE * bracket.wanted))
        elif best is not None:
            break
        else:
            probes = 0  # the last steps that are tried are tried to their end
    assert best is not None
    return best


@dataclass
class _Bracket:
    """Factors of the steps between which a file has the size that is wanted.

    Attributes:
        wanted: Size in bytes.
        finer: Factor of steps whose file is too large, and its size; 0 where that is not known.
        coarser: Factor of steps whose file is small enough, and its size; 0 where that is not known.
        estimated: Whether the size of the coarser ones is an estimate.
    """

    wanted: int
    finer: tuple[float, int] = (FINEST, 0)
    coarser: tuple[float, int] = (COARSEST, 0)
    estimated: bool = False

    @property
    def narrow_enough(self) -> bool:
        """Tell whether no other factor is tried between the two."""
        return self.coarser[0] < NEXT * self.finer[0]

    def narrow(self, coarseness: float, size: int, known: bool) -> None:
        """Take in the size of a file, or an estimate of it if it is not known."""
        if size <= self.wanted:
            self.coarser, self.estimated = (coarseness, size), not known
            return
        self.finer = coarseness, size
        if self.estimated and coarseness == self.coarser[0]:
            self.coarser, self.estimated = (COARSEST, 0), False

    def divide(self, coarseness: float, step: float) -> float:
        """Return the factor to try next: where the sizes of both ends point, or a step from the last one."""
        bracket = math.log(self.coarser[0] / self.finer[0])
        if self.finer[1] and self.coarser[1]:
            share = math.log(self.finer[1] / (MIDDLE * self.wanted)) / math.log(self.finer[1] / self.coarser[1])
        else:
            share = (math.log(coarseness / self.finer[0]) + step) / bracket
        share = min(1 - INSIDE * (self.coarser[1] > 0), max(INSIDE * (self.finer[1] > 0), share))
        return self.finer[0] * math.exp(share * bracket)


def _choose_fuller(best: bytes | None, data: bytes, target_bytes: int) -> bytes:
    """Return the larger file of at most so many bytes, or the second one if there is none."""
    return data if best is None or len(best) > target_bytes or len(best) < len(data) <= target_bytes else best


def _finish(searching: Search, sweeps: int, share: float, model: int | None) -> bytes:
    """Return the file at the end of a search of which the last sweeps are missing, at a share of the price."""
    last = searching.copy()
    last.run(count_last(sweeps), share)
    return write_found(last, model)


def _refine(searching: Search, sweeps: int, size: int, target_bytes: int, model: int | None) -> Iterator[bytes]:
    """Yield files whose sizes come nearer to `target_bytes`, by other prices in the last sweeps.

    Args:
        searching: Search of which the last sweeps are missing.
        sweeps: Number of all sweeps.
        size: Size of the file at the usual price.
        target_bytes: Size that is wanted at most.
        model: Number of the learned model of symbols.
    """
    known = {math.sqrt(LAST_SHARE): size}
    root = math.sqrt(LAST_SHARE)
    slope = -(BYTES_OF_ROOT + BYTES_OF_LOSING * searching.lost) * target_bytes
    for _ in range(REFINEMENTS):
        if FILLED[0] * target_bytes <= known[root] <= target_bytes:
            return
        wanted = root + (FILLED[1] * target_bytes - known[root]) / slope
        before, root = root, min(max(wanted, math.sqrt(SHARES[0])), math.sqrt(SHARES[1]))
        if root in known:
            return
        data = _finish(searching, sweeps, root**2, model)
        yield data
        known[root] = len(data)
        slope = min(0.3 * slope, (known[root] - known[before]) / (root - before))


def write_found(searching: Search, model: int | None) -> bytes:
    """Return the file of what a search has found."""
    layers, canvas, channels = searching.found.layers, searching.canvas, searching.channels
    if model is not None:
        with suppress(UnlikelyError):
            payloads = encode_layers(layers, canvas, channels, model)
            return write_frame(Frame("fastgs", *canvas, payloads, symbols=model))
    return write_frame(Frame("fastgs", *canvas, encode_layers(layers, canvas, channels), channels=channels))
