"""Fits on clusters: a function to map over any pipeline, and the engine of `--engine ray`."""

from typing import TYPE_CHECKING

from fastgs.runtime.lazy import lazy_names

__all__ = ["Fit"]

if TYPE_CHECKING:
    from fastgs.distributed.fit import Fit
else:
    __getattr__, __dir__ = lazy_names(__name__, {"Fit": "fastgs.distributed.fit"})
