"""Pictures of Gaussians: a figure that shows a fit, and plain pictures of densities, centres and errors."""

from fastgs.visualize.figure import figure, save_figure
from fastgs.visualize.pictures import centres_image, density_image, density_of_centres, error_image, show, strip

__all__ = [
    "centres_image",
    "density_image",
    "density_of_centres",
    "error_image",
    "figure",
    "save_figure",
    "show",
    "strip",
]
