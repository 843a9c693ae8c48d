"""U-Net of both networks: that of segmentation-models-pytorch with FiLM, beside a path that keeps the detail.

Single pixels decide where a Gaussian goes and how it looks, and an encoder that halves the image at once loses them. So
pixels are first folded into channels (2 x 2 pixels into one, without loss). Residual blocks at that half resolution
combine them with what the U-Net says of the surroundings, and answer for each of the four pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import timm
import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.encoders import get_encoder, get_encoder_names
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from fastgs.models.film import FiLM
from fastgs.models.residual import ResidualBlock
from fastgs.nearest import did_you_mean

FOLD = 2  # pixels, of each axis, that are folded into channels

# Page that lists the names of encoders, for messages.
ENCODERS = "https://smp.readthedocs.io/en/latest/encoders.html"


class UNet(nn.Module):
    """Maps (B, in, H, W) images and a (B,) condition to (B, out, H, W), for any H and W; to zero until trained.

    Batch normalization in the encoder never uses statistics of the batch, only its running statistics, which stay at
    mean 0 and variance 1 unless the weights were pretrained: crops in training and whole photos later would differ in
    the statistics, and so would ranks.

    Args:
        in_channels, out_channels: Numbers of channels of the input and of the output.
        encoder: Name of an encoder in segmentation-models-pytorch whose first feature has half its input's resolution.
        depth: Number of halvings in the encoder, 2 to 5.
        width: Number of channels of the detail path.
        blocks: Number of residual blocks of the detail path.
        encoder_weights: Name that segmentation-models-pytorch has for pretrained weights, which it downloads; None
            starts from random ones.

    Raises:
        ValueError: An argument is out of range, or there is no such encoder; the message begins with the argument.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        encoder: str = "tu-resnet18d",
        depth: int = 3,
        width: int = 48,
        blocks: int = 3,
        encoder_weights: str | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"depth": depth, "width": width, "blocks": blocks}.items():
            if value < 1:
                raise ValueError(f"{name}: must be at least 1, got {value}")
        self.multiple = FOLD * 2**depth
        self.encoder = _encoder(encoder, width, depth, encoder_weights)
        self.film = FiLM(self.encoder.out_channels[-1])
        channels = [max(width, 16 * 2**level) for level in reversed(range(depth))]
        self.decoder = UnetDecoder(self.encoder.out_channels, channels, depth, use_norm="identity")
        self.detail = nn.Conv2d(FOLD**2 * in_channels, width, 3, padding=1)
        self.merge = nn.Conv2d(channels[-1] + width, width, 1)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.head = nn.Conv2d(width, FOLD**2 * out_channels, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # up to four times faster on CPUs
        self.train()

    def train(self, mode: bool = True) -> UNet:
        """Set the mode of all modules but batch normalization, which stays in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Map (B, in, H, W) under a (B,) condition of about [0, 1] to (B, out, H, W)."""
        height, width = images.shape[-2:]
        bottom, right = -height % self.multiple, -width % self.multiple
        if bottom or right:
            images = functional.pad(images, (0, right, 0, bottom), mode="replicate")
        folded = _fold(images)
        detail = self.detail(folded)
        features = self.encoder(detail)
        features[-1] = self.film(features[-1], condition)
        features = torch.cat([self.decoder(features), detail], dim=1)
        features = self.blocks(self.merge(features))
        result = _unfold(self.head(functional.silu(features, inplace=True)))
        return result[..., :height, :width].float()


def _encoder(name: str, channels: int, depth: int, weights: str | None) -> Any:
    """Build an encoder of segmentation-models-pytorch; see `UNet` for arguments and errors."""
    known = [*get_encoder_names(), *(f"tu-{model}" for model in timm.list_models())]
    # Of the names that timm takes, only those of its own models, with or without a tag: it would download others.
    if name not in known and not (name.startswith("tu-") and timm.is_model(name[3:])):
        near = did_you_mean(name, known)
        raise ValueError(f"encoder: {name[:40]!r} is none of those in {ENCODERS}{near}")
    try:
        return get_encoder(name, channels, depth, weights)
    except Exception as error:  # the libraries below raise exceptions of any type
        given = "" if weights is None else f" with encoder_weights {weights!r}"
        reason = shorten(str(error), 160, placeholder=" ...")
        raise ValueError(f"encoder: {name!r} cannot be built of depth {depth}{given} ({reason})") from error


def stack(planes: Sequence[Tensor]) -> Tensor:
    """Concatenate (B, C, H, W) tensors along their channels, in the layout and precision that a `UNet` works in.

    `torch.cat` would keep the layout of whole planes. Together with folding those, that takes more time than the
    convolutions.
    """
    first = planes[0]
    device = first.device.type
    is_mixed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    precision = torch.get_autocast_dtype(device) if is_mixed else first.dtype
    batch, _, height, width = first.shape
    channels = [each.shape[1] for each in planes]
    stacked = first.new_empty(batch, height, width, sum(channels), dtype=precision)
    for part, each in zip(torch.split(stacked, channels, dim=3), planes, strict=True):
        part.copy_(each.permute(0, 2, 3, 1))
    return stacked.permute(0, 3, 1, 2)


def _fold(images: Tensor) -> Tensor:
    """Fold blocks of FOLD x FOLD pixels into channels; those of each pixel stay together and are copied whole."""
    batch, channels, height, width = images.shape
    blocks = images.permute(0, 2, 3, 1).reshape(batch, height // FOLD, FOLD, width // FOLD, FOLD, channels)
    folded = blocks.transpose(2, 3).reshape(batch, height // FOLD, width // FOLD, FOLD**2 * channels)
    return folded.permute(0, 3, 1, 2)


def _unfold(folded: Tensor) -> Tensor:
    """Invert `_fold`."""
    batch, channels, height, width = folded.shape
    blocks = folded.permute(0, 2, 3, 1).reshape(batch, height, width, FOLD, FOLD, channels // FOLD**2)
    images = blocks.transpose(2, 3).reshape(batch, FOLD * height, FOLD * width, channels // FOLD**2)
    return images.permute(0, 3, 1, 2)
