"""Datasets of Gaussians for training and measuring autoencoders with Lightning."""

from __future__ import annotations

import lightning
import torch

from fastgs.data.datamodule import EpochLoader
from fastgs.data.sampler import EpochSampler, Uneven
from fastgs.splats.channels import Parameters
from fastgs.splats.dataset import SplatDataset, collate_splats
from fastgs.splats.index import Split


class SplatDataModule(lightning.LightningDataModule):
    """The three splits of a dataset that `fastgs splats make` made; batches are `SplatBatch`.

    Messages name the arguments as configuration files do, `data.folder` for `folder`.

    Args:
        folder: of the dataset.
        parameters: which channels describe a Gaussian, see `fastgs.splats.channels`.
        batch_size: training images in a batch of one device.
        val_batch_size: validation or test images in a batch of one device.
        turn: mirror and turn training images, see `SplatDataset`.
        seed: of the order of the training images, and of how they are turned.

    Attributes:
        datasets: the splits that are needed, by name, once a stage is set up.

    Raises:
        ValueError: one line that begins with the argument; of the folder when a stage is set up, of a batch that is
            larger than the split when the training loader is made.
    """

    def __init__(
        self,
        folder: str,
        parameters: Parameters = "anchored",
        batch_size: int = 64,
        val_batch_size: int = 256,
        turn: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("val_batch_size", val_batch_size, 1),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ValueError(f"data.{name}: must be at least {least}, got {value}")
        self.folder = folder
        self.parameters: Parameters = parameters
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.turn = turn
        self.seed = seed
        self.datasets: dict[str, SplatDataset] = {}

    @property
    def folders(self) -> dict[str, str]:
        """The folder of each split, which is the same for all."""
        return dict.fromkeys(self.datasets, self.folder)

    def setup(self, stage: str) -> None:
        """Read the splits of a stage of Lightning: fit, validate, test or predict."""
        needed: dict[str, list[Split]] = {"fit": ["train", "val"], "validate": ["val"]}
        for split in needed.get(stage, ["test"]):
            if split not in self.datasets:
                try:
                    self.datasets[split] = SplatDataset(
                        self.folder, split, self.parameters, turn=self.turn and split == "train", seed=self.seed
                    )
                except (OSError, ValueError) as error:
                    raise ValueError(f"data.folder: {error}") from error

    def train_dataloader(self) -> EpochLoader:
        """Shuffled batches, all of them full."""
        sampler = self._sampler("train", shuffle=True, uneven="drop")
        if len(sampler) < self.batch_size:
            raise ValueError(
                f"data.batch_size: {self.batch_size} is more than the {len(sampler)} training images that there are "
                "for each device; lower it"
            )
        loader = self._loader("train", sampler, self.batch_size, drop_last=True)
        loader.batches_done = self._batches_done
        return loader

    def val_dataloader(self) -> EpochLoader:
        """The validation images in order."""
        sampler = self._sampler("val", shuffle=False, uneven="repeat")
        return self._loader("val", sampler, self.val_batch_size, drop_last=False)

    def test_dataloader(self) -> EpochLoader:
        """The test images in order."""
        sampler = self._sampler("test", shuffle=False, uneven="repeat")
        return self._loader("test", sampler, self.val_batch_size, drop_last=False)

    def _sampler(self, split: Split, shuffle: bool, uneven: Uneven) -> EpochSampler:
        """A sampler for this process among those of the trainer."""
        replicas, rank = (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)
        return EpochSampler(self.datasets[split], shuffle, 1, self.seed, replicas, rank, uneven)

    def _loader(self, split: Split, sampler: EpochSampler, batch_size: int, drop_last: bool) -> EpochLoader:
        return EpochLoader(
            self.datasets[split],
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=collate_splats,
            pin_memory=torch.cuda.is_available(),
        )

    def _batches_done(self) -> int:
        """How many batches of the running epoch are behind us; more than 0 only when training resumes in mid-epoch."""
        return 0 if self.trainer is None else int(self.trainer.fit_loop.epoch_loop.batch_progress.current.ready)
