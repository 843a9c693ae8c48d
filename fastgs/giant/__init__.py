"""Pictures that are larger than the memory: fitted in tiles that overlap, from disk, and written in strips.

source.py reads windows of a file, plan.py shares the Gaussians out among the tiles by the detail of the whole picture,
tiles.py fits one tile after the other, and output.py draws and compares the result. Every tile is on disk as soon as it
is fitted, so that a run goes on where it was ended.

Borders have no seam, because no tile is fitted alone: those that are fitted already are drawn with it, frozen, and the
pixels around the tile count, too (benchmarks/LOG.md, "Giant images").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastgs.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from fastgs.giant.options import GiantOptions
    from fastgs.giant.run import GiantResult, fit_giant
else:
    modules = {"GiantOptions": "fastgs.giant.options"} | dict.fromkeys(("GiantResult", "fit_giant"), "fastgs.giant.run")
    __getattr__, __dir__ = lazy_names(__name__, modules)

__all__ = ["GiantOptions", "GiantResult", "fit_giant"]
