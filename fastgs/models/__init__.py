"""The networks: torch modules, and nothing that places, renders or trains."""

from fastgs.autoencoders.networks import Autoencoder, SplitAutoencoder, build_autoencoder
from fastgs.models.attribute import AttributeNetwork, correct
from fastgs.models.film import FiLM, density_condition
from fastgs.models.position import PositionNetwork

__all__ = [
    "AttributeNetwork",
    "Autoencoder",
    "FiLM",
    "PositionNetwork",
    "SplitAutoencoder",
    "build_autoencoder",
    "correct",
    "density_condition",
]
