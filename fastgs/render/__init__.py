"""Rendering of Gaussians to images: dispatch.py has the public functions, the other files the backends."""

from typing import TYPE_CHECKING

from fastgs.definition import Backend
from fastgs.runtime.lazy import lazy_names

__all__ = ["Backend", "choose", "has_triton", "rasterize", "render", "render_batch", "render_device"]

if TYPE_CHECKING:
    from fastgs.render.dispatch import choose, rasterize, render, render_batch, render_device
    from fastgs.render.probe import has_triton
else:
    _NAMES = ("choose", "rasterize", "render", "render_batch", "render_device")
    _PLACES = dict.fromkeys(_NAMES, "fastgs.render.dispatch") | {"has_triton": "fastgs.render.probe"}
    __getattr__, __dir__ = lazy_names(__name__, _PLACES)
