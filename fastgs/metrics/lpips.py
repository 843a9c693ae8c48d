"""LPIPS, a learned distance between images, for machines that have the weights of its network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MIN_LPIPS_SIZE = 31  # pixels; below that, the second pooling of AlexNet gets fewer than the three it needs


@torch.no_grad()
def lpips(image: Tensor, target: Tensor) -> float | None:
    """Return LPIPS (Zhang et al. 2018, version 0.1) with the features of AlexNet, 0 for equal images.

    Args:
        image: (3, H, W) RGB, clamped to [0, 1].
        target: (3, H, W) RGB, clamped to [0, 1].

    Returns:
        The distance; or None if the shorter side is under 31 pixels, or if the cache of torch.hub lacks torchvision's
        AlexNet. Nothing is downloaded.
    """
    if min(image.shape[1:]) < MIN_LPIPS_SIZE or not _has_weights():
        return None
    return float(_load_network()(image[None].float().clamp(0, 1), target[None].float().clamp(0, 1)))


def _has_weights() -> bool:
    try:
        from torchvision.models import AlexNet_Weights
    except ImportError:
        return False
    return (Path(torch.hub.get_dir()) / "checkpoints" / Path(AlexNet_Weights.DEFAULT.url).name).is_file()


@lru_cache(maxsize=1)
def _load_network() -> Any:
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
