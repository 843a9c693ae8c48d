"""Data loaders of (epoch, index) pairs that Lightning can resume in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from fastgs.data.sampler import EpochSampler, Uneven

if TYPE_CHECKING:
    import lightning


class EpochLoader(DataLoader[Any]):
    """A DataLoader of an `EpochSampler` that Lightning can resume anywhere.

    Lightning makes an iterator before it tells the epoch, and does not replace it when a run is resumed. Everything
    about an iteration is therefore decided at its first batch.

    Attributes:
        batches_done: Function that returns how many batches the next iteration leaves out.
    """

    batches_done: Callable[[], int] = staticmethod(lambda: 0)

    @override
    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if isinstance(self.sampler, EpochSampler):  # Trainer(overfit_batches=...) puts another in its place
            self.sampler.skip_once(self.batches_done() * (self.batch_size or 1))
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state.

        Lightning counts the batches. That the method exists tells it that it may resume in the middle of an epoch.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing, since `state_dict` is empty."""


def make_sampler(
    trainer: lightning.Trainer | None,
    dataset: Dataset[Any],
    shuffle: bool,
    seed: int,
    uneven: Uneven,
    repeat: int = 1,
) -> EpochSampler:
    """Return a sampler for this process among those of the trainer; see `EpochSampler` for the arguments."""
    replicas, rank = (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)
    return EpochSampler(dataset, shuffle, repeat, seed, replicas, rank, uneven)


def make_loader(
    trainer: lightning.Trainer | None,
    dataset: Dataset[Any],
    sampler: EpochSampler,
    batch_size: int,
    collate: Callable[..., Any],
    train: bool = False,
    num_workers: int = 0,
) -> EpochLoader:
    """Return a loader of a dataset.

    Args:
        trainer: Trainer that the batches are for; None outside of a run.
        dataset: Dataset that is indexed by (epoch, index) pairs.
        sampler: Source of the pairs.
        batch_size: Number of samples in a batch of one device.
        collate: Function from a list of samples to a batch.
        train: True if only full batches are wanted, and a resumed run continues within the epoch.
        num_workers: Number of processes that load samples; 0 loads in the main process.
    """
    loader = EpochLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=train,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )
    if train and trainer is not None:
        loader.batches_done = partial(_count_batches_done, trainer)
    return loader


def _count_batches_done(trainer: lightning.Trainer) -> int:
    """Return how many batches of the running epoch are done: more than 0 only where training resumes within it."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.current.ready)
