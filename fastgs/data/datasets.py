"""Registry of the datasets that commands know by name.

To add a dataset, describe it in a file of its own, as kodak.py does, and declare it here. Other packages call
`DATASETS.register` in a plugin, see `fastgs.runtime.plugins`.
"""

from __future__ import annotations

from fastgs.data.dataset import Dataset, Part
from fastgs.runtime.registry import Registry

__all__ = ["DATASETS", "Dataset", "Part", "image_folders"]

DATASETS: Registry[Dataset] = Registry("dataset")
DATASETS.declare("div2k", "fastgs.data.div2k:DATASET")
DATASETS.declare("kodak", "fastgs.data.kodak:DATASET")
DATASETS.declare("cifar10", "fastgs.data.cifar10:DATASET")


def image_folders() -> list[str]:
    """Return the names of the datasets that are folders of image files, which `fastgs evaluate` can measure on."""
    return [name for name, dataset in DATASETS.items() if dataset.image_files]
