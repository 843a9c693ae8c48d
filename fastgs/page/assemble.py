"""Pages as one HTML file: template, style and script of viewer/, and the data of pictures as base64.

The file loads nothing: a policy in it allows its own script, by hash, and nothing else. Names and other texts are
escaped for the place that they stand in. Data is in elements that no browser runs or shows.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastgs.definition import GaussianArrays
from fastgs.io.checkpoints import CHECKPOINTS
from fastgs.io.files import atomic_write
from fastgs.io.version import installed_version
from fastgs.page.bundle import bundle
from fastgs.page.picture import PagePicture, encode_original, encode_preview

# The folder lies in the package where a wheel is installed, and beside the package in the source tree.
VIEWER = Path(__file__).resolve().parents[1] / "viewer"
if not VIEWER.is_dir():
    VIEWER = VIEWER.parents[1] / "viewer"

VERSION = 1  # of what pages carry; data.js has the same
# Weights by the numbers of the models that files are coded by; viewer/codec/models.js has the same.
WEIGHTS = {1: "symbols.safetensors"}
_PLACE = re.compile(r"<!-- (\w+) -->|\{\{(\w+)\}\}")
_TYPE = "application/octet-stream;base64"


def write_page(path: str | Path, pictures: Sequence[PagePicture]) -> None:
    """Write a page; the file is whole or absent.

    Args:
        path: File to write; an existing one is replaced.
        pictures: Pictures of the page, at least one.

    Raises:
        OSError: The folder does not exist or is not writable, or the disk is full.
        ValueError: The sources of the page are missing or broken.

    Example:
        write_page("photo.html", [PagePicture("photo", gaussians.arrays())])
    """
    page = make_page(pictures).encode("utf-8", "replace")
    with atomic_write(path) as temporary:
        temporary.write_bytes(page)


def make_page(pictures: Sequence[PagePicture], takes_files: bool = True) -> str:
    """Return a page of one picture, or of several with a gallery.

    Args:
        pictures: Pictures of the page, at least one.
        takes_files: True for a page that carries what any .fgs file needs, so that one may be dropped on it; false for
            a page that carries what its pictures need.

    Raises:
        ValueError: The sources of the page are missing or broken.
    """
    style, script = _read("page.css"), bundle(_write_entry(), VIEWER)
    weights = []
    if (takes_files and (VIEWER / "reader.js").is_file()) or any(map(can_decode, pictures)):
        weights = [_embed_bytes(f"weights-{key}", _read_bytes(CHECKPOINTS / name)) for key, name in WEIGHTS.items()]
    title = pictures[0].name if len(pictures) == 1 else f"{len(pictures)} pictures"
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(title),
        "release": html.escape(installed_version()),
        "style": f"<style>{style}</style>",
        "pictures": "\n".join(map(_show, range(len(pictures)), pictures)),
        "data": "\n".join([_list_items(pictures), *weights, *map(_embed, range(len(pictures)), pictures)]),
        "script": f"<script>{script}</script>",
    }
    # In one pass: names may hold what looks like a place.
    return _PLACE.sub(lambda match: parts[match[1] or match[2]], _read("page.html"))


def can_decode(picture: PagePicture) -> bool:
    """Return whether the page decodes the file of a picture itself; it carries arrays otherwise."""
    return picture.file is not None and (VIEWER / "reader.js").is_file()


def _read(name: str) -> str:
    return _read_bytes(VIEWER / name).decode("utf-8")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: a part of the page cannot be read ({error.strerror})") from error


def _write_entry() -> str:
    """Return the module that starts the page, with a decoder of .fgs files where viewer/ has one."""
    if (VIEWER / "reader.js").is_file():
        imports = 'import { start } from "./app.js";\nimport { decode, inspect, setModel } from "./reader.js";\n'
        return f"{imports}start({{ decode, inspect, setModel }});\n"
    return 'import { start } from "./app.js";\nstart();\n'


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _show(number: int, picture: PagePicture) -> str:
    """Return the entry of a picture in the gallery, which is what a browser without scripts shows."""
    gaussians = picture.gaussians
    data, mime = encode_preview(gaussians)
    source = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    name = html.escape(picture.name)
    count = f"{len(gaussians):,}".replace(",", "\u202f")  # a narrow space
    facts = f"{gaussians.width} × {gaussians.height}, {count} Gaussians"
    kind = ' class="alpha"' if gaussians.alpha else ""
    return (
        f'<li><a href="#picture={number + 1}"><img src="{source}" alt="{name}"{kind} />'
        f'<span class="name">{name}</span><span class="facts">{facts}</span></a></li>'
    )


def _list_items(pictures: Sequence[PagePicture]) -> str:
    """Return the facts of all pictures as JSON that can end no element."""
    content = {"version": VERSION, "items": [_describe(picture) for picture in pictures]}
    text = json.dumps(content, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="fastgs-items">{text}</script>'


def _describe(picture: PagePicture) -> dict[str, Any]:
    """Return the facts of a picture; viewer/data.js describes them."""
    gaussians = picture.gaussians
    return {
        "name": picture.name,
        "kind": "fgs" if can_decode(picture) else "arrays",
        "width": gaussians.width,
        "height": gaussians.height,
        "count": len(gaussians),
        "channels": gaussians.channels,
        "blend": gaussians.blend,
        "alpha": gaussians.alpha,
        "bytes": picture.size,
        "original": picture.original is not None,
        "layerCounts": picture.layer_counts,
        "layerBytes": picture.layer_bytes,
        "bits": dict(picture.bits),
        "facts": list(picture.facts.items()),
    }


def _embed(number: int, picture: PagePicture) -> str:
    """Return the data of a picture: its file or its arrays, and the original."""
    data = picture.file if picture.file is not None and can_decode(picture) else _pack(picture.gaussians)
    parts = [_embed_bytes(f"gaussians-{number}", data)]
    if picture.original is not None:
        parts.append(_embed_bytes(f"original-{number}", encode_original(picture.original)))
    return "\n".join(parts)


def _embed_bytes(name: str, data: bytes) -> str:
    return f'<script type="{_TYPE}" id="{name}">{base64.b64encode(data).decode()}</script>'


def _pack(gaussians: GaussianArrays) -> bytes:
    """Return the arrays one after the other, as little-endian float32."""
    fields = (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.colors)
    return b"".join(np.ascontiguousarray(each, "<f4").tobytes() for each in fields)
