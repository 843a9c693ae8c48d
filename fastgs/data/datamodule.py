"""Folders of images for training, validation and prediction with Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning
from typing_extensions import override

from fastgs.data.folder import ImageFolder, check_at_least, collate
from fastgs.data.loader import EpochLoader, make_evaluation_loader, make_training_loader
from fastgs.data.sampler import Uneven
from fastgs.io.images import ImageError


class FolderDataModule(lightning.LightningDataModule):
    """Folders of images for the three stages; each folder may be a list of folders.

    Messages name the arguments as configuration files do, `data.train` for `train`.

    Args:
        train: Folders of training images.
        val: Folders of validation images; None trains without validation.
        predict: Folders of images to predict.
        crop: Side of the training crops in pixels.
        size: Shorter side in pixels to which training images are first resized, and cut to their centre square; None
            keeps their size.
        val_size: Shorter side in pixels to which validation and prediction images are resized, and cut to their centre
            square; None takes them whole, and then a batch is one image if they differ in size.
        batch_size: Number of training images in a batch of one device.
        val_batch_size: Number of validation or prediction images in a batch of one device.
        random_crop: True cuts training crops anywhere, False in the centre.
        flip: True mirrors and turns training crops.
        repeat: Number of passes over the training images in an epoch, each with other crops; for small sets.
        num_workers: Number of processes that load images, for training and as many again for validation; 0 loads in
            the main process. The samples do not depend on it.
        seed: Random seed of order, crops and flips.
        cache_megabytes: Memory for decoded images in each process, see `ImageFolder`: workers x cache_megabytes at
            most for training, and again for validation.
        disk_cache: Folder for decoded images, which makes loading faster from the second epoch on, see `ImageFolder`;
            None decodes them in every epoch.

    Raises:
        ValueError: An argument is out of range; when a stage is set up, a folder is missing or has no images; when the
            training loader is made, a batch is larger than the epoch. One line that begins with the argument.
    """

    def __init__(
        self,
        train: str | list[str] | None = None,
        val: str | list[str] | None = None,
        predict: str | list[str] | None = None,
        crop: int = 256,
        size: int | None = None,
        val_size: int | None = 512,
        batch_size: int = 16,
        val_batch_size: int = 1,
        random_crop: bool = True,
        flip: bool = True,
        repeat: int = 1,
        num_workers: int = 4,
        seed: int = 0,
        cache_megabytes: int = 512,
        disk_cache: str | None = None,
    ) -> None:
        super().__init__()
        positive = {"crop": crop, "size": size, "val_size": val_size, "repeat": repeat}
        positive |= {"batch_size": batch_size, "val_batch_size": val_batch_size}
        check_at_least(1, positive, prefix="data.")
        check_at_least(
            0, {"num_workers": num_workers, "seed": seed, "cache_megabytes": cache_megabytes}, prefix="data."
        )
        if size is not None and crop > size:
            raise ValueError(f"data.crop: {crop} pixels do not fit in images of data.size {size}; lower crop")
        self.folders = {"train": train, "val": val, "predict": predict}
        self.crop = crop
        self.size = size
        self.val_size = val_size
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.random_crop = random_crop
        self.flip = flip
        self.repeat = repeat
        self.num_workers = num_workers
        self.seed = seed
        self.cache_megabytes = cache_megabytes
        self.disk_cache = disk_cache
        self.datasets: dict[str, ImageFolder] = {}

    @override
    def setup(self, stage: str) -> None:
        needed = {"fit": ["train"], "validate": ["val"], "test": ["predict"], "predict": ["predict"]}.get(stage, [])
        if stage == "fit" and self.folders["val"] is not None:
            needed.append("val")
        for name in needed:
            self.datasets[name] = self._make_dataset(name)

    @override
    def train_dataloader(self) -> EpochLoader:
        dataset, collate = self.datasets["train"], self._collate("train")
        return make_training_loader(
            self.trainer, dataset, self.batch_size, collate, self.seed, self.repeat, self.num_workers
        )

    @override
    def val_dataloader(self) -> EpochLoader | list[Any]:
        return self._make_evaluation_loader("val", "repeat") if "val" in self.datasets else []

    @override
    def predict_dataloader(self) -> EpochLoader:
        dataset, devices = self.datasets["predict"], 1 if self.trainer is None else self.trainer.world_size
        if len(dataset) < devices:  # a device without an image would not wait for the others
            raise ValueError(
                f"data.predict: {len(dataset)} images are too few for {devices} devices; use fewer devices"
            )
        return self._make_evaluation_loader("predict", "keep")

    @override
    def test_dataloader(self) -> EpochLoader:
        # A stage that measures what it predicts is run by `Trainer.test`.
        return self.predict_dataloader()

    def _make_dataset(self, name: str) -> ImageFolder:
        """Return the images of data.NAME."""
        folders = self.folders[name]
        if not folders:
            raise ValueError(f"data.{name}: no folder is given; name one, or a list of folders, with images")
        train = name == "train"
        try:
            return ImageFolder(
                folders,
                crop=self.crop if train else None,
                size=self.size if train else self.val_size,
                random_crop=self.random_crop and train,
                flip=self.flip and train,
                seed=self.seed,
                cache_megabytes=self.cache_megabytes,
                disk_cache=self.disk_cache,
                rounded=train,
            )
        except (ImageError, OSError) as error:
            raise ValueError(f"data.{name}: {error}") from error

    def _make_evaluation_loader(self, name: str, uneven: Uneven) -> EpochLoader:
        """Return a loader of the images of data.NAME in order."""
        dataset, collate = self.datasets[name], self._collate(name)
        return make_evaluation_loader(self.trainer, dataset, self.val_batch_size, collate, uneven, self.num_workers)

    def _collate(self, name: str) -> Callable[..., Any]:
        """Return the function that makes batches of the samples of data.NAME."""
        return collate
