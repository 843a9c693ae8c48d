"""Trained networks on disk, as a pair of files (see `fastgs.io.weights`); those that come with fastgs have a name.

No name that is read from a file makes a library download anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from fastgs.io.weights import CHECKPOINTS, checked_arguments, filled, read_pair, without_suffix, write_pair
from fastgs.models import AttributeNetwork, PositionNetwork
from fastgs.models.feed_forward import LearnedInitializer
from fastgs.models.zoom import ZoomNetwork

FORMAT = "fastgs.weights"
VERSION = "2"
ZOOM_FORMAT = "fastgs.zoom"
ZOOM_VERSION = "1"


def save_weights(path: str | Path, networks: LearnedInitializer, training: dict[str, Any]) -> None:
    """Write PATH.safetensors and PATH.json; see `fastgs.io.weights.write_pair` for further errors.

    Args:
        path: Path of the pair, with or without suffix; its folder is made.
        networks: Networks on any device.
        training: Record of the training: data, settings, results; anything that JSON can hold.

    Raises:
        ValueError: There is no position network.
    """
    if networks.position is None:
        raise ValueError(f"{path}: not written, since there is no position network")
    info = {
        "format": FORMAT,
        "version": VERSION,
        "position": networks.position.arguments,
        "attribute": None if networks.attribute is None else networks.attribute.arguments,
        "training": training,
    }
    write_pair(path, networks.state_dict(), info)


def load_weights(name_or_path: str | Path) -> LearnedInitializer:
    """Read networks that `save_weights` wrote.

    Args:
        name_or_path: Name in checkpoints/, or path of either file, with or without suffix.

    Returns:
        The networks on the CPU, in evaluation mode. The global random state is left as it was.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ValueError: One of them is damaged or has another format or version, or they do not belong together. All
            messages are one line that begins with the path.
    """
    path = _find(name_or_path)
    info_path = path.with_suffix(".json")
    tensors, info = read_pair(path, FORMAT, VERSION, "weights")
    position = _checked(PositionNetwork, info.get("position"), f"{info_path}: position")
    attribute = None
    if info.get("attribute") is not None:
        attribute = _checked(AttributeNetwork, info["attribute"], f"{info_path}: attribute")

    def build() -> LearnedInitializer:
        return LearnedInitializer(
            PositionNetwork(**position), None if attribute is None else AttributeNetwork(**attribute)
        )

    return filled(build, tensors, path)


def save_zoom(path: str | Path, network: ZoomNetwork, training: dict[str, Any]) -> None:
    """Write a network of zooming as PATH.safetensors and PATH.json; arguments and errors as of `save_weights`."""
    info = {"format": ZOOM_FORMAT, "version": ZOOM_VERSION, "network": network.arguments, "training": training}
    write_pair(path, network.state_dict(), info)


def load_zoom(name_or_path: str | Path) -> ZoomNetwork:
    """Read a network that `save_zoom` wrote; arguments and errors as of `load_weights`."""
    path = _find(name_or_path)
    tensors, info = read_pair(path, ZOOM_FORMAT, ZOOM_VERSION, "weights of zooming")
    arguments = checked_arguments(ZoomNetwork, info.get("network"), f"{path.with_suffix('.json')}: network")
    return filled(lambda: ZoomNetwork(**arguments), tensors, path)


def training_of(name_or_path: str | Path) -> dict[str, Any]:
    """Return the record of the training that `save_weights` was given; arguments and errors are `load_weights`'s."""
    _, info = read_pair(_find(name_or_path), FORMAT, VERSION, "weights")
    training = info.get("training")
    return training if isinstance(training, dict) else {}


def _checked(kind: type[nn.Module], arguments: object, where: str) -> dict[str, Any]:
    """Check the arguments of a network as they were read; files leave `conditioned` out where it is true."""
    if isinstance(arguments, dict):
        arguments = {"conditioned": True} | arguments
    return checked_arguments(kind, arguments, where)


def _find(name_or_path: str | Path) -> Path:
    """Find the safetensors file; a name in checkpoints/ comes before a file of that name in the working folder."""
    stem = without_suffix(name_or_path)
    candidates = [CHECKPOINTS / stem, stem] if str(name_or_path) == stem.name else [stem]
    for path in (Path(f"{candidate}.safetensors") for candidate in candidates):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors")))
    raise FileNotFoundError(
        f"{name_or_path}: no such weights; give a path, or a name in checkpoints/ ({names or 'none there yet'})"
    )
