"""Rendering of Gaussians to images: dispatch.py has the public functions, the other files the backends."""

from typing import TYPE_CHECKING

from fastgs.definition import Backend
from fastgs.runtime.lazy import lazy_names

__all__ = ["Backend", "choose", "has_triton", "rasterize", "render", "render_batch"]

if TYPE_CHECKING:
    from fastgs.render.dispatch import choose, has_triton, rasterize, render, render_batch
else:
    _NAMES = ("choose", "has_triton", "rasterize", "render", "render_batch")
    __getattr__, __dir__ = lazy_names(__name__, dict.fromkeys(_NAMES, "fastgs.render.dispatch"))
