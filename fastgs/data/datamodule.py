"""Folders of images for training, validation and prediction with Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from fastgs.data.folder import Batch, ImageFolder, collate
from fastgs.data.sampler import EpochSampler, Uneven
from fastgs.io.images import ImageError


class EpochLoader(DataLoader[Any]):
    """A DataLoader of an `EpochSampler` that Lightning can resume anywhere.

    Lightning makes an iterator before it tells the epoch, and does not replace it when a run is resumed. So everything
    about an iteration is decided at its first batch.

    Attributes:
        batches_done: how many batches the next iteration is to leave out.
    """

    batches_done: Callable[[], int] = staticmethod(lambda: 0)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        if isinstance(self.sampler, EpochSampler):  # Trainer(overfit_batches=...) puts another in its place
            self.sampler.skip_once(self.batches_done() * (self.batch_size or 1))
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: Lightning counts the batches. That the method is there tells it that it may resume in mid-epoch."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing, see `state_dict`."""


class FolderDataModule(lightning.LightningDataModule):
    """Folders of images for the three stages; each folder may be a list of folders.

    Messages name the arguments as configuration files do, `data.train` for `train`.

    Args:
        train: folders of training images.
        val: folders of validation images; None trains without validation.
        predict: folders of images to predict.
        crop: side of the training crops, in pixels.
        size: if given, training images are first resized to this shorter side and cut to their centre square.
        val_size: shorter side of validation and prediction images, of which the centre square is cut; None takes them
            whole, one per batch if they differ in size.
        batch_size: training images in a batch of one device.
        val_batch_size: validation or prediction images in a batch of one device.
        random_crop: cut training crops anywhere; else in the centre.
        flip: turn and mirror training crops.
        repeat: an epoch passes over the training images this many times, with other crops each time; for small sets.
        num_workers: processes that load images, for training and as many again for validation; 0 loads in the main
            process. What is loaded does not depend on it.
        seed: of order, crops and flips.
        cache_megabytes: memory for decoded images in each process, see `ImageFolder`: workers x cache_megabytes at
            most for training, and again for validation.

    Raises:
        ValueError: one line that begins with the argument; of folders when a stage is set up, of a batch that is larger
            than the epoch when the training loader is made.
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
    ) -> None:
        super().__init__()
        positive = {"crop": crop, "size": size, "val_size": val_size, "repeat": repeat}
        positive |= {"batch_size": batch_size, "val_batch_size": val_batch_size}
        for name, value in positive.items():
            if value is not None and value < 1:
                raise ValueError(f"data.{name}: must be at least 1, got {value}")
        for name, value in {"num_workers": num_workers, "seed": seed, "cache_megabytes": cache_megabytes}.items():
            if value < 0:
                raise ValueError(f"data.{name}: must be at least 0, got {value}")
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
        self.datasets: dict[str, ImageFolder] = {}

    def setup(self, stage: str) -> None:
        """List the images of a stage of Lightning: fit, validate, test or predict."""
        needed = {"fit": ["train"], "validate": ["val"], "test": ["predict"], "predict": ["predict"]}.get(stage, [])
        if stage == "fit" and self.folders["val"] is not None:
            needed.append("val")
        for name in needed:
            self.datasets[name] = self._dataset(name)

    def train_dataloader(self) -> EpochLoader:
        """Shuffled batches of crops, all of them full."""
        dataset = self.datasets["train"]
        sampler = self._sampler(dataset, shuffle=True, repeat=self.repeat, uneven="drop")
        if len(sampler) < self.batch_size:
            raise ValueError(
                f"data.batch_size: {self.batch_size} is more than the {len(sampler)} images that an epoch has for each "
                f"device ({len(dataset)} images x data.repeat {self.repeat} / {sampler.num_replicas} devices); lower "
                "it or raise data.repeat"
            )
        loader = self._loader(dataset, sampler, self.batch_size, drop_last=True)
        loader.batches_done = self._batches_done
        return loader

    def val_dataloader(self) -> EpochLoader | list[Any]:
        """The validation images in order; none if no folder was given."""
        return self._evaluation_loader("val", "repeat") if "val" in self.datasets else []

    def predict_dataloader(self) -> EpochLoader:
        """The images to predict, in order and each just once."""
        dataset, devices = self.datasets["predict"], 1 if self.trainer is None else self.trainer.world_size
        if len(dataset) < devices:  # a device without an image would not wait for the others
            raise ValueError(
                f"data.predict: {len(dataset)} images are too few for {devices} devices; use fewer devices"
            )
        return self._evaluation_loader("predict", "keep")

    def test_dataloader(self) -> EpochLoader:
        """The images to predict: a stage that measures what it predicts is run by `Trainer.test`."""
        return self.predict_dataloader()

    def _dataset(self, name: str) -> ImageFolder:
        """The images of data.NAME."""
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
            )
        except (ImageError, OSError) as error:
            raise ValueError(f"data.{name}: {error}") from error

    def _evaluation_loader(self, name: str, uneven: Uneven) -> EpochLoader:
        dataset = self.datasets[name]
        sampler = self._sampler(dataset, shuffle=False, repeat=1, uneven=uneven)
        return self._loader(dataset, sampler, self.val_batch_size, drop_last=False)

    def _sampler(self, dataset: ImageFolder, shuffle: bool, repeat: int, uneven: Uneven) -> EpochSampler:
        """A sampler for this process among those of the trainer."""
        replicas, rank = (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)
        return EpochSampler(dataset, shuffle, repeat, self.seed, replicas, rank, uneven)

    def _loader(self, dataset: ImageFolder, sampler: EpochSampler, batch_size: int, drop_last: bool) -> EpochLoader:
        return EpochLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=collate,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def _batches_done(self) -> int:
        """How many batches of the running epoch are behind us; more than 0 only when training resumes in mid-epoch."""
        return 0 if self.trainer is None else int(self.trainer.fit_loop.epoch_loop.batch_progress.current.ready)
