"""The networks: torch modules, and nothing that places, renders or trains."""

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
