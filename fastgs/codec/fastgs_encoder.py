"""Encoder of the scheme "fastgs": fit under the normalized rule, search the symbols worth their bits, fill the file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fastgs.codec.alternation import alternate
from fastgs.codec.channels import Channels
from fastgs.codec.effort import Effort
from fastgs.codec.filling import MIDDLE, USUAL, Start, estimate_size, fill
from fastgs.codec.frame import Frame, read_frame, write_frame
from fastgs.codec.layer import decode_layers, encode_layers, most_gaussians
from fastgs.codec.rdo import Search
from fastgs.codec.restoration import choose, correct
from fastgs.codec.restoration_entry import RESTORATION_BYTES
from fastgs.codec.sizing import Sizing
from fastgs.codec.symbol_models import LATEST
from fastgs.codec.symbols import Layer, dequantize
from fastgs.codec.tuning import WeightedSquaredError
from fastgs.definition import GaussianArrays
from fastgs.fitting.densification import Densification, Relocation
from fastgs.fitting.fit import Callback, HistoryEntry
from fastgs.fitting.optimizer import LearningRates
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.methods import Result
from fastgs.methods.fastgs import make_method, make_relocation

FITS = 3  # with other numbers of Gaussians, where steps alone do not fill the file
# Where searches and fits in turns leave too few Gaussians, a fit aims at so many times the bytes, and again.
MORE, MOST_REFITS = 1.25, 3
# The best fits are those whose steps end where they began: bytes that a fit aims at, as a power of the factor then.
STEEPNESS = 0.25

# Factor of the size of the file in the midst of a fit for what the rest of the fit adds: more in a short one.
SKETCH_WORTH = 0.45  # of the price; Gaussians that are dropped then would be made up for by too many others
GROWTH = 1.13
GROWTH_OF_SHORT = 5.0  # over the number of steps

# A last layer of so many Gaussians that takes so many times its bytes without the learned model tells that the others
# do, too. Of photos it takes 1.045 to 1.13 times as many, of pictures that are better off without it up to 1.013 times.
ENOUGH, CLEAR = 60, 1.04

RESTORATION_ROOM = 1 + RESTORATION_BYTES  # of a file, with the flag

# A long memory of gradients and large steps of colours overshoot: their gain in a fit is lost, and more, in rounding.
LONGEST_MEMORY = 6.0
RATES = {"means": 0.2, "scales": 0.19, "rotations": 0.15, "colors": 0.26, "hold": 0.8}
# Files have few Gaussians, so where they are matters more: that many times as many as usual are relocated, for longer.
RELOCATED = 10 / 3
LONGER = 15 / 14


def encode(
    image: Tensor,
    num_gaussians: int,
    alpha: bool,
    effort: Effort,
    seed: int,
    target_bytes: int | None,
    callback: Callback | None,
    restores: bool = True,
    importance: Tensor | None = None,
) -> tuple[list[Written], list[HistoryEntry]]:
    """Fit an image and write it, once or several times; the arguments are those of `Scheme.encode`.

    With `restores`, files of RGB ask for restoration where that helps. `importance` has (H, W) factors of the squared
    errors of pixels, None for 1.

    Returns:
        The files, the smallest first, and the histories of the fits, one after the other.

    Raises:
        ValueError: A file holds no such number of Gaussians.
    """
    restores = restores and Channels(len(image), alpha).are_rgb
    if restores and target_bytes is not None:
        target_bytes = max(1, target_bytes - RESTORATION_ROOM)
    encoding = _Encoding(image, num_gaussians, alpha, effort, target_bytes, callback, importance, aim=target_bytes)
    for start in range(effort.starts):
        encoding.run((seed + start) % 2**64)
    files = encoding.files
    if restores:
        files = [written.restore(image) for written in files]
    return sorted(files, key=lambda written: len(written.data)), encoding.history


@dataclass(frozen=True)
class Written:
    """A file of this encoder, and what a decoder reads in it.

    Attributes:
        frame: Frame of the file.
        data: Bytes of the file.
        layers: Layers of symbols.
    """

    frame: Frame
    data: bytes
    layers: list[Layer]

    @classmethod
    def read(cls, data: bytes) -> Written:
        """Read the symbols of a file."""
        frame = read_frame(data)
        return cls(frame, data, decode_layers(frame.layers, _canvas(frame), frame.channels, frame.symbols))

    @property
    def gaussians(self) -> GaussianArrays:
        """Return the Gaussians of the file."""
        return dequantize(self.layers, *_canvas(self.frame), self.frame.channels)

    def restore(self, image: Tensor) -> Written:
        """Return the file with restoration if that brings it nearer to the (3, H, W) image, or else as it is."""
        restoration = choose(correct(self.gaussians), image.cpu().numpy())
        if restoration is None:
            return self
        frame = replace(self.frame, restoration=restoration)
        return replace(self, frame=frame, data=write_frame(frame))


def _canvas(frame: Frame) -> tuple[int, int]:
    return frame.height, frame.width


@dataclass
class _Encoding:
    """Files of one image, by one seed after the other.

    Attributes:
        aim: Bytes that the next fit aims at.
        files: Files so far.
        history: Histories of the fits so far, one after the other.

    The other attributes are arguments of `encode`.
    """

    image: Tensor
    num_gaussians: int
    alpha: bool
    effort: Effort
    target_bytes: int | None
    callback: Callback | None
    importance: Tensor | None
    aim: int | None
    files: list[Written] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)

    def run(self, seed: int) -> None:
        """Fit the image by a seed and write it, again with other numbers of Gaussians until it has the right size."""
        effort, wanted = self.effort, self.target_bytes
        coarseness, model = 1.0 if wanted is None else USUAL, _choose_model(self.image, self.alpha)
        refits = MOST_REFITS if effort.refits and wanted is not None else 0
        for trial in range(FITS + refits):
            start = Start(self._fit(seed, coarseness), coarseness)
            rounds, rates, ends = effort.rounds, _rates(effort.iterations), trial < refits or not effort.refits
            near = alternate(self.image, start, wanted, rounds, rates, model, self.importance, ends=ends)
            if near is None and trial < refits and self.aim is not None:
                self.aim = round(MORE * self.aim)
                continue
            data = fill(self.image, near or start, wanted, effort.sweeps, model, self.importance)
            self.files.append(Written.read(data))
            if _is_unlikely(self.files[-1]):
                other = fill(self.image, near or start, wanted, effort.sweeps, None, self.importance)
                self.files.append(Written.read(other))
            if self.aim is None or wanted is None:
                break
            if len(data) <= wanted:
                if near is not None:
                    self.aim = max(1, round(self.aim * (USUAL / near.coarseness) ** STEEPNESS))
                break
            # The coarsest steps do not make it small enough; fewer Gaussians will.
            self.aim = max(1, round(self.aim * MIDDLE * wanted / len(data)))

    def _fit(self, seed: int, coarseness: float) -> Gaussians:
        """Return Gaussians fitted for files of `aim` bytes with quantization steps of a coarseness."""
        result = fit(
            *(self.image, self.num_gaussians, self.alpha, self.effort.iterations, seed, self.callback),
            *(self.aim, coarseness, self.importance),
        )
        self.history += result.history
        return result.gaussians


def fit(
    image: Tensor,
    num_gaussians: int,
    alpha: bool,
    iterations: int,
    seed: int,
    callback: Callback | None,
    target_bytes: int | None = None,
    coarseness: float = 1.0,
    importance: Tensor | None = None,
) -> Result:
    """Fit an image for a file; the arguments are those of `fastgs.codec.scheme.Scheme.encode`.

    If `target_bytes` is given, the number of Gaussians changes on the way to one whose file, at steps of the given
    coarseness, has this size, about.

    Raises:
        ValueError: A file holds no such number of Gaussians.
    """
    most = most_gaussians(Channels(image.shape[0], alpha))
    if not 1 <= num_gaussians <= most:
        raise ValueError(f"num_gaussians: must be from 1 to {most}, got {num_gaussians}")

    def measure(gaussians: Gaussians) -> int:
        return round(
            (GROWTH + GROWTH_OF_SHORT / max(1, iterations))
            * _sketch(image, gaussians, coarseness, _choose_model(image, alpha), importance)
        )

    def densify(count: int, pixels: int, steps: int, generator: torch.Generator | None) -> Densification:
        relocation = _relocate_more(make_relocation(count, pixels, steps, generator))
        if target_bytes is None:
            return relocation
        return Sizing(relocation, steps, target_bytes, min(most, pixels), measure)

    loss = None if importance is None else WeightedSquaredError(importance)
    method = make_method(INITIALIZERS[DEFAULT], optimization=_rates(iterations).config(loss))
    return replace(method, densification=densify)(
        image, num_gaussians, FitOptions(iterations), seed=seed, alpha=alpha, callback=callback
    )


def _sketch(
    image: Tensor, gaussians: Gaussians, coarseness: float, model: int | None, importance: Tensor | None
) -> int:
    """Return the bytes of the file that Gaussians on their way would have after a search, about; one sweep tells."""
    factors = None if importance is None else importance.cpu().numpy()
    searching = Search(image, gaussians, coarseness, model, SKETCH_WORTH, factors)
    searching.run(1)
    return estimate_size(searching.count_bits())


def _rates(iterations: int) -> LearningRates:
    """Return the learning rates for a fit that will be quantized."""
    usual = LearningRates.for_iterations(iterations)
    gradient, square = (each._replace(longest=LONGEST_MEMORY) for each in (usual.gradient_betas, usual.square_betas))
    return replace(usual, gradient_betas=gradient, square_betas=square, **RATES)


def _relocate_more(relocation: Relocation) -> Relocation:
    """Return the relocation for a fit that will be quantized."""
    events, shares = relocation.events, relocation.shares
    return replace(
        relocation, events=[LONGER * event for event in events], shares=[RELOCATED * share for share in shares]
    )


def _choose_model(image: Tensor, alpha: bool) -> int | None:
    """Return the number of the learned model of symbols for an image."""
    return LATEST if Channels(len(image), alpha).are_rgb else None


def _is_unlikely(written: Written) -> bool:
    """Tell whether models that are fitted to each layer would take fewer bytes than the learned one in a file."""
    frame, last = written.frame, written.layers[-1]
    if frame.symbols is None:
        return False
    canvas, learned = _canvas(frame), [len(each) for each in frame.layers]
    if len(last.symbols) >= ENOUGH and len(encode_layers([last], canvas)[0]) > CLEAR * learned[-1]:
        return False
    return sum(map(len, encode_layers(written.layers, canvas))) < sum(learned)
