"""Coders, which turn images into codes and back: trained autoencoders, and two that need no training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from fastgs.evaluation.autoencoders.records import PIXELS, SPLATS
from fastgs.gaussians import CHANNELS as RGB
from fastgs.gaussians import Gaussians
from fastgs.io.files import parse_json
from fastgs.io.weights import without_suffix
from fastgs.render import render_batch
from fastgs.splats.channels import Parameters, channels_of, from_channels, to_channels
from fastgs.splats.index import Index, Splats

if TYPE_CHECKING:
    from fastgs.autoencoders.pretrained import TrainedAutoencoder

EXPORTED = "weights"  # name of all that train.py exports; only the folder distinguishes them

# Fields of a record that describe an autoencoder, where there is none.
_NO_FACTS: dict[str, Any] = dict.fromkeys(
    (
        *("model", "parameters", "per_attribute", "parameter_weight", "rendering_weight", "latent"),
        *("parameters_count", "seed"),
    )
)


class Coder(NamedTuple):
    """Way of images into a code and out of it.

    Attributes:
        name: Name of the autoencoder, as in `AutoencoderTask`.
        sha256: SHA-256 of its weights, as in `AutoencoderTask`.
        encode: Function from n images of a dataset to (n, D) codes.
        decode: Function from (n, D) codes to (n, C, H, W) images, not clamped.
        facts: Fields of `AutoencoderRecord` that describe it.
    """

    name: str
    sha256: str | None
    encode: Callable[[Splats], Tensor]
    decode: Callable[[Tensor], Tensor]
    facts: dict[str, Any]


def splat_coder(index: Index, height: int, width: int) -> Coder:
    """Return the coder that keeps the fitted Gaussians themselves: the best that an autoencoder of them can reach.

    Args:
        index: Index of the dataset.
        height: Height of its images in pixels.
        width: Width of its images in pixels.
    """
    parameters: Parameters = "anchored" if "anchored" in index.normalizations else "plain"

    def decode(codes: Tensor) -> Tensor:
        channels = codes.view(len(codes), index.num_gaussians, -1)
        attributes = from_channels(channels, parameters, height, width)
        return render_batch([Gaussians(*each, height, width) for each in zip(*attributes, strict=True)])

    return Coder(
        SPLATS,
        None,
        lambda splats: to_channels(splats.attributes, parameters, height, width).flatten(1),
        decode,
        {**_NO_FACTS, "content": SPLATS, "seed": index.seed},
    )


def pixel_coder(height: int, width: int, colors: int = RGB) -> Coder:
    """Return the coder that keeps the pixels themselves, so that the probe can be compared with one on pixels.

    Args:
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        colors: Number of channels of the images.
    """
    return Coder(
        PIXELS,
        None,
        lambda splats: pixels(splats).flatten(1),
        lambda codes: codes.view(-1, colors, height, width),
        {**_NO_FACTS, "content": PIXELS},
    )


def load_coder(path: Path, index: Index, height: int, width: int) -> Coder:
    """Load a trained autoencoder as a coder.

    Args:
        path: Path of the weights, with or without suffix.
        index: Index of the dataset that it is to code.
        height: Height of the dataset's images in pixels.
        width: Width of the dataset's images in pixels.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: The weights are damaged, or do not fit the dataset.
    """
    # Imported here because it brings in torchvision, which other commands need not wait for.
    from fastgs.autoencoders.pretrained import load_autoencoder

    autoencoder = load_autoencoder(path)
    stem = without_suffix(path)
    name = stem.resolve().parent.name if stem.name == EXPORTED else stem.name
    if name in (SPLATS, PIXELS):
        raise ValueError(f"{path}: {name!r} is the name of the record without autoencoder; rename it")
    _check_fit(autoencoder, path, index, height, width)
    info = parse_json(Path(f"{stem}.json").read_bytes())
    training = info.get("training")
    facts = {
        "content": autoencoder.content,
        "model": info["model"],
        "parameters": autoencoder.parameters,
        "per_attribute": len(autoencoder.network.parts) > 1,
        "parameter_weight": _training_note(training, float, "hyperparameters", "parameter_weight"),
        "rendering_weight": _training_note(training, float, "hyperparameters", "rendering_weight"),
        "latent": autoencoder.network.latent,
        "parameters_count": sum(each.numel() for each in autoencoder.network.state_dict().values()),
        "seed": _training_note(training, int, "seed"),
    }

    def encode(splats: Splats) -> Tensor:
        return autoencoder.encode(splats.attributes if autoencoder.content == SPLATS else pixels(splats))

    def decode(codes: Tensor) -> Tensor:
        return autoencoder.rendered(autoencoder.decode(codes))

    return Coder(name, info["sha256"], encode, decode, facts)


def pixels(splats: Splats) -> Tensor:
    """Return the (N, C, H, W) original images in [0, 1], which have one size."""
    assert isinstance(splats.pixels, Tensor)
    return splats.pixels / 255


def _training_note(training: Any, kind: type, *names: str) -> Any:
    """Return the value under nested names in the notes on a training; None if there is none of this type."""
    for name in names:
        training = training.get(name) if isinstance(training, dict) else None
    return training if type(training) is kind else None


def _check_fit(autoencoder: TrainedAutoencoder, path: Path, index: Index, height: int, width: int) -> None:
    """Check that an autoencoder fits the images of a dataset.

    Raises:
        ValueError: It does not; one line.
    """
    if (autoencoder.height, autoencoder.width) != (height, width):
        raise ValueError(
            f"{path}: is for images of {autoencoder.height} x {autoencoder.width} pixels, and the dataset's have "
            f"{height} x {width}; name others"
        )
    if autoencoder.colors != index.settings.colors:
        kind = channels_of(autoencoder.colors) or f"{autoencoder.colors}-channel"
        raise ValueError(f"{path}: is for {kind} images, and the dataset's are {index.channels}; name others")
    if autoencoder.num_gaussians not in (None, index.num_gaussians):
        raise ValueError(
            f"{path}: is for {autoencoder.num_gaussians} Gaussians, and the dataset's images have "
            f"{index.num_gaussians}; name others"
        )
    if autoencoder.parameters is not None and autoencoder.parameters not in index.normalizations:
        raise ValueError(
            f"{path}: is for {autoencoder.parameters} parameters, and the dataset's Gaussians, which started from "
            f"{index.initialization!r}, have none; name others"
        )
