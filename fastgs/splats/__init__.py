"""Datasets of images as datasets of Gaussians: made by fitting every image, stored, and read for training."""

from typing import TYPE_CHECKING

from fastgs.runtime.lazy import lazy_names
from fastgs.splats.kinds import Split

if TYPE_CHECKING:
    from fastgs.fitting.batch import fit_batch
    from fastgs.fitting.batch_descent import BatchFit
    from fastgs.splats.datamodule import SplatDataModule
    from fastgs.splats.dataset import SplatBatch, SplatDataset, SplatSample
    from fastgs.splats.index import Entry, Index, Splats, load_splats, read_index
else:
    # Lightning, which the module of data takes, is for those who train; torch is not for a help.
    _MODULES = {
        "BatchFit": "fastgs.fitting.batch_descent",
        "fit_batch": "fastgs.fitting.batch",
        "SplatDataModule": "fastgs.splats.datamodule",
        **dict.fromkeys(("SplatBatch", "SplatDataset", "SplatSample"), "fastgs.splats.dataset"),
        **dict.fromkeys(("Entry", "Index", "Splats", "load_splats", "read_index"), "fastgs.splats.index"),
    }
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)

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
