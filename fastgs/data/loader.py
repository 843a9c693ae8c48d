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


def make_training_loader(
    trainer: lightning.Trainer | None,
    dataset: Dataset[Any],
    batch_size: int,
    collate: Callable[..., Any],
    seed: int,
    repeat: int | None = None,
    num_workers: int = 0,
) -> EpochLoader:
    """Return a loader of full batches in a new order in each epoch; a resumed run continues within the epoch.

    Args:
        trainer: Trainer that the batches are for; None outside of a run.
        dataset: Dataset that is indexed by (epoch, index) pairs.
        batch_size: Number of samples in a batch of one device.
        collate: Function from a list of samples to a batch.
        seed: Random seed of the orders.
        repeat: Number of passes over the dataset in an epoch; None where one cannot choose it, and it is 1.
        num_workers: Number of processes that load samples; 0 loads in the main process.

    Raises:
        ValueError: There is not one full batch. The message begins with "data.batch_size".
    """
    sampler = _make_sampler(trainer, dataset, True, "drop", seed, repeat or 1)
    if len(sampler) < batch_size:
        passes, advice = ("", "") if repeat is None else (f" x data.repeat {repeat}", " or raise data.repeat")
        raise ValueError(
            f"data.batch_size: {batch_size} is more than the {len(sampler)} samples that an epoch has for each device "
            f"({sampler.length} samples{passes} / {sampler.num_replicas} devices); lower it{advice}"
        )
    loader = _make_loader(dataset, sampler, batch_size, collate, num_workers)
    if trainer is not None:
        loader.batches_done = partial(_count_batches_done, trainer)
    return loader


def make_evaluation_loader(
    trainer: lightning.Trainer | None,
    dataset: Dataset[Any],
    batch_size: int,
    collate: Callable[..., Any],
    uneven: Uneven = "repeat",
    num_workers: int = 0,
) -> EpochLoader:
    """Return a loader of all samples in their order.

    Args:
        trainer: Trainer that the batches are for; None outside of a run.
        dataset: Dataset that is indexed by (epoch, index) pairs.
        batch_size: Number of samples in a batch of one device.
        collate: Function from a list of samples to a batch.
        uneven: Rule for when the devices do not divide the number of samples, see `EpochSampler`.
        num_workers: Number of processes that load samples; 0 loads in the main process.
    """
    sampler = _make_sampler(trainer, dataset, False, uneven)
    return _make_loader(dataset, sampler, batch_size, collate, num_workers)


def _make_sampler(
    trainer: lightning.Trainer | None,
    dataset: Dataset[Any],
    shuffle: bool,
    uneven: Uneven,
    seed: int = 0,
    repeat: int = 1,
) -> EpochSampler:
    """Return a sampler for this process among those of the trainer."""
    replicas, rank = (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)
    return EpochSampler(dataset, shuffle, repeat, seed, replicas, rank, uneven)


def _make_loader(
    dataset: Dataset[Any], sampler: EpochSampler, batch_size: int, collate: Callable[..., Any], num_workers: int
) -> EpochLoader:
    """Return a loader of the samples of a sampler; one that shuffles is for training, of full batches only."""
    return EpochLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=sampler.shuffle,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )


def _count_batches_done(trainer: lightning.Trainer) -> int:
    """Return how many batches of the running epoch are done: more than 0 only where training resumes within it."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.current.ready)
