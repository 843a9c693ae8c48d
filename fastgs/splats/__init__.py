"""Whole datasets of images as datasets of Gaussians."""

from fastgs.fitting.batch import BatchFit, fit_batch
from fastgs.splats.folder import Entry, Index, Splats, Split, load_splats, read_index

__all__ = ["BatchFit", "Entry", "Index", "Splats", "Split", "fit_batch", "load_splats", "read_index"]
