"""Folders of images as batches for training, validation and prediction, datasets of Gaussians too; and downloads."""

from typing import TYPE_CHECKING, Any

from fastgs.data.folder import Batch, ImageFolder
from fastgs.data.sampler import EpochSampler
from fastgs.data.splats import SplatBatch, SplatDataset, SplatSample

if TYPE_CHECKING:
    from fastgs.data.module import FolderDataModule
    from fastgs.data.splat_module import SplatDataModule

__all__ = [
    "Batch",
    "EpochSampler",
    "FolderDataModule",
    "ImageFolder",
    "SplatBatch",
    "SplatDataModule",
    "SplatDataset",
    "SplatSample",
]


def __getattr__(name: str) -> Any:
    """Import lightning, which takes seconds, only for those who train."""
    if name == "FolderDataModule":
        from fastgs.data.module import FolderDataModule

        return FolderDataModule
    if name == "SplatDataModule":
        from fastgs.data.splat_module import SplatDataModule

        return SplatDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
