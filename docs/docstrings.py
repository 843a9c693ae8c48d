"""Extension of Griffe, which reads the docstrings for the API pages.

It shows code in a section "Example" as code, and gives each name of an entry for several ("height, width: Size in
pixels.") an entry of its own, which Griffe would take for a name and its type.
"""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^Example:\n((?:    .*(?:\n|$)|\n)+)", re.MULTILINE)
# One entry with its continuation lines, which are indented further.
ENTRY = re.compile(r"^    (\w+(?:, \*{0,2}\w+)+):( .*(?:\n {5,}.*|\n(?=\n {5,}))*)", re.MULTILINE)


class Docstrings(Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Change the docstring of an object that was read."""
        if obj.docstring:
            text = EXAMPLE.sub(_fence, obj.docstring.value)
            obj.docstring.value = ENTRY.sub(_split, text)


def _fence(section: re.Match[str]) -> str:
    code = section[1].rstrip("\n")
    return "Example:\n" + indent("```python", "    ") + f"\n{code}\n" + indent("```", "    ") + "\n\n"


def _split(entry: re.Match[str]) -> str:
    return "\n".join(f"    {name}:{entry[2]}" for name in entry[1].split(", "))
