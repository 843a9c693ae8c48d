"""Networks on disk: NAME.safetensors has the weights, NAME.json says what they are of.

The two belong together: the JSON has the SHA-256 of the other file, and one is not read without the other. Nothing that
is read is run, and nothing is unpickled.
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

from fastgs.io.files import atomic_write, parse_json

_Network = TypeVar("_Network", bound=nn.Module)

# Of a network, with those that its constructor makes and drops: twice as many as the largest encoder needs.
MAX_TENSORS = 10_000
_MAKE = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
_FILL = {Tensor.uniform_, Tensor.normal_, Tensor.zero_, Tensor.fill_}


def write_pair(path: str | Path, state: Mapping[str, Tensor], info: dict[str, Any]) -> None:
    """Write PATH.safetensors and PATH.json. Equal weights give equal bytes.

    Both files are complete before either takes the place of an old one, so a full disk leaves the old pair as it was.

    Args:
        path: with or without suffix; its folder is made.
        state: the weights, on any device.
        info: begins with a "format" and a "version"; the SHA-256 of the weights is put behind these.

    Raises:
        OSError: the folder is not writable, or the disk is full.
        ValueError: the weights hold NaN or infinity; nothing is written.
        TypeError, ValueError: JSON cannot hold `info`; nothing is written.
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
    """Read what `write_pair` wrote.

    Args:
        path: the safetensors file, which is there.
        form, version: those that are read.
        holds: what the pair has in it, as messages name it.

    Returns:
        The tensors, and all that is in the JSON.

    Raises:
        FileNotFoundError: the JSON is missing.
        ValueError: a file is damaged, or of another format or version, or they do not belong together. All messages are
            one line that begins with the path.
    """
    info_path = path.with_suffix(".json")
    info, content = _read_info(info_path, path, form, version, holds), _read(path)
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError) as error:  # a KeyError is of a type that torch lacks
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if hashlib.sha256(content).hexdigest() != info.get("sha256"):
        raise ValueError(
            f"{path}: is not the file that {info_path.name} describes; the two are written together, so export or copy "
            "both again"
        )
    return tensors, info


def without_suffix(path: str | Path) -> Path:
    """The path that both files begin with, of either file or of itself."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".safetensors", ".json") else path


def checked_arguments(kind: type[nn.Module], arguments: object, where: str) -> dict[str, Any]:
    """Constructor arguments as they were read, all of which must be there and have the types of the defaults.

    Those with None for a default are not kept in files.

    Args:
        kind: the class.
        arguments: anything.
        where: file and place in it, for the message.

    Raises:
        ValueError: they are not just these.
    """
    parameters = inspect.signature(kind).parameters.values()
    expected = {each.name: type(each.default) for each in parameters if each.default is not None}
    if not isinstance(arguments, dict) or {key: type(value) for key, value in arguments.items()} != expected:
        wanted = ", ".join(f"{key} ({value.__name__})" for key, value in expected.items())
        raise ValueError(f"{where}: expected just {wanted}; got {arguments}")
    return arguments


def filled(build: Callable[[], _Network], tensors: Mapping[str, Tensor], path: Path) -> _Network:
    """A network from its description, with the weights that were read from `path`, in evaluation mode.

    It is first built without content, since a description can be of a network of any size, and only built in earnest
    if the weights are its own. The global random state is left as it was.

    Args:
        build: makes the network.
        tensors: the weights.
        path: of the safetensors file; the description is in the JSON beside it.

    Raises:
        ValueError: `build` fails, in whatever way, or the weights are not those of the network. One line.
    """
    try:
        with Outline():
            expected: dict[str, Tensor] = build().state_dict()
    except Exception as error:  # the libraries below raise whatever they like
        reason = " ".join(str(error).split())
        raise ValueError(f"{path.with_suffix('.json')}: no network can be built from this ({reason})") from error
    _check(expected, tensors, path)
    # Fresh networks draw random numbers, which no caller expects of reading a file.
    with torch.random.fork_rng(devices=[]):
        network = build()
    network.load_state_dict(tensors)
    return network.eval()


class Outline(TorchFunctionMode):
    """Where networks are built in next to no memory: tensors have a shape but no content.

    Those that constructors calculate with have it: on torch's own "meta" device, which is for all tensors, some
    encoders cannot be built.

    Raises:
        ValueError: a network makes more than `MAX_TENSORS`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, unless it fills memory: encoders make a few tensors without these functions."""
        if function in _FILL:
            return args[0]
        if function in _MAKE:
            self.made += 1
            if self.made > MAX_TENSORS:
                raise ValueError(f"it has more than {MAX_TENSORS} tensors")
            kwargs = {**(kwargs or {}), "device": "meta"}
        return function(*args, **(kwargs or {}))


def _check(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not those of a network."""
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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_info(path: Path, tensors: Path, form: str, version: str, holds: str) -> dict[str, Any]:
    """The JSON that tells how to build the networks."""
    try:
        content = _read(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; it belongs to {tensors.name}, so copy both") from error
    try:
        info = parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(info, dict) or info.get("format") != form:
        raise ValueError(f"{path}: describes no {holds} (not written by fastgs)")
    if info.get("version") != version:
        raise ValueError(f"{path}: is of version {info.get('version')!r}; this fastgs reads version {version!r}")
    return info
