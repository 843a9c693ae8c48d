"""Records of autoencoders as figures: PSNR and SSIM over the size of the code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from fastgs.evaluation.autoencoders.records import PIXELS, SPLATS, AutoencoderRecord
from fastgs.evaluation.autoencoders.tables import sections
from fastgs.evaluation.methods.plots import finish, panels, save_figures, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def save_plots(folder: Path, records: Sequence[AutoencoderRecord]) -> list[Path]:
    """Write psnr-latent.png and, where images are large enough for it, ssim-latent.png; neither without autoencoders.

    Args:
        folder: exists.
        records: at least one.

    Returns:
        The files.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    drawings = {
        "psnr-latent.png": over_latents(records, "psnr", "PSNR in dB"),
        "ssim-latent.png": over_latents(records, "ssim", "SSIM"),
    }
    return save_figures(folder, drawings)


def over_latents(records: Sequence[AutoencoderRecord], field: str, label: str) -> Figure | None:
    """A measure over the size of the code, a line for each kind of model, a panel for each dataset and split.

    The dashed line is what the fitted Gaussians reach. None if no autoencoder was measured.

    Args:
        records: what to draw; those without the measure are left out.
        field: of a record.
        label: for the axis.
    """
    measured = [each for each in records if getattr(each, field) is not None]
    shown = [section for section in sections(measured) if section[-1].latent is not None]
    if not shown:
        return None
    names = list(dict.fromkeys(_name(each) for section in shown for each in section if each.latent is not None))
    drawing, all_axes = panels(len(shown))
    for section, axes in zip(shown, all_axes, strict=True):
        for name in names:
            members = [each for each in section if each.latent is not None and _name(each) == name]
            _draw(axes, members, field, name, style(names, name))
        for ceiling in (each for each in section if each.autoencoder == SPLATS):
            axes.axhline(getattr(ceiling, field), color="0.4", linestyle="--", label=SPLATS)
        latents = sorted({each.latent for each in section if each.latent is not None})
        axes.set_xscale("log", base=2)
        axes.set_xticks(latents, [f"{latent:,}" for latent in latents])
        axes.minorticks_off()
        axes.set_xlabel("numbers in a code")
        axes.set_title(f"{section[0].dataset}, {section[0].split} split", loc="left", fontsize=10.5, parse_math=False)
    finish(drawing, all_axes, [*names, SPLATS], label)
    return drawing


def _draw(axes: Axes, members: Sequence[AutoencoderRecord], field: str, name: str, look: tuple[str, str, str]) -> None:
    """A line through the means of the sizes."""
    scores: dict[int, list[float]] = {}
    for each in members:
        scores.setdefault(each.latent or 0, []).append(getattr(each, field))
    color, marker, line = look
    axes.plot(list(scores), [fmean(each) for each in scores.values()], color=color, linestyle=line, marker=marker,
              label=name)  # fmt: skip


def _name(record: AutoencoderRecord) -> str:
    """What has a line of its own."""
    return record.kind if record.content == PIXELS else f"{record.kind},\nloss on {record.losses}"
