"""Results as pages, see `fastgs.page`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fastgs.io.pixels import ALPHA_CHANNELS
from fastgs.io.samples import Samples
from fastgs.page import PagePicture, make_cell
from fastgs.page.notebook import MAX_ORIGINAL

if TYPE_CHECKING:
    from torch import Tensor

    from fastgs.gaussians import Gaussians


class Fitted(Protocol):
    """Fit of an image as far as pages show it, such as a `fastgs.Result`, which they need not import."""

    @property
    def gaussians(self) -> Gaussians:
        """Gaussians on the canvas of the target."""

    @property
    def target(self) -> Tensor:
        """(C, H, W) image in [0, 1] that they were fitted to."""

    @property
    def small(self) -> Tensor | None:
        """(C, h, w) photo that the target is an enlargement of; None if the target is the photo."""

    @property
    def iterations(self) -> int:
        """Number of steps of the fit."""

    @property
    def psnr(self) -> float:
        """PSNR in dB after the fit."""


def make_picture(result: Fitted, name: str, max_pixels: float = float("inf")) -> PagePicture:
    """Return a result as the picture of a page, with the target to compare with.

    Args:
        result: Result of a fit.
        name: Name that is shown.
        max_pixels: Number of pixels of a target beyond which it is left out.
    """
    target = result.target
    # The target of a zoom is an estimate, and not what was photographed.
    known = result.small is None and target[0].numel() <= max_pixels
    facts = {"Iterations": str(result.iterations), "PSNR of the fit": f"{result.psnr:.2f} dB"}
    original = make_original(target, result.gaussians.alpha) if known else None
    return PagePicture(name, result.gaussians.arrays(), original=original, facts=facts)


def make_original(values: Tensor, alpha: bool) -> Samples | None:
    """Return an image (C, H, W) as what pages compare with; None for channels that are neither gray nor RGB."""
    if len(values) not in (ALPHA_CHANNELS if alpha else (1, 3)):
        return None
    return Samples(values.detach().cpu().float().numpy(), alpha)


def show_in_notebook(result: Fitted) -> str:
    """Return HTML of a cell that shows a result."""
    height, width = result.gaussians.height, result.gaussians.width
    name = f"{len(result.gaussians)} Gaussians, {width} x {height} pixels"
    return make_cell(make_picture(result, name, MAX_ORIGINAL))
