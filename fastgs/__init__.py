"""fastgs: a photo as a few thousand 2D Gaussians."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fastgs.runtime.lazy import lazy_names

__all__ = ["Gaussians", "Predictor", "Result", "render", "render_batch"]

if TYPE_CHECKING:
    from fastgs.gaussians import Gaussians
    from fastgs.predictor import Predictor, Result
    from fastgs.render import render, render_batch
else:
    _MODULES = {
        "Gaussians": "fastgs.gaussians",
        "Predictor": "fastgs.predictor",
        "Result": "fastgs.methods.result",
        "render": "fastgs.render.dispatch",
        "render_batch": "fastgs.render.dispatch",
    }
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)


class _Package(ModuleType):
    """Type of this package, in which `render` is the function, also once the folder of that name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "render" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
