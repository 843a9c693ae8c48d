"""LPIPS, a learned distance between images; only where the weights of its network are at hand."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MIN_LPIPS_SIZE = 31  # AlexNet's second pooling still needs three pixels


@torch.no_grad()
def lpips(image: Tensor, target: Tensor) -> float | None:
    """LPIPS (Zhang et al. 2018, version 0.1) by AlexNet, 0 for equal images; both (3, H, W), clamped to [0, 1].

    Returns:
        The distance; None if the shorter side is under 31 pixels, or torchvision's AlexNet is not in the cache of
        torch.hub, from where it is taken. Nothing is downloaded.
    """
    if min(image.shape[1:]) < MIN_LPIPS_SIZE or not _weights_at_hand():
        return None
    return float(_network()(image[None].float().clamp(0, 1), target[None].float().clamp(0, 1)))


def _weights_at_hand() -> bool:
    try:
        from torchvision.models import AlexNet_Weights
    except ImportError:
        return False
    return (Path(torch.hub.get_dir()) / "checkpoints" / Path(AlexNet_Weights.DEFAULT.url).name).is_file()


@lru_cache(maxsize=1)
def _network() -> Any:
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
