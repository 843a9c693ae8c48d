"""Pages in cells of a notebook."""

from __future__ import annotations

import base64
import html

from fastgs.page.assemble import make_page
from fastgs.page.picture import PagePicture, encode_preview

HEIGHT = 420  # pixels of a cell
# An original larger than this is left out, since a notebook keeps every cell that it shows.
MAX_ORIGINAL = 512 * 512  # pixels


def make_cell(picture: PagePicture) -> str:
    """Return HTML that shows a picture in a notebook: the page in a frame, over a plain picture.

    Where frames or scripts are off, as on websites that show notebooks, the plain picture is left.
    """
    data, kind = encode_preview(picture.gaussians)
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    name = html.escape(picture.name)
    page = html.escape(make_page([picture], takes_files=False))
    return (
        f'<div style="position: relative; height: {HEIGHT}px; overflow: hidden">'
        f'<img src="{source}" alt="{name}" style="max-width: 100%; max-height: 100%" />'
        f'<iframe srcdoc="{page}" title="{name}" sandbox="allow-scripts allow-downloads" '
        'style="position: absolute; top: 0; left: 0; width: 100%; height: 100%; border: 0"></iframe></div>'
    )
