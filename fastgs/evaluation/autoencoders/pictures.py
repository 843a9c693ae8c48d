"""Picture of original images beside their fits and their reconstructions by each autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from fastgs.evaluation.autoencoders.coders import Coder, pixels
from fastgs.evaluation.autoencoders.measure import Dataset
from fastgs.evaluation.autoencoders.records import PIXELS, AutoencoderRecord
from fastgs.fitting.parametrization import Attributes
from fastgs.splats.index import Splats
from fastgs.visualize import strip


@torch.no_grad()
def draw_grid(dataset: Dataset, members: Sequence[tuple[Coder, AutoencoderRecord]], images: int) -> Image.Image:
    """Draw a row for each of some images of the split, with the original and the reconstruction by each coder.

    Args:
        dataset: Dataset of the images, which are chosen at equal distances.
        members: Coders with their records, whose PSNR over all images is in the titles.
        images: Most images to draw.
    """
    splats = dataset.splats
    places = torch.linspace(0, len(splats.entries) - 1, min(images, len(splats.entries))).long()
    attributes = Attributes(*(each[places] for each in splats.attributes))
    shown = Splats(attributes, splats.pixels[places], [splats.entries[place] for place in places.tolist()])
    panels = [("original", pixels(shown))]
    for coder, record in members:
        if coder.name != PIXELS:
            # The PSNR comes first because a long name is cut at the edge of the picture.
            panels.append((f"{record.psnr:.2f} dB, {coder.name}", coder.decode(coder.encode(shown))))
    alpha = dataset.index.settings.alpha
    return strip([(title, _to_rgb(pictures, alpha)) for title, pictures in panels])


def _to_rgb(pictures: Tensor, alpha: bool) -> Tensor:
    """Return (N, C, H, W) pictures as RGB, on white where they have premultiplied alpha."""
    pictures = pictures.clamp(0, 1)
    if alpha:
        pictures = pictures[:, :-1] + 1 - pictures[:, -1:]
    return pictures.expand(-1, 3, -1, -1)
