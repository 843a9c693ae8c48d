"""Folders of images as batches for training, validation and prediction, and datasets that can be downloaded."""

from typing import TYPE_CHECKING

from fastgs.runtime.lazy import lazy_names

__all__ = [
    "Batch",
    "EpochSampler",
    "FittedDataset",
    "FittedImage",
    "FolderDataModule",
    "ImageFolder",
    "ZoomBatch",
    "ZoomDataModule",
]

if TYPE_CHECKING:
    from fastgs.data.datamodule import FolderDataModule
    from fastgs.data.fitted import FittedDataset, FittedImage
    from fastgs.data.folder import Batch, ImageFolder
    from fastgs.data.sampler import EpochSampler
    from fastgs.data.zoom import ZoomBatch, ZoomDataModule
else:
    # Lightning, which the module of data takes, is for those who train; torch is not for those who download.
    _MODULES = {
        "Batch": "fastgs.data.folder",
        "EpochSampler": "fastgs.data.sampler",
        "FittedDataset": "fastgs.data.fitted",
        "FittedImage": "fastgs.data.fitted",
        "FolderDataModule": "fastgs.data.datamodule",
        "ImageFolder": "fastgs.data.folder",
        "ZoomBatch": "fastgs.data.zoom",
        "ZoomDataModule": "fastgs.data.zoom",
    }
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
