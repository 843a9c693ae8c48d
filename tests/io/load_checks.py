"""Checks that a file is loaded as computed, on a background that shows what is transparent."""

import numpy as np
import torch
from PIL import Image

from fastgs.io.images import ImageError, load_image

BACKGROUND = (51, 0, 255)


def save_bytes(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def composited(colors, alpha=None, associated=False):
    """Composite (H, W, 1 or 3) colours in [0, 1] on the background, in float64."""
    colors = np.broadcast_to(colors, (*colors.shape[:2], 3)).astype(np.float64)
    if alpha is not None:
        colors = colors if associated else colors * alpha[..., None]
        colors = colors + np.array(BACKGROUND) / 255 * (1 - alpha[..., None])
    return colors.clip(0, 1)


def assert_loads(path, wanted, tolerance=0.51 / 65535):
    image = load_image(path, background=BACKGROUND).permute(1, 2, 0).double().numpy()
    assert image.shape == wanted.shape
    assert np.abs(image - wanted).max() <= tolerance


def assert_opened_loads_equal(path):
    """Check that an image opened by Pillow is read like its file."""
    with Image.open(path) as image:
        assert torch.equal(load_image(image, background=BACKGROUND), load_image(path, background=BACKGROUND))


def try_to_load(path):
    """Return (message, None) if a file is refused, else (None, image)."""
    try:
        return None, load_image(path)
    except ImageError as error:
        return str(error), None
