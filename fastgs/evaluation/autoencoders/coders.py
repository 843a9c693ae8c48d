"""What makes codes of images, and images of codes: trained autoencoders, and what there is without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from fastgs.evaluation.autoencoders.records import PIXELS, SPLATS
from fastgs.gaussians import Gaussians
from fastgs.io.files import parse_json
from fastgs.io.weights import without_suffix
from fastgs.render import render_batch
from fastgs.splats.channels import Parameters, from_channels, to_channels
from fastgs.splats.index import Index, Splats

if TYPE_CHECKING:
    from fastgs.autoencoders.pretrained import TrainedAutoencoder

EXPORTED = "weights"  # what train.py calls all that it exports; the folder tells one from the other


class Coder(NamedTuple):
    """The way of images into a code and out of it.

    Attributes:
        name, sha256: see `AutoencoderTask`.
        encode: n images of a dataset to (n, D) codes.
        decode: (n, D) codes to (n, 3, H, W) images, not clamped.
        facts: what a record says of it, by the names of `AutoencoderRecord`.
    """

    name: str
    sha256: str | None
    encode: Callable[[Splats], Tensor]
    decode: Callable[[Tensor], Tensor]
    facts: dict[str, Any]


def of_splats(index: Index, height: int, width: int) -> Coder:
    """The fitted Gaussians themselves: what an autoencoder of them can reach at best."""
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
        {**_NOTHING, "content": SPLATS, "seed": index.seed},
    )


def of_pixels(height: int, width: int) -> Coder:
    """The images themselves, for what a probe makes of them."""
    return Coder(
        PIXELS,
        None,
        lambda splats: pixels(splats).flatten(1),
        lambda codes: codes.view(-1, 3, height, width),
        {**_NOTHING, "content": PIXELS},
    )


def of_file(path: Path, index: Index, height: int, width: int) -> Coder:
    """A trained autoencoder.

    Args:
        path: of the weights, with or without suffix.
        index: of the dataset that it is to code.
        height, width: of the images there.

    Raises:
        FileNotFoundError, ValueError: as `load_autoencoder`; or it does not fit the dataset.
    """
    # Deferred: brings in torchvision, which other commands need not wait for.
    from fastgs.autoencoders.pretrained import load_autoencoder

    autoencoder = load_autoencoder(path)
    stem = without_suffix(path)
    name = stem.resolve().parent.name if stem.name == EXPORTED else stem.name
    if name in (SPLATS, PIXELS):
        raise ValueError(f"{path}: {name!r} is what the record without autoencoder is called; rename it")
    _check(autoencoder, path, index, height, width)
    info = parse_json(Path(f"{stem}.json").read_bytes())
    training = info.get("training")
    facts = {
        "content": autoencoder.content,
        "model": info["model"],
        "parameters": autoencoder.parameters,
        "per_attribute": len(autoencoder.network.parts) > 1,
        "parameter_weight": _told(training, float, "hyperparameters", "parameter_weight"),
        "rendering_weight": _told(training, float, "hyperparameters", "rendering_weight"),
        "latent": autoencoder.network.latent,
        "parameters_count": sum(each.numel() for each in autoencoder.network.state_dict().values()),
        "seed": _told(training, int, "seed"),
    }

    def encode(splats: Splats) -> Tensor:
        return autoencoder.encode(splats.attributes if autoencoder.content == SPLATS else pixels(splats))

    def decode(codes: Tensor) -> Tensor:
        return autoencoder.rendered(autoencoder.decode(codes))

    return Coder(name, info["sha256"], encode, decode, facts)


def pixels(splats: Splats) -> Tensor:
    """(N, 3, H, W) originals in [0, 1], of one size."""
    assert isinstance(splats.pixels, Tensor)
    return splats.pixels / 255


_NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "model",
        "parameters",
        "per_attribute",
        "parameter_weight",
        "rendering_weight",
        "latent",
        "parameters_count",
        "seed",
    )
)


def _told(training: Any, kind: type, *names: str) -> Any:
    """What the notes on a training say under these names; None if nothing, for they may be any notes."""
    for name in names:
        training = training.get(name) if isinstance(training, dict) else None
    return training if type(training) is kind else None


def _check(autoencoder: TrainedAutoencoder, path: Path, index: Index, height: int, width: int) -> None:
    """Refuse an autoencoder of other images, in one line."""
    if (autoencoder.height, autoencoder.width) != (height, width):
        raise ValueError(
            f"{path}: is for images of {autoencoder.height} x {autoencoder.width} pixels, and the dataset's have "
            f"{height} x {width}; name others"
        )
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
