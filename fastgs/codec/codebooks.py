"""Residual vector quantization: each vector becomes one index into each of several small codebooks."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from fastgs.codec.quantizers import Quantizer, round_to_half, straight_through

ROUNDS = 5  # iterations of k-means when the entries are initialized
DECAY = 0.8  # share of the old running mean that one step keeps
COMMITMENT = 1.0  # weight of the loss that keeps vectors near their entries
IDLE = 1e-3  # number of vectors, as a running mean, up to which an entry stays where it is


class ResidualVectors(Quantizer):
    """Quantizes a vector to a sum of entries, one of each codebook (as in SoundStream, arXiv 2107.03312).

    Each codebook quantizes what the ones before it leave, to the nearest of its entries. Entries start from k-means and
    are then running means of the vectors that choose them (van den Oord et al., arXiv 1711.00937); no gradient moves
    them. `learn` moves them, and returns the commitment loss, which keeps vectors near their entries.

    Args:
        stages: Number of codebooks.
        entries: Number of entries of each codebook.
        columns: Number of columns of the tensor to quantize.

    Attributes:
        books: (stages, entries, columns) codebooks; their numbers are exact in 16-bit floating point.
        counts: (stages, entries) running mean of the number of vectors that choose each entry.
        sums: (stages, entries, columns) running mean of the sum of these vectors.
    """

    KIND: ClassVar[str] = "<f2"
    LOCAL: ClassVar[tuple[str, ...]] = ("counts", "sums")

    books: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, stages: int, entries: int, columns: int) -> None:
        super().__init__()
        self.alphabets = (entries,) * stages
        self.register_buffer("books", torch.zeros(stages, entries, columns))
        self.register_buffer("counts", torch.zeros(stages, entries))
        self.register_buffer("sums", torch.zeros(stages, entries, columns))

    @override
    @torch.no_grad()
    def start(self, values: Tensor) -> None:
        rest = values
        for stage, book in enumerate(self.books):
            if len(rest):
                book.copy_(round_to_half(k_means(rest, len(book))))
            chosen = _find_nearest(rest, book)
            self.counts[stage], self.sums[stage] = _count_and_sum(rest, chosen, len(book))
            rest = rest - book[chosen]

    @override
    def forward(self, values: Tensor) -> Tensor:
        quantized: Tensor = straight_through(values, self.dequantize(self.symbols(values)))
        return quantized

    @override
    @torch.no_grad()
    def symbols(self, values: Tensor) -> Tensor:
        columns, rest = [], values
        for book in self.books:
            columns.append(_find_nearest(rest, book))
            rest = rest - book[columns[-1]]
        return torch.stack(columns, dim=1).int()

    @override
    @torch.no_grad()
    def dequantize(self, symbols: Tensor) -> Tensor:
        values = self.books.new_zeros(len(symbols), self.books.shape[2])
        for book, column in zip(self.books, symbols.long().unbind(1), strict=True):
            values = values + book[column]
        return values

    @override
    def learn(self, values: Tensor) -> Tensor:
        loss, rest = values.new_zeros(()), values
        for stage, book in enumerate(self.books):
            chosen = _find_nearest(rest.detach(), book)
            entries = book[chosen]
            loss = loss + COMMITMENT * (rest - entries).square().mean()
            self._update_entries(stage, rest.detach(), chosen)
            rest = rest - entries
        return loss

    @torch.no_grad()
    def _update_entries(self, stage: int, vectors: Tensor, chosen: Tensor) -> None:
        """Move the entries of a codebook towards the vectors that chose them."""
        counts, sums = _count_and_sum(vectors, chosen, self.books.shape[1])
        self.counts[stage].lerp_(counts, 1 - DECAY)
        self.sums[stage].lerp_(sums, 1 - DECAY)
        counts = self.counts[stage, :, None]
        means = round_to_half(self.sums[stage] / counts.clamp(min=IDLE)).float()
        self.books[stage] = torch.where(counts > IDLE, means, self.books[stage])


def k_means(points: Tensor, count: int) -> Tensor:
    """Return the (count, columns) centres of clusters of points; the same points give the same centres.

    The first centres are far apart, as in k-means++ (Arthur and Vassilvitskii, 2007), whose random draws are quantiles
    here.

    Args:
        points: (N, columns) points, N at least 1.
        count: Number of clusters.
    """
    centres = points[:1]
    for _ in range(count - 1):
        nearest = torch.cdist(points, centres).amin(1).square().cumsum(0)
        place = int(torch.searchsorted(nearest, nearest[-1] / 2).clamp(max=len(points) - 1))
        centres = torch.cat([centres, points[place : place + 1]])
    for _ in range(ROUNDS):
        members, sums = _count_and_sum(points, _find_nearest(points, centres), count)
        means = sums / members[:, None].clamp(min=1)
        centres = torch.where(members[:, None] > 0, means, centres)
    return centres


def _find_nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """Return the (N,) index of the nearest entry of each vector."""
    # Computed from the differences themselves, which do not depend on N, as a matrix product may.
    return (vectors[:, None] - book).square().sum(2).argmin(1)


def _count_and_sum(vectors: Tensor, chosen: Tensor, entries: int) -> tuple[Tensor, Tensor]:
    """Return how many vectors chose each entry, (entries,), and the sums of these vectors, (entries, columns)."""
    counts = vectors.new_zeros(entries).index_add_(0, chosen, vectors.new_ones(len(vectors)))
    return counts, vectors.new_zeros(entries, vectors.shape[1]).index_add_(0, chosen, vectors)
