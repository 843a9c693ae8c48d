"""Codecs of other papers: their fit, their quantizers, and every column of symbols coded by its own histogram.

The one layer of a file is the number of Gaussians (4 bytes, little-endian), the parameters of the quantizers, and the
columns of all symbols.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastgs.codec.channels import Channels
from fastgs.codec.entropy import decode_histogram, encode_histogram
from fastgs.codec.frame import FormatError, Frame, write_frame
from fastgs.codec.quantization_aware import ATTRIBUTES, Quantized, Tuned, tune
from fastgs.codec.quantizers import Quantizer
from fastgs.codec.scheme import Encoded
from fastgs.fitting.fit import Callback, HistoryEntry
from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.options import FitOptions
from fastgs.gaussians import Gaussians
from fastgs.methods import Method

MAX_GAUSSIANS = 1 << 20  # in a file
_COUNT_BYTES = 4


@dataclass(frozen=True)
class Baseline:
    """Scheme (see `fastgs.codec.scheme.Scheme`) as published.

    Attributes:
        name: Name in `fastgs.codec.SCHEMES`.
        method: Method of the fit that comes first.
        optimization: Optimization of the quantization-aware fit that follows, of a `Quantized` parametrization.
        bits: Number of bits of a Gaussian, about.
        fitting: Published number of steps of the first fit; other budgets are divided alike.
        tuning: Published number of steps of the quantization-aware fit.
    """

    name: str
    method: Method
    optimization: OptimizationConfig
    bits: float
    fitting: int
    tuning: int

    def encode(
        self,
        image: Tensor,
        num_gaussians: int,
        *,
        alpha: bool = False,
        iterations: int | None = None,
        seed: int = 0,
        target_bytes: int | None = None,
        callback: Callback | None = None,
    ) -> Encoded:
        """Fit an RGB image and write it; the sizes of symbols are fixed, so `target_bytes` changes nothing."""
        channels = Channels(image.shape[0], alpha)
        if not channels.are_rgb:
            raise ValueError(f"scheme: {self.name!r} is published for RGB only, got {channels}; use 'fastgs'")
        if not 1 <= num_gaussians <= MAX_GAUSSIANS:
            raise ValueError(f"num_gaussians: must be from 1 to {MAX_GAUSSIANS}, got {num_gaussians}")
        published = self.iterations
        total = published if iterations is None else iterations
        steps = round(total * self.fitting / published)
        result = self.method(image, num_gaussians, FitOptions(steps), seed=seed, callback=callback)
        history = result.history
        frame, tuning = self.tune(image, result.gaussians, total - steps, _continue(history[-1], callback))
        history = [*history, *(_shift(history[-1], each) for each in tuning)]
        analytic = self.analytic_bits(frame)
        return Encoded(write_frame(frame), self.decode(frame).to(image.device), history, analytic)

    def tune(
        self,
        image: Tensor,
        gaussians: Gaussians,
        iterations: int,
        callback: Callback | None = None,
    ) -> tuple[Frame, list[HistoryEntry]]:
        """Make the file for fitted Gaussians; with 0 iterations they are only rounded.

        Args:
            image: (C, H, W) in [0, 1].
            gaussians: Fitted Gaussians.
            iterations: Number of steps of the quantization-aware fit.
            callback: Callable that gets every new entry of the history.

        Returns:
            The file, and the history.
        """
        tuned, history = tune(image, gaussians, self.optimization, iterations, callback)
        layer = b"".join(part for _, part in self._parts(tuned))
        return Frame(self.name, gaussians.height, gaussians.width, [layer]), history

    @property
    def iterations(self) -> int:
        """Return the published number of steps of both fits together."""
        return self.fitting + self.tuning

    def decode(self, frame: Frame) -> Gaussians:
        """Read Gaussians, on the CPU; raise FormatError if the layer is damaged."""
        tuned, canvas = self._read(frame), (frame.height, frame.width)
        quantizers = self._quantizers()
        try:
            values, parameters, symbols = {}, tuned.parameters, tuned.symbols
            for name, quantizer in quantizers.items():
                quantizer.load(parameters[: quantizer.parameter_bytes()])
                values[name] = quantizer.dequantize(symbols[:, : len(quantizer.alphabets)])
                parameters = parameters[quantizer.parameter_bytes() :]
                symbols = symbols[:, len(quantizer.alphabets) :]
            return Gaussians(*self._variables().assemble(values, canvas), *canvas, self.method.blend)
        except FormatError:
            raise
        except ValueError as error:
            raise FormatError(f"is damaged ({error})") from error

    def bit_breakdown(self, frame: Frame) -> dict[str, int]:
        """Return the bits of the file by attribute; raise FormatError if the layer is damaged."""
        bits = dict.fromkeys((*ATTRIBUTES, "header"), 0)
        for attribute, part in self._parts(self._read(frame)):
            bits[attribute] += 8 * len(part)
        bits["header"] += 8 * len(write_frame(frame)) - sum(bits.values())
        return bits

    def analytic_bits(self, frame: Frame) -> int:
        """Return the bits that the paper counts: symbols at their full width, and parameters of the quantizers.

        Raises:
            FormatError: The layer is damaged.
        """
        tuned, quantizers = self._read(frame), self._quantizers().values()
        width = sum(math.ceil(math.log2(alphabet)) for quantizer in quantizers for alphabet in quantizer.alphabets)
        return len(tuned.symbols) * width + 8 * len(tuned.parameters)

    def _variables(self) -> type[Quantized]:
        kind = self.optimization.parametrization
        assert isinstance(kind, type)
        assert issubclass(kind, Quantized)
        return kind

    def _quantizers(self) -> dict[str, Quantizer]:
        return self._variables().make_quantizers()

    def _parts(self, tuned: Tuned) -> Iterator[tuple[str, bytes]]:
        """Yield the parts of the layer, each behind the name of its attribute."""
        yield "header", len(tuned.symbols).to_bytes(_COUNT_BYTES, "little")
        start = 0
        for attribute, quantizer in zip(ATTRIBUTES, self._quantizers().values(), strict=True):
            end = start + quantizer.parameter_bytes()
            yield attribute, tuned.parameters[start:end]
            start = end
        columns = iter(tuned.symbols.numpy().T)
        for attribute, quantizer in zip(ATTRIBUTES, self._quantizers().values(), strict=True):
            for alphabet in quantizer.alphabets:
                yield attribute, encode_histogram(next(columns).astype(np.int64), alphabet)

    def _read(self, frame: Frame) -> Tuned:
        """Read the layer; raise FormatError if it is damaged."""
        if not frame.whole:
            raise FormatError("is cut, and has a single layer")
        if not frame.channels.are_rgb:
            raise FormatError(f"is damaged ({frame.channels} in a scheme of RGB only)")
        if len(frame.layers) != 1:
            raise FormatError(f"is damaged ({len(frame.layers)} layers instead of 1)")
        (layer,) = frame.layers
        quantizers = self._quantizers().values()
        place = _COUNT_BYTES + sum(quantizer.parameter_bytes() for quantizer in quantizers)
        count = int.from_bytes(layer[:_COUNT_BYTES], "little")
        if len(layer) < place or count > MAX_GAUSSIANS:
            raise FormatError(f"is damaged ({count} Gaussians in a layer of {len(layer)} bytes)")
        parameters, columns = layer[_COUNT_BYTES:place], []
        for alphabet in (alphabet for quantizer in quantizers for alphabet in quantizer.alphabets):
            column, place = decode_histogram(layer, place, count, alphabet)
            columns.append(column.astype(np.int32))
        if place != len(layer):
            raise FormatError(f"is damaged ({len(layer) - place} bytes too many in its layer)")
        return Tuned(parameters, torch.from_numpy(np.stack(columns, axis=1)))


def _shift(before: HistoryEntry, entry: HistoryEntry) -> HistoryEntry:
    """Return an entry of a fit that followed another, counted from the start of the first."""
    return HistoryEntry(before.iteration + entry.iteration, before.seconds + entry.seconds, entry.psnr)


def _continue(before: HistoryEntry, callback: Callback | None) -> Callback | None:
    """Return a callback for a fit that follows another."""
    if callback is None:
        return None
    called = callback
    return lambda entry: called(_shift(before, entry))
