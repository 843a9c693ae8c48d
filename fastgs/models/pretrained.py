"""The two trained networks on disk, as a pair of files (see `fastgs.io.weights`); some come with fastgs, by name.

No name that is read makes a library download anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from fastgs.io.weights import checked_arguments, filled, read_pair, without_suffix, write_pair
from fastgs.models import AttributeNetwork, PositionNetwork
from fastgs.models.feed_forward import LearnedInitializer

FORMAT = "fastgs.weights"
VERSION = "2"

# Beside this file where a wheel is installed, beside the package in the source tree.
CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
if not CHECKPOINTS.is_dir():
    CHECKPOINTS = CHECKPOINTS.parents[1] / "checkpoints"


def save_weights(path: str | Path, networks: LearnedInitializer, training: dict[str, Any]) -> None:
    """Write PATH.safetensors and PATH.json, as `fastgs.io.weights.write_pair`.

    Args:
        path: with or without suffix; its folder is made.
        networks: on any device.
        training: what they were trained on, how, and with what result; whatever JSON can hold.

    Raises:
        OSError, ValueError, TypeError: see there.
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
    """Read what `save_weights` wrote.

    Args:
        name_or_path: a name in checkpoints/; or the path of either file, with or without suffix.

    Returns:
        The networks on the CPU, in evaluation mode. The global random state is left as it was.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: one of them is damaged, or of another format or version, or they do not belong together. All
            messages are one line that begins with the path.
    """
    path = _find(name_or_path)
    info_path = path.with_suffix(".json")
    tensors, info = read_pair(path, FORMAT, VERSION, "weights")
    arguments = _checked(PositionNetwork, info.get("position"), f"{info_path}: position")
    more = None
    if info.get("attribute") is not None:
        more = _checked(AttributeNetwork, info["attribute"], f"{info_path}: attribute")

    def build() -> LearnedInitializer:
        return LearnedInitializer(PositionNetwork(**arguments), None if more is None else AttributeNetwork(**more))

    return filled(build, tensors, path)


def training_of(name_or_path: str | Path) -> dict[str, Any]:
    """What `save_weights` was told of the training of weights, for arguments and errors as of `load_weights`."""
    _, info = read_pair(_find(name_or_path), FORMAT, VERSION, "weights")
    training = info.get("training")
    return training if isinstance(training, dict) else {}


def _checked(kind: type[nn.Module], arguments: object, where: str) -> dict[str, Any]:
    """Check the arguments of a network as they were read; files leave `conditioned` out where it is true."""
    if isinstance(arguments, dict):
        arguments = {"conditioned": True} | arguments
    return checked_arguments(kind, arguments, where)


def _find(name_or_path: str | Path) -> Path:
    """The safetensors file that is meant; a name in checkpoints/ comes before a file of that name in this folder."""
    stem = without_suffix(name_or_path)
    candidates = [CHECKPOINTS / stem, stem] if str(name_or_path) == stem.name else [stem]
    for path in (Path(f"{candidate}.safetensors") for candidate in candidates):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors")))
    raise FileNotFoundError(
        f"{name_or_path}: no such weights; give a path, or a name in checkpoints/ ({names or 'none there yet'})"
    )
