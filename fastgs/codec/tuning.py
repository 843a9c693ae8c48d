"""Choice of the measure that an encoder makes files for: SSIM counts an error less where the image is busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TUNES = ("psnr", "ssim")
DEFAULT_TUNE = "psnr"

# SSIM divides the squared error at a pixel by the variance around it and a constant, about. How the values were found:
# benchmarks/LOG.md, section "Filled files, and files for SSIM".
WINDOW = 11  # pixels a side
LEAST_VARIANCE = 0.002
POWER = 0.75  # of one over the variance


def check_tune(tune: str) -> None:
    """Check that files can be tuned for this.

    Raises:
        ValueError: They cannot; one line that begins with "tune: ".
    """
    if tune not in TUNES:
        raise ValueError(f"tune: expected one of {', '.join(TUNES)}, got {tune}")


def find_importance(image: Tensor) -> Tensor:
    """Return the (H, W) factors of the squared errors of pixels by which files are tuned for SSIM; their mean is 1.

    Args:
        image: (C, H, W) in [0, 1].
    """
    from torch.nn import functional  # deferred: names are checked without torch

    padded = functional.pad(image[None], (WINDOW // 2,) * 4, mode="replicate")
    mean, square = (functional.avg_pool2d(each, WINDOW, stride=1)[0] for each in (padded, padded.square()))
    importance = ((square - mean.square()).clamp_min(0).mean(0) + LEAST_VARIANCE) ** -POWER
    return importance / importance.mean()


class WeightedSquaredError:
    """Mean squared error with a factor for each pixel.

    Args:
        importance: (H, W) factors.
    """

    def __init__(self, importance: Tensor) -> None:
        self._importance = importance

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the mean over pixels and channels of (C, H, W) images, a scalar."""
        error = image - target
        return (self._importance * error * error).mean()
