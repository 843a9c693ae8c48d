"""Methods that fit Gaussians to images, this project's and published ones, on one rasterizer and loop: a file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastgs.initializers import INITIALIZERS
from fastgs.runtime.lazy import lazy_names
from fastgs.runtime.registry import Registry

__all__ = ["COUNT_WEIGHTS", "LEARNED", "METHODS", "WEIGHTS", "ZOOM_WEIGHTS", "Method", "Result"]

if TYPE_CHECKING:
    from fastgs.methods.method import Method
    from fastgs.methods.result import Result
else:
    _MODULES = {"Method": "fastgs.methods.method", "Result": "fastgs.methods.result"}
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)

LEARNED = "learned"  # name of the initializer that is the networks
WEIGHTS = "base"  # weights that it has unless others are named
COUNT_WEIGHTS = "count"  # weights of the model that says how many Gaussians a PSNR takes
ZOOM_WEIGHTS = "zoom"  # weights of the network that commands enlarge by unless others are named

INITIALIZERS.declare(LEARNED, "fastgs.methods.fastgs:initialize_learned")

METHODS: Registry[Method] = Registry("method")
METHODS.declare("fastgs", "fastgs.methods.fastgs:FASTGS")
METHODS.declare("fastgs-curvature", "fastgs.methods.fastgs:CURVATURE")
METHODS.declare("gaussianimage-cholesky", "fastgs.methods.gaussianimage:CHOLESKY")
METHODS.declare("gaussianimage-rs", "fastgs.methods.gaussianimage:ROTATION_SCALE")
METHODS.declare("gaussianimage-plus", "fastgs.methods.gaussianimage_plus:METHOD")
METHODS.declare("image-gs-gradient", "fastgs.methods.image_gs:GRADIENT")
METHODS.declare("image-gs-saliency", "fastgs.methods.image_gs:SALIENCY")
METHODS.declare("instant-gi-dither", "fastgs.methods.instant_gi:METHOD")
METHODS.declare("fast-2dgs", "fastgs.methods.fast_2dgs:METHOD")
