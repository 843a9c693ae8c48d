"""Pages: pictures of Gaussians as one HTML file that draws them, from the sources in viewer/."""

from fastgs.page.assemble import make_page, write_page
from fastgs.page.notebook import make_cell
from fastgs.page.picture import PagePicture

__all__ = ["PagePicture", "make_cell", "make_page", "write_page"]
