"""Datasets of images as datasets of Gaussians: made by fitting every image, stored, and read for training."""

from typing import TYPE_CHECKING, Any

from fastgs.fitting.batch import BatchFit, fit_batch
from fastgs.splats.dataset import SplatBatch, SplatDataset, SplatSample
from fastgs.splats.index import Entry, Index, Splats, Split, load_splats, read_index

if TYPE_CHECKING:
    from fastgs.splats.datamodule import SplatDataModule

__all__ = [
    "BatchFit",
    "Entry",
    "Index",
    "SplatBatch",
    "SplatDataModule",
    "SplatDataset",
    "SplatSample",
    "Splats",
    "Split",
    "fit_batch",
    "load_splats",
    "read_index",
]


def __getattr__(name: str) -> Any:
    """Import lightning, which takes seconds, only for those who train."""
    if name == "SplatDataModule":
        from fastgs.splats.datamodule import SplatDataModule

        return SplatDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
