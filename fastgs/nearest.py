"""What may have been meant by a misspelt name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """The end of a message: up to three known names that are near, the nearest first; empty if none is.

    Args:
        name: the misspelt one.
        known: all that it could be.
        shown: what to say for one of these.
    """
    near = get_close_matches(name, sorted(set(known)))
    return f"; did you mean {' or '.join(map(shown, near))}?" if near else ""
