"""Every method that fits Gaussians to images, ours and its peers', on the same rasterizer and loop: one file each."""

from __future__ import annotations

from fastgs.methods.method import Method, Run
from fastgs.methods.ours import CURVATURE, FASTGS

METHODS: dict[str, Method] = {
    "fastgs": FASTGS,
    "fastgs-curvature": CURVATURE,
}

__all__ = ["METHODS", "Method", "Run"]
