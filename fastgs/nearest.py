"""Suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """Return the end of an error message that suggests up to three similar names, the most similar first.

    Args:
        name: Misspelt name.
        known: All valid names.
        shown: Function that formats a valid name for the message.

    Returns:
        "; did you mean A or B?", or an empty string if no name is similar.
    """
    near = get_close_matches(name, sorted(set(known)))
    return f"; did you mean {' or '.join(map(shown, near))}?" if near else ""
