"""Originals beside what the fits, and each autoencoder, make of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from fastgs.evaluation.autoencoders.coders import Coder, pixels
from fastgs.evaluation.autoencoders.measure import Dataset
from fastgs.evaluation.autoencoders.records import PIXELS, AutoencoderRecord
from fastgs.fitting.parametrization import Attributes
from fastgs.splats.index import Splats
from fastgs.visualize import strip


@torch.no_grad()
def grid(dataset: Dataset, members: Sequence[tuple[Coder, AutoencoderRecord]], images: int) -> Image.Image:
    """A row for each of some images of the split, at equal distances; a column for the originals, and for each coder.

    Args:
        dataset: the images.
        members: what codes them, and what was measured of it on all images, for the title.
        images: how many, at most.
    """
    splats = dataset.splats
    places = torch.linspace(0, len(splats.entries) - 1, min(images, len(splats.entries))).long()
    attributes = Attributes(*(each[places] for each in splats.attributes))
    shown = Splats(attributes, splats.pixels[places], [splats.entries[place] for place in places.tolist()])
    panels = [("original", pixels(shown))]
    for coder, record in members:
        if coder.name != PIXELS:
            # A long name is cut at the edge of the picture.
            panels.append((f"{record.psnr:.2f} dB, {coder.name}", coder.decode(coder.encode(shown))))
    return strip(panels)
