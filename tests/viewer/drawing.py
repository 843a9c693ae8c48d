"""Comparison of what a page draws with what `fastgs.render` defines."""

import numpy as np

import fastgs

# Where the picture is on the page, in its pixels, and the view of the camera.
PLACE = """
const { camera } = fastgs.viewer;
const box = document.getElementById("canvas").getBoundingClientRect();
return { left: box.left, top: box.top, width: box.width, height: box.height,
         ...camera.project(1, Math.round(box.width), Math.round(box.height)) };
"""


def psnr(found, wanted) -> float:
    return float(-10 * np.log10(np.mean((np.clip(found, 0, 1) - np.clip(wanted, 0, 1)) ** 2) + 1e-12))


def render(gaussians, height=None, width=None) -> np.ndarray:
    """Return (H, W, 3) values; alpha lies over the checkerboard of the page, whose first square is bright."""
    image = fastgs.render(gaussians, height, width).clamp(0, 1).permute(1, 2, 0).numpy()
    return image if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def over_checkerboard(image, scale_of_square=8) -> np.ndarray:
    """Return premultiplied (H, W, 4) values over the checkerboard of the page."""
    rows, columns = (np.arange(side) // scale_of_square for side in image.shape[:2])
    shade = np.where((rows[:, None] + columns) % 2 < 0.5, 0.8, 0.6)[..., None]
    return image[..., :3] + (1 - image[..., 3:]) * shade


def compare_screen(browser, gaussians, zoom) -> float:
    """Return the PSNR in dB of the picture on the screen at a whole zoom."""
    place = browser.run(PLACE)
    assert place["scaleX"] == place["scaleY"] == zoom
    wanted = render(gaussians, zoom * gaussians.height, zoom * gaussians.width)
    if gaussians.alpha:
        wanted = over_checkerboard(wanted)
    x, y = round(-place["originX"] * zoom), round(-place["originY"] * zoom)
    # The lowest part has the buttons for the zoom, and the marks of the page cover none of the rest.
    top, bottom = max(0, y), min(round(place["height"]) - 70, y + len(wanted))
    left, right = max(0, x), min(round(place["width"]), x + wanted.shape[1])
    assert bottom - top > 100 and right - left > 100
    shot = browser.screenshot()[round(place["top"]) :, round(place["left"]) :]
    return psnr(shot[top:bottom, left:right], wanted[top - y : bottom - y, left - x : right - x])
