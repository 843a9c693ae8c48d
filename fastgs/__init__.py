"""fastgs: a photo as a few thousand 2D Gaussians."""

from fastgs.gaussians import Gaussians
from fastgs.predictor import Predictor, Result
from fastgs.render import render, render_batch

__all__ = ["Gaussians", "Predictor", "Result", "render", "render_batch"]
