"""The container of a fitted image: K anisotropic 2D Gaussians on a canvas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fastgs.io.files import atomic_write, sorted_header

Blend = Literal["normalized", "sum"]

# Number of colour channels of an image.
CHANNELS = 3
# Smallest standard deviation in pixels that a heuristic, a network or a fit gives a Gaussian. A thinner one falls
# between the pixel centres: it sees no pixel and costs nothing at the fitted size, but shows as a hairline in a larger
# image.
MIN_SCALE = 0.3

FORMAT = "fastgs.gaussians"
VERSION = "1"
_COLUMNS = {"means": 2, "scales": 2, "rotations": None, "colors": CHANNELS}


@dataclass(frozen=True, eq=False)
class Gaussians:
    """K Gaussians `G_k(x) = exp(-1/2 (x - mu)^T Sigma^-1 (x - mu))`, `Sigma = R(theta) diag(s)^2 R(theta)^T`.

    Attributes:
        means: (K, 2) centres x, y in pixels; pixel (row i, column j) has its centre at (j + 0.5, i + 0.5).
        scales: (K, 2) standard deviations in pixels, positive, along the two axes of the ellipse.
        rotations: (K,) angle of the first axis in radians, from +x towards +y (down).
        colors: (K, 3) RGB; any real number, an image in [0, 1] gives values near [0, 1] under the normalized rule.
        height, width: the canvas in pixels that means and scales refer to.
        blend: the rule the Gaussians were fitted with, "normalized" or "sum" (see `fastgs.render`).

    Raises:
        ValueError: a tensor has the wrong shape, is not floating point, holds NaN or infinity, or a scale is not
            positive; height or width is below 1; the rule is unknown.
    """

    means: Tensor
    scales: Tensor
    rotations: Tensor
    colors: Tensor
    height: int
    width: int
    blend: Blend = "normalized"

    def __post_init__(self) -> None:
        for name, columns in _COLUMNS.items():
            tensor = getattr(self, name)
            if not isinstance(tensor, Tensor):
                raise ValueError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
            if self.means.ndim != 2:
                raise ValueError(f"means: expected shape (K, 2), got {tuple(self.means.shape)}")
            expected = (len(self.means),) if columns is None else (len(self.means), columns)
            if tuple(tensor.shape) != expected:
                raise ValueError(f"{name}: expected shape {expected}, got {tuple(tensor.shape)}")
            if not tensor.is_floating_point():
                raise ValueError(f"{name}: expected floating point, got {tensor.dtype}")
            if tensor.device != self.means.device or tensor.dtype != self.means.dtype:
                raise ValueError(
                    f"{name}: is {tensor.dtype} on {tensor.device}, means {self.means.dtype} on {self.means.device}"
                )
            if not torch.isfinite(tensor).all():
                raise ValueError(f"{name}: holds NaN or infinity")
        if not (self.scales > 0).all():
            raise ValueError("scales: must be positive")
        for name in ("height", "width"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}: expected an integer of at least 1, got {size!r}")
        if self.blend not in get_args(Blend):
            raise ValueError(f"blend: expected one of {', '.join(get_args(Blend))}, got {self.blend!r}")

    def __len__(self) -> int:
        return len(self.means)

    def to(self, *args: Any, **kwargs: Any) -> Gaussians:
        """The same Gaussians with every tensor moved or cast as by `torch.Tensor.to`."""
        return replace(self, **{name: getattr(self, name).to(*args, **kwargs) for name in _COLUMNS})

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: the four tensors; canvas, rule and version in its metadata. Atomic."""
        # Copies, since safetensors refuses tensors that share memory.
        tensors = {
            name: getattr(self, name).detach().cpu().clone(memory_format=torch.contiguous_format) for name in _COLUMNS
        }
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "height": str(self.height),
            "width": str(self.width),
            "blend": self.blend,
        }
        with atomic_write(path) as temporary:
            temporary.write_bytes(sorted_header(safetensors.torch.save(tensors, metadata)))

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Gaussians:
        """Read what `save` wrote.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is no safetensors file, not one of Gaussians, of an unknown version, or inconsistent;
                the message begins with the path.
        """
        try:
            with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ValueError("holds no Gaussians (not written by fastgs)")
                if metadata.get("version") != VERSION:
                    raise ValueError(
                        f"is of version {metadata.get('version')!r}; this fastgs reads version {VERSION!r}"
                    )
                missing = set(_COLUMNS) - set(file.keys())
                if missing:
                    raise ValueError(f"lacks {', '.join(sorted(missing))}")
                tensors = {name: file.get_tensor(name) for name in _COLUMNS}
            return cls(
                **tensors,
                height=int(metadata["height"]),
                width=int(metadata["width"]),
                blend=metadata["blend"],
            )
        except (safetensors.SafetensorError, RuntimeError) as error:  # torch can read more types than compare
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
        except KeyError as error:  # of the metadata, or of a type of numbers that torch lacks
            raise ValueError(f"{path}: has an improper or no {error.args[0]}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
