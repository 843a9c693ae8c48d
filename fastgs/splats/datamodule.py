"""Datasets of Gaussians for training and measuring autoencoders with Lightning."""

from __future__ import annotations

import lightning
from typing_extensions import override

from fastgs.data.folder import check_at_least
from fastgs.data.loader import EpochLoader, make_evaluation_loader, make_training_loader
from fastgs.splats.channels import Parameters
from fastgs.splats.dataset import SplatDataset, collate_splats
from fastgs.splats.index import Split


class SplatDataModule(lightning.LightningDataModule):
    """The three splits of a dataset from `fastgs splats make`; batches are `SplatBatch`.

    Messages name the arguments as configuration files do, `data.folder` for `folder`.

    Args:
        folder: Folder of the dataset.
        parameters: Parametrization of the Gaussians, see `fastgs.splats.channels`.
        batch_size: Number of training images in a batch of one device.
        val_batch_size: Number of validation or test images in a batch of one device.
        turn: True mirrors and turns training images, see `SplatDataset`.
        seed: Random seed of the order of the training images and of their symmetries.

    Attributes:
        datasets: Splits that are needed, by name, once a stage is set up.

    Raises:
        ValueError: An argument is out of range; when a stage is set up, the folder holds no readable dataset; when the
            training loader is made, a batch is larger than the split. One line that begins with the argument.
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
        check_at_least(1, {"batch_size": batch_size, "val_batch_size": val_batch_size}, prefix="data.")
        check_at_least(0, {"seed": seed}, prefix="data.")
        self.folder = folder
        self.parameters: Parameters = parameters
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.turn = turn
        self.seed = seed
        self.datasets: dict[str, SplatDataset] = {}

    @property
    def folders(self) -> dict[str, str]:
        """Folder of each split, which is the same for all."""
        return dict.fromkeys(self.datasets, self.folder)

    @override
    def setup(self, stage: str) -> None:
        needed: dict[str, list[Split]] = {"fit": ["train", "val"], "validate": ["val"]}
        for split in needed.get(stage, ["test"]):
            if split not in self.datasets:
                try:
                    self.datasets[split] = SplatDataset(
                        self.folder, split, self.parameters, turn=self.turn and split == "train", seed=self.seed
                    )
                except (OSError, ValueError) as error:
                    raise ValueError(f"data.folder: {error}") from error

    @override
    def train_dataloader(self) -> EpochLoader:
        return make_training_loader(self.trainer, self.datasets["train"], self.batch_size, collate_splats, self.seed)

    @override
    def val_dataloader(self) -> EpochLoader:
        return make_evaluation_loader(self.trainer, self.datasets["val"], self.val_batch_size, collate_splats)

    @override
    def test_dataloader(self) -> EpochLoader:
        return make_evaluation_loader(self.trainer, self.datasets["test"], self.val_batch_size, collate_splats)
