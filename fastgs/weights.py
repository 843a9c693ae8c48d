"""Trained networks on disk: NAME.safetensors has the weights, NAME.json how to build them and what they learned from.

The two belong together: the JSON has the SHA-256 of the other file, and one is not read without the other. Nothing that
is read is run: nothing is unpickled, and no name in it makes a library download anything.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import timm
import torch
from segmentation_models_pytorch.encoders import get_encoder_names
from torch import Tensor

from fastgs.files import atomic_write
from fastgs.initializers.learned import LearnedInitializer
from fastgs.models import AttributeNetwork, PositionNetwork

FORMAT = "fastgs.weights"
VERSION = "1"

# Beside this file where a wheel is installed, beside the package in the source tree.
CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"
if not CHECKPOINTS.is_dir():
    CHECKPOINTS = CHECKPOINTS.parent.parent / "checkpoints"

_Network = TypeVar("_Network", PositionNetwork, AttributeNetwork)


def save_weights(path: str | Path, networks: LearnedInitializer, training: dict[str, Any]) -> None:
    """Write PATH.safetensors and PATH.json. Equal weights give equal bytes.

    Both files are complete before either takes the place of an old one, so a full disk leaves the old pair as it was.

    Args:
        path: with or without suffix; its folder is made.
        networks: on any device.
        training: what they were trained on, how, and with what result; whatever JSON can hold.

    Raises:
        OSError: the folder is not writable, or the disk is full.
        ValueError: the weights hold NaN or infinity; nothing is written.
        TypeError, ValueError: JSON cannot hold `training`; nothing is written.
    """
    tensors, text = (Path(f"{_without_suffix(path)}{suffix}") for suffix in (".safetensors", ".json"))
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in networks.state_dict().items()}
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise ValueError(f"{path}: not written, since the weights hold NaN or infinity")
    content = safetensors.torch.save(state)
    info = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": hashlib.sha256(content).hexdigest(),
        "position": networks.position.arguments,
        "attribute": None if networks.attribute is None else networks.attribute.arguments,
        "training": training,
    }
    lines = json.dumps(info, indent=2, allow_nan=False) + "\n"
    tensors.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(text) as new_text, atomic_write(tensors) as new_tensors:
        new_text.write_text(lines)
        new_tensors.write_bytes(content)


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
    info, content = _read_info(info_path, path), _read(path)
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError) as error:  # a KeyError is of a type that torch lacks
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if hashlib.sha256(content).hexdigest() != info.get("sha256"):
        raise ValueError(
            f"{path}: is not the file that {info_path.name} describes; the two are written together, so export or copy "
            "both again"
        )
    # Fresh networks draw random numbers, which no caller expects of reading a file.
    with torch.random.fork_rng(devices=[]):
        position = _build(PositionNetwork, "position", info, info_path)
        attribute = None
        if info.get("attribute") is not None:
            attribute = _build(AttributeNetwork, "attribute", info, info_path)
        networks = LearnedInitializer(position, attribute).eval()
    _check_tensors(path, tensors, networks.state_dict())
    networks.load_state_dict(tensors)
    return networks


def _without_suffix(path: str | Path) -> Path:
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".safetensors", ".json") else path


def _find(name_or_path: str | Path) -> Path:
    """The safetensors file that is meant; a name in checkpoints/ comes before a file of that name in this folder."""
    stem = _without_suffix(name_or_path)
    candidates = [CHECKPOINTS / stem, stem] if str(name_or_path) == stem.name else [stem]
    for path in (Path(f"{candidate}.safetensors") for candidate in candidates):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors")))
    raise FileNotFoundError(
        f"{name_or_path}: no such weights; give a path, or a name in checkpoints/ ({names or 'none there yet'})"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_info(path: Path, tensors: Path) -> dict[str, Any]:
    """The JSON that tells how to build the networks."""
    try:
        info = json.loads(_read(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; it belongs to {tensors.name}, so copy both") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ValueError(f"{path}: describes no weights (not written by fastgs)")
    if info.get("version") != VERSION:
        raise ValueError(f"{path}: is of version {info.get('version')!r}; this fastgs reads version {VERSION!r}")
    return info


def _build(kind: type[_Network], name: str, info: dict[str, Any], path: Path) -> _Network:
    """A network from its constructor arguments, all of which must be there and have the types of the defaults."""
    arguments = info.get(name)
    parameters = inspect.signature(kind).parameters.values()
    expected = {each.name: type(each.default) for each in parameters if each.name != "encoder_weights"}
    if not isinstance(arguments, dict) or {key: type(value) for key, value in arguments.items()} != expected:
        wanted = ", ".join(f"{key} ({value.__name__})" for key, value in expected.items())
        raise ValueError(f"{path}: {name}: expected just {wanted}; got {arguments}")
    encoder = arguments["encoder"]
    # Not every name that timm takes is a model of its own: it would download others.
    architecture = encoder.removeprefix("tu-")
    if not (timm.is_model(architecture) if encoder != architecture else encoder in get_encoder_names()):
        raise ValueError(f"{path}: {name}: segmentation-models-pytorch knows no encoder {encoder!r}; a newer one may")
    try:
        return kind(**arguments)
    except Exception as error:  # the libraries below raise whatever they like
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: {name}: no network can be built from {arguments} ({reason})") from error


def _check_tensors(path: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Refuse tensors that do not fit, before any of them is copied."""
    for name, tensor in expected.items():
        if name not in tensors:
            raise ValueError(f"{path}: lacks {name}, which the networks of {path.stem}.json have")
        found = tensors[name]
        if (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"{path}: {name}: expected {tensor.dtype} of shape {tuple(tensor.shape)}, "
                f"got {found.dtype} of shape {tuple(found.shape)}"
            )
        if not torch.isfinite(found).all():
            raise ValueError(f"{path}: {name}: holds NaN or infinity")
    extra = sorted(tensors.keys() - expected.keys())
    if extra:
        raise ValueError(f"{path}: holds {extra[0]}, which the networks of {path.stem}.json lack")
