"""Registry of things that are chosen by name: initializers, losses, methods, codec schemes, datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from fastgs.runtime.lazy import load

T = TypeVar("T")


@dataclass(frozen=True)
class _Place:
    """Place of an entry that is not imported yet, such as "fastgs.initializers.grid:initialize"."""

    text: str


class Registry(Mapping[str, T]):
    """Mapping from names to things of one kind, in the order in which they were registered.

    It is read-only except for `register`, `registered` and `declare`. Command lines and tests take the names from it.
    Entries that are declared are imported when they are asked for, so that the names alone cost nothing.

    Args:
        kind: Name of the kind of things in messages, such as "initializer" or "loss".
        items: Entries to begin with.

    Example:
        INITIALIZERS.register("center", initialize)
        INITIALIZERS.declare("centre", "my_package.initializers:initialize")
    """

    def __init__(self, kind: str, items: Mapping[str, T] | None = None) -> None:
        self.kind = kind
        self._items: dict[str, T | _Place] = {}
        for name, item in (items or {}).items():
            self.register(name, item)

    def register(self, name: str, item: T) -> T:
        """Add an entry and return it.

        Raises:
            ValueError: The name is taken.
        """
        self._add(name, item)
        return item

    def registered(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds an entry under a name."""
        return lambda item: self.register(name, item)

    def declare(self, name: str, place: str) -> None:
        """Add an entry that is imported when it is asked for.

        Args:
            name: Name of the entry.
            place: Module and name in it, such as "my_package.initializers:initialize".

        Raises:
            ValueError: The name is taken.
        """
        self._add(name, _Place(place))

    def _add(self, name: str, item: T | _Place) -> None:
        if name in self._items:
            raise ValueError(f"{self.kind}: {name!r} is registered already; choose another name")
        self._items[name] = item

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
        item = self._items[name]
        if isinstance(item, _Place):
            item = self._items[name] = cast(T, load(item.text))
        return item

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
