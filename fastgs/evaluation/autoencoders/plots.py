"""Figures of autoencoders: PSNR and SSIM over the size of the code."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from fastgs.evaluation.autoencoders.records import PIXELS, SPLATS, AutoencoderRecord
from fastgs.evaluation.autoencoders.tables import sections
from fastgs.evaluation.figures import Style, finish_panels, make_panels, set_ticks, set_title, style
from fastgs.evaluation.tables import group_by

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figures(records: Sequence[AutoencoderRecord]) -> dict[str, Figure | None]:
    """Return all figures by file name; None where no autoencoder has the measure.

    Args:
        records: Records, at least one.
    """
    return {
        "psnr-latent": plot_latents(records, "psnr", "PSNR in dB"),
        "ssim-latent": plot_latents(records, "ssim", "SSIM"),
    }


def plot_latents(records: Sequence[AutoencoderRecord], field: str, label: str) -> Figure | None:
    """Draw a measure over the size of the code, a line for each kind of model, a panel for each dataset and split.

    The dashed line is what the fitted Gaussians reach.

    Args:
        records: Records; those without the measure are left out.
        field: Field of a record.
        label: Label of the y axis.

    Returns:
        The figure; None if no autoencoder was measured.
    """
    measured = [each for each in records if getattr(each, field) is not None]
    shown = [section for section in sections(measured) if section[-1].latent is not None]
    if not shown:
        return None
    names = list(dict.fromkeys(_line_name(each) for section in shown for each in section if each.latent is not None))
    figure, panels = make_panels(len(shown))
    for section, axes in zip(shown, panels, strict=True):
        for name in names:
            members = [each for each in section if each.latent is not None and _line_name(each) == name]
            _draw_line(axes, members, field, name, style(names, name))
        for ceiling in (each for each in section if each.autoencoder == SPLATS):
            axes.axhline(getattr(ceiling, field), color="0.4", linestyle="--", label=SPLATS)
        set_ticks(axes, sorted({each.latent for each in section if each.latent is not None}), base=2)
        axes.set_xlabel("numbers in a code")
        set_title(axes, f"{section[0].dataset}, {section[0].split} split")
    finish_panels(figure, panels, [*names, SPLATS], label)
    return figure


def _draw_line(axes: Axes, members: Sequence[AutoencoderRecord], field: str, name: str, look: Style) -> None:
    """Draw a line through the mean of each size of the code."""
    sizes = group_by(members, lambda record: record.latent or 0)
    scores = [fmean(getattr(each, field) for each in same) for same in sizes.values()]
    axes.plot(list(sizes), scores, color=look.color, linestyle=look.linestyle, marker=look.marker, label=name)


def _line_name(record: AutoencoderRecord) -> str:
    """Return the name of the line to which a record belongs."""
    return record.kind if record.content == PIXELS else f"{record.kind},\nloss on {record.losses}"
