"""Which images of an epoch go to which process, and in what order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset, DistributedSampler

Uneven = Literal["drop", "repeat", "keep"]


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Deals out the (epoch, index) pairs of an epoch to the processes of a run.

    Of n processes, rank r takes the positions r, r + n, r + 2 n, ... of one list that is the same for all. So step t
    sees the same images whatever n is, as long as the batches of all processes together have the same size.

    It is a DistributedSampler so that Lightning leaves it as it is, even under Trainer(use_distributed_sampler=True).

    Args:
        dataset: whatever has a length.
        shuffle: a new order in each epoch, which Lightning tells by `set_epoch`. Else the images come in order and the
            epoch is 0 always, so that every evaluation is of the same samples.
        repeat: an epoch passes over the images this many times. The passes are counted on through all epochs and take
            the place of the epoch in the pairs, so that each has other crops.
        seed: of the orders.
        num_replicas: number of processes n.
        rank: which of them this is, in [0, n).
        uneven: what happens if n does not divide the number of pairs. "drop" leaves out the last ones of the list, for
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

    def __len__(self) -> int:
        return len(range(self.rank, self._total(), self.num_replicas))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        pairs = [pair for turn in range(self.repeat) for pair in self._pass(turn)]
        total = self._total()
        pairs = (pairs * -(-total // len(pairs)))[:total]
        start, self._start = self._start, 0
        return iter(pairs[self.rank :: self.num_replicas][start:])

    def set_epoch(self, epoch: int) -> None:
        """Tell which epoch the next iteration is of, counted from 0."""
        self.epoch = epoch

    def skip_once(self, samples: int) -> None:
        """Leave out this many samples of this rank at the beginning of the next iteration, to resume in mid-epoch."""
        self._start = samples

    def _total(self) -> int:
        """Number of pairs of all ranks together."""
        total, n = self.length * self.repeat, self.num_replicas
        return {"drop": total // n * n, "repeat": -(-total // n) * n, "keep": total}[self.uneven]

    def _pass(self, turn: int) -> Iterator[tuple[int, int]]:
        """One pass over the images; turn counts the passes of this epoch."""
        if not self.shuffle:
            return ((turn, index) for index in range(self.length))
        number = self.epoch * self.repeat + turn
        # The spawn key keeps these numbers apart from those of the dataset, of (seed, epoch, index).
        generator = np.random.default_rng(np.random.SeedSequence((self.seed, number), spawn_key=(0,)))
        return ((number, int(index)) for index in generator.permutation(self.length))
