"""Plugins: installed packages that add initializers, losses, methods, schemes or datasets to the registries.

A package declares a module under the entry point group "fastgs.plugins"; importing that module registers things. In the
package's pyproject.toml:

    [project.entry-points."fastgs.plugins"]
    mine = "my_package.my_module"
"""

from __future__ import annotations

import warnings
from importlib.metadata import entry_points

GROUP = "fastgs.plugins"


def load_plugins() -> None:
    """Import the module of every plugin that is installed; one that fails gives a warning and is left out."""
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # a plugin may raise anything, and must not take the commands down with it
            message = f"plugin {entry.name!r} ({entry.value}) cannot be used: {error}; repair or uninstall its package"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
