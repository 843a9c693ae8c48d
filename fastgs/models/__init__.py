"""Networks that place and correct Gaussians, and the feed-forward pipeline that uses them."""

from fastgs.models.attribute import AttributeNetwork, correct
from fastgs.models.film import FiLM, density_condition
from fastgs.models.position import PositionNetwork

__all__ = [
    "AttributeNetwork",
    "FiLM",
    "PositionNetwork",
    "correct",
    "density_condition",
]
