"""Networks that place and correct Gaussians, and the feed-forward pipeline that uses them; the network of zooming."""

from typing import TYPE_CHECKING

from fastgs.runtime.lazy import lazy_names

__all__ = ["AttributeNetwork", "FiLM", "PositionNetwork", "ZoomNetwork", "correct", "density_condition"]

if TYPE_CHECKING:
    from fastgs.models.attribute import AttributeNetwork, correct
    from fastgs.models.film import FiLM, density_condition
    from fastgs.models.position import PositionNetwork
    from fastgs.models.zoom import ZoomNetwork
else:
    # The U-Nets take seconds to import, and the network of zooming has none.
    _MODULES = {
        "AttributeNetwork": "fastgs.models.attribute",
        "FiLM": "fastgs.models.film",
        "PositionNetwork": "fastgs.models.position",
        "ZoomNetwork": "fastgs.models.zoom",
        "correct": "fastgs.models.attribute",
        "density_condition": "fastgs.models.film",
    }
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
