"""Plugins: installed packages that add initializers, losses, methods, schemes or datasets to the registries.

A package declares a module under the entry point group "fastgs.plugins"; importing that module registers things. In the
package's pyproject.toml:

    [project.entry-points."fastgs.plugins"]
    mine = "my_package.my_module"
"""

from __future__ import annotations

from importlib.metadata import entry_points

GROUP = "fastgs.plugins"


def load_plugins() -> list[str]:
    """Import the module of every plugin that is installed.

    Returns:
        One line for each plugin that cannot be used; it is left out.
    """
    problems = []
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # a plugin may raise anything, and must not take the commands down with it
            problems.append(
                f"plugin {entry.name!r} ({entry.value}) cannot be used: {error}; repair or uninstall its package"
            )
    return problems
