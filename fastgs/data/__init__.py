"""Folders of images as batches for training, validation and prediction, and datasets that can be downloaded."""

from typing import TYPE_CHECKING, Any

from fastgs.data.folder import Batch, ImageFolder
from fastgs.data.sampler import EpochSampler

if TYPE_CHECKING:
    from fastgs.data.datamodule import FolderDataModule

__all__ = ["Batch", "EpochSampler", "FolderDataModule", "ImageFolder"]


def __getattr__(name: str) -> Any:
    """Import lightning, which takes seconds, only for those who train."""
    if name == "FolderDataModule":
        from fastgs.data.datamodule import FolderDataModule

        return FolderDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
