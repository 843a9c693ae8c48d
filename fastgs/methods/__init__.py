"""Every method that fits Gaussians to images, ours and its peers', on the same rasterizer and loop: one file each."""

from __future__ import annotations

from fastgs.methods import fast_2dgs, gaussianimage, gaussianimage_plus, image_gs, instant_gi
from fastgs.methods.fastgs import CURVATURE, FASTGS
from fastgs.methods.method import Method, Run

METHODS: dict[str, Method] = {
    "fastgs": FASTGS,
    "fastgs-curvature": CURVATURE,
    "gaussianimage-cholesky": gaussianimage.CHOLESKY,
    "gaussianimage-rs": gaussianimage.ROTATION_SCALE,
    "gaussianimage-plus": gaussianimage_plus.METHOD,
    "image-gs-gradient": image_gs.GRADIENT,
    "image-gs-saliency": image_gs.SALIENCY,
    "instant-gi-dither": instant_gi.METHOD,
    "fast-2dgs": fast_2dgs.METHOD,
}

__all__ = ["METHODS", "Method", "Run"]
