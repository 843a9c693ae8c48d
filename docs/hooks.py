"""Hooks of MkDocs: pages made of other files of the repository, formulas as MathML, and a style sheet.

Links in the sources lead to files of the repository, so that they work where the repository is browsed; here they are
turned to the pages of the site that show these files.
"""

from __future__ import annotations

import logging
import posixpath
import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

from latex2mathml.converter import convert
from mkdocs.structure.files import File
from pygments.formatters import HtmlFormatter

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

# A page that has this comment is replaced by the file, whose path is relative to the page.
INCLUDE = re.compile(r"<!-- include: (\S+) -->")
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
PICTURES = ("*.png", "*.svg", "*.webp")
# Formulas on lines of their own have room above and below, and are scrolled where they are too wide for the page.
STYLES = "math[display=block] { margin: 1em 0; overflow-x: auto; overflow-y: hidden; }"

_logger = logging.getLogger("mkdocs.plugins.fastgs")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures of assets/ and a style sheet of code and formulas to the site."""
    for pattern in PICTURES:
        for path in sorted((ROOT / "assets").glob(pattern)):
            files.append(File.generated(config, f"assets/{path.name}", abs_src_path=str(path)))
    styles: str = HtmlFormatter(style="default").get_style_defs(".highlight")
    files.append(File.generated(config, "stylesheets/extra.css", content=f"{styles}\n{STYLES}\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace a page by the file that it includes, and turn links to files of the repository to pages of the site."""
    source = posixpath.join("docs", page.file.src_uri)
    included = INCLUDE.search(markdown)
    if included:
        source = posixpath.normpath(posixpath.join(posixpath.dirname(source), included[1]))
        markdown = (ROOT / source).read_text(encoding="utf-8")
    shown = {each: uri for uri, each in _included(files).items()}

    def turn(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["path"]))
        if not (ROOT / path).exists():
            _logger.warning("%s: links to %s, which does not exist", source, path)
        uri = shown.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(uri) is None:
            return link["text"]  # a file that only the repository has
        relative = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        return f"{link['picture']}[{link['text']}]({relative}{link['anchor'] or ''})"

    parts = FENCE.split(markdown)
    return "".join(part if FENCE.fullmatch(part) else LINK.sub(turn, part) for part in parts)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert formulas from LaTeX to MathML, which browsers render without a script."""

    def convert_formula(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return str(convert(unescape(match[2].strip()), display=display))

    return FORMULA.sub(convert_formula, html)


def _included(files: Files) -> dict[str, str]:
    """Return the file of the repository that each page shows, by the path of the page in docs/."""
    found = {}
    for file in files.documentation_pages():
        match = INCLUDE.search(file.content_string)
        if match:
            path = posixpath.join("docs", posixpath.dirname(file.src_uri), match[1])
            found[file.src_uri] = posixpath.normpath(path)
    return found
