"""Assignment of the images of an epoch to processes, and their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset, DistributedSampler
from typing_extensions import override

Uneven = Literal["drop", "repeat", "keep"]


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Distributes the (epoch, index) pairs of an epoch to the processes of a run.

    Of n processes, rank r takes the positions r, r + n, r + 2 n, ... of one list that is the same for all. Step t thus
    sees the same images for every n, as long as the batches of all processes together have the same size.

    It is a DistributedSampler so that Lightning leaves it as it is, even under Trainer(use_distributed_sampler=True).

    Args:
        dataset: Dataset, of which only the length is used.
        shuffle: True draws a new order in each epoch, which Lightning tells by `set_epoch`. False keeps the images in
            order, and the epoch is always 0, so that every evaluation is of the same samples.
        repeat: Number of passes over the images in an epoch. The passes are counted through all epochs and take the
            place of the epoch in the pairs, so that each has other crops.
        seed: Random seed of the orders.
        num_replicas: Number of processes n.
        rank: Rank of this process, in [0, n).
        uneven: Rule for when n does not divide the number of pairs. "drop" leaves out the last ones of the list, for
            training; "repeat" adds the first ones again, so that all ranks have equally many steps, which validation
            during training needs (networks with buffers synchronize in each step); "keep" gives some ranks one more.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        shuffle: bool = True,
        repeat: int = 1,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        uneven: Uneven = "drop",
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed)
        self.repeat = repeat
        self.uneven = uneven
        self.length = len(dataset)  # type: ignore[arg-type]
        self._start = 0

    @override
    def __len__(self) -> int:
        return len(range(self.rank, self._count_pairs(), self.num_replicas))

    @override
    def __iter__(self) -> Iterator[tuple[int, int]]:
        pairs = [pair for turn in range(self.repeat) for pair in self._order(turn)]
        total = self._count_pairs()
        pairs = (pairs * -(-total // len(pairs)))[:total]
        start, self._start = self._start, 0
        return iter(pairs[self.rank :: self.num_replicas][start:])

    @override
    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def skip_once(self, samples: int) -> None:
        """Leave out the first samples of this rank in the next iteration, to resume in the middle of an epoch."""
        self._start = samples

    def _count_pairs(self) -> int:
        """Return the number of pairs of all ranks together."""
        total, n = self.length * self.repeat, self.num_replicas
        return {"drop": total // n * n, "repeat": -(-total // n) * n, "keep": total}[self.uneven]

    def _order(self, turn: int) -> Iterator[tuple[int, int]]:
        """Yield the pairs of one pass over the images; turn counts the passes of this epoch from 0."""
        if not self.shuffle:
            return ((turn, index) for index in range(self.length))
        number = self.epoch * self.repeat + turn
        # The spawn key keeps these numbers apart from those that the dataset draws from (seed, epoch, index).
        generator = np.random.default_rng(np.random.SeedSequence((self.seed, number), spawn_key=(0,)))
        return ((number, int(index)) for index in generator.permutation(self.length))
