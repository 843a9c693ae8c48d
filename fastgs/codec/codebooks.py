"""Vectors as indices into small codebooks, of which each refines what the ones before leave."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fastgs.codec.quantizers import LARGEST_HALF, Quantizer, straight_through

ROUNDS = 5  # of k-means, at the start
DECAY = 0.8  # of the running means that entries are
COMMITMENT = 1.0  # weight of the loss that keeps vectors at their entries
IDLE = 1e-3  # an entry with fewer vectors, by their running mean, stays where it is


class ResidualVectors(Quantizer):
    """The sum of one entry of each codebook, each the nearest to what is left (as in SoundStream, arXiv 2107.03312).

    Entries start by k-means and then are running means of the vectors that choose them (van den Oord et al., arXiv
    1711.00937); no gradient moves them.

    Args:
        stages: number of codebooks.
        entries: of each.
        columns: of the tensor.
    """

    KIND: ClassVar[str] = "<f2"
    LOCAL: ClassVar[tuple[str, ...]] = ("counts", "sums")

    books: Tensor  # (stages, entries, columns), of 16-bit floating point
    counts: Tensor  # (stages, entries)
    sums: Tensor  # as books

    def __init__(self, stages: int, entries: int, columns: int) -> None:
        super().__init__()
        self.alphabets = (entries,) * stages
        self.register_buffer("books", torch.zeros(stages, entries, columns))
        self.register_buffer("counts", torch.zeros(stages, entries))
        self.register_buffer("sums", torch.zeros(stages, entries, columns))

    @torch.no_grad()
    def start(self, values: Tensor) -> None:
        """See `Quantizer`."""
        rest = values
        for stage, book in enumerate(self.books):
            if len(rest):
                book.copy_(_rounded(k_means(rest, len(book))))
            chosen = _nearest(rest, book)
            self.counts[stage], self.sums[stage] = _members(rest, chosen, len(book))
            rest = rest - book[chosen]

    def forward(self, values: Tensor) -> Tensor:
        """See `Quantizer`."""
        chosen: Tensor = straight_through(values, self.dequantize(self.symbols(values)))
        return chosen

    @torch.no_grad()
    def symbols(self, values: Tensor) -> Tensor:
        """See `Quantizer`."""
        columns, rest = [], values
        for book in self.books:
            columns.append(_nearest(rest, book))
            rest = rest - book[columns[-1]]
        return torch.stack(columns, dim=1).int()

    @torch.no_grad()
    def dequantize(self, symbols: Tensor) -> Tensor:
        """See `Quantizer`."""
        values = self.books.new_zeros(len(symbols), self.books.shape[2])
        for book, column in zip(self.books, symbols.long().unbind(1), strict=True):
            values = values + book[column]
        return values

    def learn(self, values: Tensor) -> Tensor:
        """The commitment loss; moves the entries."""
        loss, rest = values.new_zeros(()), values
        for stage, book in enumerate(self.books):
            chosen = _nearest(rest.detach(), book)
            entries = book[chosen]
            loss = loss + COMMITMENT * (rest - entries).square().mean()
            self._follow(stage, rest.detach(), chosen)
            rest = rest - entries
        return loss

    @torch.no_grad()
    def _follow(self, stage: int, vectors: Tensor, chosen: Tensor) -> None:
        counts, sums = _members(vectors, chosen, self.books.shape[1])
        self.counts[stage].lerp_(counts, 1 - DECAY)
        self.sums[stage].lerp_(sums, 1 - DECAY)
        counts = self.counts[stage, :, None]
        means = _rounded(self.sums[stage] / counts.clamp(min=IDLE))
        self.books[stage] = torch.where(counts > IDLE, means, self.books[stage])


def k_means(points: Tensor, count: int) -> Tensor:
    """(count, columns) centres of (N, columns) points, N at least 1; the same ones every time.

    It starts from points far apart, as k-means++ (Arthur and Vassilvitskii, 2007), whose draws are quantiles here.
    """
    centres = points[:1]
    for _ in range(count - 1):
        nearest = torch.cdist(points, centres).amin(1).square().cumsum(0)
        place = int(torch.searchsorted(nearest, nearest[-1] / 2).clamp(max=len(points) - 1))
        centres = torch.cat([centres, points[place : place + 1]])
    for _ in range(ROUNDS):
        members, sums = _members(points, _nearest(points, centres), count)
        means = sums / members[:, None].clamp(min=1)
        centres = torch.where(members[:, None] > 0, means, centres)
    return centres


def _nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """(N,) index of the nearest entry, by the differences themselves: they are the same for any N."""
    return (vectors[:, None] - book).square().sum(2).argmin(1)


def _members(vectors: Tensor, chosen: Tensor, entries: int) -> tuple[Tensor, Tensor]:
    """How many vectors chose each entry, (entries,), and their sums, (entries, columns)."""
    counts = vectors.new_zeros(entries).index_add_(0, chosen, vectors.new_ones(len(vectors)))
    return counts, vectors.new_zeros(entries, vectors.shape[1]).index_add_(0, chosen, vectors)


def _rounded(entries: Tensor) -> Tensor:
    """To what the file holds."""
    return entries.clamp(-LARGEST_HALF, LARGEST_HALF).half().float()
