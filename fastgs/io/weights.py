"""Networks on disk: NAME.safetensors has the weights, NAME.json describes the networks that they belong to.

The two files are a pair: the JSON has the SHA-256 of the other, and neither is read alone. No code from the files is
run, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fastgs.io.checkpoints import CHECKPOINTS, check_digest, read_content, read_info
from fastgs.io.files import atomic_write, parse_json

_Network = TypeVar("_Network", bound=nn.Module)

# Number of tensors that a network may create, including temporary ones of its constructor: twice as many as the largest
# encoder needs.
MAX_TENSORS = 10_000
# Functions of torch that make tensors, and those that fill them.
_MAKE = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
_FILL = {Tensor.uniform_, Tensor.normal_, Tensor.zero_, Tensor.fill_}


def write_pair(path: str | Path, state: Mapping[str, Tensor], info: dict[str, Any]) -> None:
    """Write PATH.safetensors and PATH.json. Equal weights give equal bytes.

    Both files are complete before either replaces an old one, so a full disk leaves the old pair as it was.

    Args:
        path: Path of the pair, with or without suffix; its folder is created.
        state: Weights by name, on any device.
        info: Description for the JSON, with a "format" and a "version"; the SHA-256 of the weights is put behind these.

    Raises:
        OSError: The folder is not writable, or the disk is full.
        ValueError: The weights, or numbers in `info`, are NaN or infinite; nothing is written.
        TypeError: JSON cannot hold `info`; nothing is written.
    """
    tensors, text = (Path(f"{without_suffix(path)}{suffix}") for suffix in (".safetensors", ".json"))
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise ValueError(f"{path}: not written, since the weights hold NaN or infinity")
    content = safetensors.torch.save(state)
    head = {"format": info["format"], "version": info["version"], "sha256": hashlib.sha256(content).hexdigest()}
    lines = json.dumps(head | info, indent=2, allow_nan=False) + "\n"
    tensors.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(text) as new_text, atomic_write(tensors) as new_tensors:
        new_text.write_bytes(lines.encode())
        new_tensors.write_bytes(content)


def read_pair(path: Path, form: str, version: str, holds: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a pair that `write_pair` wrote.

    Args:
        path: Existing safetensors file.
        form: Expected format.
        version: Expected version.
        holds: Name of the content in messages.

    Returns:
        The tensors by name, and the content of the JSON.

    Raises:
        FileNotFoundError: The JSON is missing.
        ValueError: A file is damaged, or of another format or version, or the two do not belong together. All messages
            are one line that begins with the path.
    """
    info_path = path.with_suffix(".json")
    info, content = read_info(info_path, path, form, version, holds), read_content(path)
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError) as error:  # KeyError: a dtype that torch lacks
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    check_digest(path, content, info)
    return tensors, info


def without_suffix(path: str | Path) -> Path:
    """Return the path without the suffix of either file of a pair; a path without these suffixes stays as it is."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".safetensors", ".json") else path


def find_weights(name_or_path: str | Path) -> Path:
    """Return the safetensors file of a name in checkpoints/, or of a path with or without suffix.

    A name in checkpoints/ comes before a file of that name in the working folder.

    Raises:
        FileNotFoundError: There are no such weights; one line.
    """
    stem = without_suffix(name_or_path)
    candidates = [CHECKPOINTS / stem, stem] if str(name_or_path) == stem.name else [stem]
    for path in (Path(f"{candidate}.safetensors") for candidate in candidates):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors")))
    raise FileNotFoundError(
        f"{name_or_path}: no such weights; give a path, or a name in checkpoints/ ({names or 'none there yet'})"
    )


def format_of(name_or_path: str | Path) -> str | None:
    """Return the format of weights as their JSON states it; None if it states none, or cannot be read.

    Raises:
        FileNotFoundError: There are no such weights; one line.
    """
    try:
        info = parse_json(find_weights(name_or_path).with_suffix(".json").read_bytes())
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and not error.errno:
            raise
        return None
    found = info.get("format") if isinstance(info, dict) else None
    return found if isinstance(found, str) else None


def checked_arguments(kind: type[nn.Module], arguments: object, where: str) -> dict[str, Any]:
    """Check constructor arguments from a file: all must be there, with the types of their defaults, and no others.

    Arguments with the default None are not kept in files.

    Args:
        kind: Class that is to be constructed.
        arguments: Arguments as they were read.
        where: File, and place in it, to begin the message with.

    Returns:
        The arguments.

    Raises:
        ValueError: Arguments are missing, unknown, or of another type.
    """
    parameters = inspect.signature(kind).parameters.values()
    expected = {each.name: type(each.default) for each in parameters if each.default is not None}
    if not isinstance(arguments, dict) or {key: type(value) for key, value in arguments.items()} != expected:
        wanted = ", ".join(f"{key} ({value.__name__})" for key, value in expected.items())
        raise ValueError(f"{where}: expected just {wanted}; got {arguments}")
    return arguments


def filled(build: Callable[[], _Network], tensors: Mapping[str, Tensor], path: Path) -> _Network:
    """Build a network and load weights into it; return it in evaluation mode.

    The network is first built without memory for its tensors, since a description can ask for any size, and with it
    only if the weights fit. The global random state is left as it was.

    Args:
        build: Function that constructs the network.
        tensors: Weights by name.
        path: Safetensors file of the weights, for messages; the description is in the JSON beside it.

    Raises:
        ValueError: `build` fails in any way, or the weights do not fit the network. The message is one line.
    """
    try:
        with Outline():
            expected: dict[str, Tensor] = build().state_dict()
    except Exception as error:  # the libraries of networks raise exceptions of all kinds
        reason = " ".join(str(error).split())
        raise ValueError(f"{path.with_suffix('.json')}: no network can be built from this ({reason})") from error
    _check_tensors(expected, tensors, path)
    # New networks draw random numbers; a caller does not expect that from reading a file.
    with torch.random.fork_rng(devices=[]):
        network = build()
    network.load_state_dict(tensors)
    return network.eval()


class Outline(TorchFunctionMode):
    """Context in which networks are built in next to no memory: new tensors have a shape but no content.

    Only the usual functions that make tensors are affected, so that constructors can still calculate with others; under
    `torch.device("meta")`, which affects all tensors, some encoders cannot be built.

    Raises:
        ValueError: More than `MAX_TENSORS` tensors are made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; new tensors are put on the meta device, and filling them does nothing."""
        if function in _FILL:
            return args[0]
        if function in _MAKE:
            self.made += 1
            if self.made > MAX_TENSORS:
                raise ValueError(f"it has more than {MAX_TENSORS} tensors")
            kwargs = {**(kwargs or {}), "device": "meta"}
        return function(*args, **(kwargs or {}))


def _check_tensors(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights whose names, shapes or dtypes are not those of the network, or that are not finite."""
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
