"""Methods that fit Gaussians to images, this project's and published ones, on one rasterizer and loop: a file each."""

from __future__ import annotations

from fastgs.methods import fast_2dgs, gaussianimage, gaussianimage_plus, image_gs, instant_gi
from fastgs.methods.fastgs import CURVATURE, FASTGS
from fastgs.methods.method import Method, Result
from fastgs.runtime.registry import Registry

__all__ = ["METHODS", "Method", "Result"]

METHODS: Registry[Method] = Registry("method")
METHODS.register("fastgs", FASTGS)
METHODS.register("fastgs-curvature", CURVATURE)
METHODS.register("gaussianimage-cholesky", gaussianimage.CHOLESKY)
METHODS.register("gaussianimage-rs", gaussianimage.ROTATION_SCALE)
METHODS.register("gaussianimage-plus", gaussianimage_plus.METHOD)
METHODS.register("image-gs-gradient", image_gs.GRADIENT)
METHODS.register("image-gs-saliency", image_gs.SALIENCY)
METHODS.register("instant-gi-dither", instant_gi.METHOD)
METHODS.register("fast-2dgs", fast_2dgs.METHOD)
