"""Trained autoencoders, which map Gaussians or pixels to a few numbers and back, and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fastgs.autoencoders.networks import NETWORKS, Autoencoder, SingleAutoencoder, SplitAutoencoder
from fastgs.fitting.parametrization import Attributes
from fastgs.gaussians import CHANNELS as RGB
from fastgs.io.weights import checked_arguments, filled, read_pair, without_suffix, write_pair
from fastgs.render import rasterize
from fastgs.splats.channels import (
    GEOMETRY_CHANNELS,
    Normalization,
    Parameters,
    from_channels,
    grid_shape,
    to_channels,
)

Content = Literal["splats", "pixels"]
Images = Attributes | Tensor

FORMAT = "fastgs.autoencoder"
VERSION = "1"

# Number of images that go through a network at a time.
BATCH = 256


@dataclass(frozen=True)
class TrainedAutoencoder:
    """Autoencoder with the meaning of its numbers: maps N images to latents and back.

    If the content is "splats", images are `Attributes`, (N, K, 2), (N, K, 2), (N, K), (N, K, D), with the units of
    `Gaussians`. If it is "pixels", they are (N, D, H, W) floats in [0, 1]. D is the number of channels of the images,
    alpha included, by which colours are multiplied. All are on the device of the network.

    Attributes:
        content: "splats" or "pixels".
        network: Autoencoder of (N, K, C) sets in [-1, 1] of K Gaussians, or of H x W pixels.
        height, width: Size of the images in pixels.
        normalization: Normalization of the channels of Gaussians; None for pixels.

    Raises:
        ValueError: The arguments do not fit together.
    """

    content: Content
    network: Autoencoder
    height: int
    width: int
    normalization: Normalization | None = None

    def __post_init__(self) -> None:
        if self.content not in get_args(Content):
            raise ValueError(f"content: expected one of {', '.join(get_args(Content))}, got {self.content!r}")
        if (self.content == "splats") != (self.normalization is not None):
            raise ValueError(f"normalization: splats have one and pixels have none; the content is {self.content}")
        for name in ("height", "width"):
            side = getattr(self, name)
            if type(side) is not int or side < 1:
                raise ValueError(f"{name}: expected an integer of at least 1, got {side!r}")
        network, elements = self.network, self.network.rows * self.network.columns
        expected = set_shape(self.content, elements, self.height, self.width, self.colors)
        if (network.rows, network.columns, network.channels) != expected:
            raise ValueError(
                f"network: expected rows, columns and channels of {expected} for {self.content} of {self.height} x "
                f"{self.width} pixels, got {(network.rows, network.columns, network.channels)}"
            )

    @property
    def parameters(self) -> Parameters | None:
        """Kind of the channels of Gaussians; None for pixels."""
        return None if self.normalization is None else self.normalization.parameters

    @property
    def colors(self) -> int:
        """Number D of channels of the images."""
        return self.network.channels if self.normalization is None else self.normalization.colors

    @property
    def num_gaussians(self) -> int | None:
        """Number K of Gaussians of each image; None for pixels."""
        return None if self.normalization is None else self.network.rows * self.network.columns

    @torch.no_grad()
    def encode(self, images: Images) -> Tensor:
        """Return the (N, latent) numbers of N images.

        Raises:
            ValueError: The images have another content, size, or number of Gaussians or channels than the network.
        """
        return torch.cat([self.network.encode(part) for part in torch.split(self.normalized(images), BATCH)])

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Images:
        """Return the images of (N, latent) numbers, as well as the network has learned to."""
        return self.restored(torch.cat([self.network.decode(part) for part in torch.split(latents, BATCH)]))

    @torch.no_grad()
    def reconstruct(self, images: Images) -> Tensor:
        """Return the (N, D, H, W) pictures, not clamped, of N images that were encoded and decoded."""
        latents = torch.split(self.encode(images), BATCH)
        return torch.cat([self.rendered(self.restored(self.network.decode(part))) for part in latents])

    def normalized(self, images: Images) -> Tensor:
        """Return images as (N, K, C) sets in [-1, 1].

        Raises:
            ValueError: The images have another content, size, or number of Gaussians or channels than the network.
        """
        if self.normalization is not None:
            elements = self.network.rows * self.network.columns
            if not isinstance(images, Attributes) or images.means.shape[1:] != (elements, 2):
                raise ValueError(f"images: expected {elements} Gaussians each, got {_describe(images)}")
            if images.colors.shape[-1] != self.colors:
                raise ValueError(
                    f"images: expected Gaussians of {self.colors} colour channels, got {images.colors.shape[-1]}"
                )
            channels = to_channels(images, self.normalization.parameters, self.height, self.width)
            return self.normalization.normalized(channels)
        if not isinstance(images, Tensor) or images.shape[1:] != (self.colors, self.height, self.width):
            expected = f"(N, {self.colors}, {self.height}, {self.width})"
            raise ValueError(f"images: expected pixels {expected}, got {_describe(images)}")
        return pixel_sets(images)

    def restored(self, sets: Tensor) -> Images:
        """Return sets as images: the inverse of `normalized`; differentiable."""
        if self.normalization is not None:
            channels = self.normalization.channels(sets)
            return from_channels(channels, self.normalization.parameters, self.height, self.width)
        return ((sets + 1) / 2).transpose(1, 2).reshape(len(sets), self.colors, self.height, self.width)

    def rendered(self, images: Images) -> Tensor:
        """Return the (N, D, H, W) pictures of Gaussians, or the pixels as they are; differentiable."""
        if isinstance(images, Tensor):
            return images
        count, elements, _ = images.means.shape
        return rasterize(
            *(each.flatten(0, 1) for each in images),
            counts=[elements] * count,
            pitches=[(1.0, 1.0)] * count,
            height=self.height,
            width=self.width,
        )


def set_shape(content: Content, num_gaussians: int, height: int, width: int, colors: int = RGB) -> tuple[int, int, int]:
    """Return rows, columns and channels of the set that a network is given of an image.

    Args:
        content: "splats" or "pixels".
        num_gaussians: Number K of Gaussians of the image.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        colors: Number of channels of the image.

    Raises:
        ValueError: The Gaussians make no grid (see `fastgs.splats.channels.grid_shape`).
    """
    if content == "pixels":
        return height, width, colors
    return *grid_shape(num_gaussians, height, width), GEOMETRY_CHANNELS + colors


def pixel_sets(pixels: Tensor) -> Tensor:
    """Return (N, D, H, W) pixels in [0, 1] as (N, H W, D) sets in [-1, 1]."""
    return pixels.flatten(2).transpose(1, 2) * 2 - 1


def save_autoencoder(path: str | Path, autoencoder: TrainedAutoencoder, training: dict[str, Any]) -> None:
    """Write PATH.safetensors and PATH.json; see `fastgs.io.weights.write_pair` for path and errors.

    Args:
        path: Path of the pair, with or without suffix.
        autoencoder: Autoencoder on any device.
        training: Record of the training: data, settings, results.
    """
    parts, normalization = autoencoder.network.parts, autoencoder.normalization
    (model,) = {name for name, kind in NETWORKS.items() if all(type(part) is kind for part in parts)}
    info = {
        "format": FORMAT,
        "version": VERSION,
        "content": autoencoder.content,
        "height": autoencoder.height,
        "width": autoencoder.width,
        "model": model,
        "networks": [part.arguments for part in parts],
        "parameters": autoencoder.parameters,
        "normalization": None if normalization is None else normalization.as_json(),
        "training": training,
    }
    write_pair(path, autoencoder.network.state_dict(), info)


def load_autoencoder(path: str | Path) -> TrainedAutoencoder:
    """Read an autoencoder that `save_autoencoder` wrote.

    Args:
        path: Path of either file, with or without suffix.

    Returns:
        The autoencoder on the CPU, its network in evaluation mode. The global random state is left as it was.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The pair holds no readable autoencoder (see `fastgs.io.weights.read_pair`), or its parts do not fit
            together; one line that begins with the path.
    """
    path = Path(f"{without_suffix(path)}.safetensors")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the path of what train.py exported of an autoencoder")
    tensors, info = read_pair(path, FORMAT, VERSION, "autoencoder")
    info_path = path.with_suffix(".json")
    kind, arguments = _read_networks(info, info_path)

    def build() -> Autoencoder:
        networks = [kind(**each) for each in arguments]
        return networks[0] if len(networks) == 1 else SplitAutoencoder(networks)

    network = filled(build, tensors, path)
    try:
        normalization = None
        if info.get("normalization") is not None:
            normalization = Normalization.from_json(info.get("parameters"), info["normalization"])  # type: ignore[arg-type]
        content, height, width = (info.get(name) for name in ("content", "height", "width"))
        return TrainedAutoencoder(content, network, height, width, normalization)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{info_path}: {error}") from error


def _read_networks(info: dict[str, Any], path: Path) -> tuple[type[SingleAutoencoder], list[dict[str, Any]]]:
    """Return the kind of the networks that the JSON at `path` describes, and the arguments of each."""
    kind = {str(name): kind for name, kind in NETWORKS.items()}.get(str(info.get("model")))
    described = info.get("networks")
    if kind is None:
        raise ValueError(f"{path}: model: expected one of {', '.join(NETWORKS)}, got {info.get('model')!r}")
    where = f"{path}: networks"
    if not isinstance(described, list) or not described:
        raise ValueError(f"{where}: expected a list of the arguments of each")
    return kind, [checked_arguments(kind, each, where) for each in described]


def _describe(images: Images) -> str:
    """Describe images for messages."""
    if isinstance(images, Attributes):
        return f"Gaussians of shape {tuple(images.means.shape)}"
    return f"pixels of shape {tuple(images.shape)}"
