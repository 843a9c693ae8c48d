"""Registry of things that are chosen by name: initializers, losses, methods, codec schemes, datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Mapping from names to things of one kind, in the order in which they were registered.

    It is read-only except for `register` and `registered`. Command lines and tests take the names from it.

    Args:
        kind: Name of the kind of things in messages, such as "initializer" or "loss".
        items: Entries to begin with.

    Example:
        INITIALIZERS.register("center", initialize)
    """

    def __init__(self, kind: str, items: Mapping[str, T] | None = None) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        for name, item in (items or {}).items():
            self.register(name, item)

    def register(self, name: str, item: T) -> T:
        """Add an entry and return it.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._items:
            raise ValueError(f"{self.kind}: {name!r} is registered already; choose another name")
        self._items[name] = item
        return item

    def registered(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds an entry under a name."""
        return lambda item: self.register(name, item)

    def check(self, argument: str, name: str) -> None:
        """Check that a name is registered.

        Args:
            argument: Name of the argument that holds the name, to begin the message with.
            name: Name to look up.

        Raises:
            ValueError: There is no such entry; the message lists all names.
        """
        if name not in self._items:
            raise ValueError(f"{argument}: expected one of {', '.join(self._items)}, got {name!r}")

    def __getitem__(self, name: str) -> T:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
