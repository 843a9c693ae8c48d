"""The container of a fitted image: K anisotropic 2D Gaussians on a canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fastgs.definition import CHANNELS as CHANNELS
from fastgs.definition import CUTOFF, EPSILON, FADE_START, GaussianArrays, check_blend
from fastgs.definition import MIN_SCALE as MIN_SCALE
from fastgs.definition import Blend as Blend
from fastgs.io.files import atomic_write, parse_json, sorted_header
from fastgs.io.pixels import ALPHA_CHANNELS, MAX_CHANNELS

# Number of points that `Gaussians.sample` evaluates at a time.
CHUNK = 1024

FORMAT = "fastgs.gaussians"
VERSION = "2"
READABLE_VERSIONS = ("1", "2")  # version 1 has three channels and no alpha
_TENSORS = ("means", "scales", "rotations", "colors")


@dataclass(frozen=True, eq=False)
class Gaussians:
    """K anisotropic 2D Gaussians on a canvas.

    The constructor looks at all values, which on a GPU waits until the work before is done; `unchecked` does not.

    Gaussian k is `G_k(x) = exp(-1/2 (x - mu)^T Sigma^-1 (x - mu))` with `Sigma = R(theta) diag(s)^2 R(theta)^T`. The
    object is immutable. Its tensors share one floating-point dtype and one device, and may require gradients.

    Attributes:
        means: (K, 2) centres x, y in pixels. Pixel (row i, column j) has its centre at x = j + 0.5, y = i + 0.5.
        scales: (K, 2) standard deviations in pixels, positive, along the two axes of the ellipse.
        rotations: (K,) angles of the first axis in radians, from +x towards +y (down).
        colors: (K, C) colours, any real numbers, with C from 1 to 32: gray (1), RGB (3), either of them with alpha as
            the last channel (2, 4), or any stack of channels. Under the normalized rule, an image in [0, 1] gives
            values near [0, 1].
        height: Height in pixels of the canvas that means and scales refer to.
        width: Width in pixels of that canvas.
        blend: Rule that the Gaussians were fitted with, "normalized" or "sum" (`fastgs.render` has the equations).
        alpha: True if the last channel is opacity and the other ones are multiplied by it (C = 2 or 4).

    Raises:
        ValueError: A tensor has the wrong shape, is not floating point, differs from the means in dtype or device, or
            holds NaN or infinity; a scale is not positive; the height or the width is not an integer of at least 1;
            the rule is unknown; or alpha is true for another number of channels than 2 or 4.

    Example:
        gaussians = fastgs.Gaussians(means, scales, rotations, colors, height=512, width=768)
        image = fastgs.render(gaussians)
    """

    means: Tensor
    scales: Tensor
    rotations: Tensor
    colors: Tensor
    height: int
    width: int
    blend: Blend = "normalized"
    alpha: bool = False

    def __post_init__(self) -> None:
        for name in _TENSORS:
            tensor = getattr(self, name)
            if not isinstance(tensor, Tensor):
                raise ValueError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
            if self.means.ndim != 2:
                raise ValueError(f"means: expected shape (K, 2), got {tuple(self.means.shape)}")
            self._check_shape(name, tensor)
            if not tensor.is_floating_point():
                raise ValueError(f"{name}: expected floating point, got {tensor.dtype}")
            if tensor.device != self.means.device or tensor.dtype != self.means.dtype:
                raise ValueError(
                    f"{name}: is {tensor.dtype} on {tensor.device}, means {self.means.dtype} on {self.means.device}"
                )
        for name in ("height", "width"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}: expected an integer of at least 1, got {size!r}")
        check_blend(self.blend)
        if self.alpha and self.channels not in ALPHA_CHANNELS:
            raise ValueError(f"alpha: is the last of 2 or 4 channels, got {self.channels}")
        self._check_values()

    @torch.no_grad()
    def _check_values(self) -> None:
        """Check that all values are finite and scales positive; one look at a GPU, unless something is wrong."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        # A sum is finite if no number is infinite or NaN, unless it overflows; to sum up is ten times as fast.
        facts = [(self.scales > 0).all(), *(each.sum().isfinite() for each in tensors.values())]
        positive, *finite = torch.stack(facts).tolist()
        for (name, tensor), is_finite in zip(tensors.items(), finite, strict=True):
            if not is_finite and not torch.isfinite(tensor).all():
                raise ValueError(f"{name}: holds NaN or infinity")
        if not positive:
            raise ValueError("scales: must be positive")

    @classmethod
    def unchecked(
        cls,
        means: Tensor,
        scales: Tensor,
        rotations: Tensor,
        colors: Tensor,
        height: int,
        width: int,
        blend: Blend = "normalized",
        alpha: bool = False,
    ) -> Gaussians:
        """Return Gaussians without any check of the arguments, which are those of the constructor.

        This is for code that makes Gaussians of valid ones, again and again; who gives them away checks them.
        """
        gaussians = object.__new__(cls)
        gaussians.__dict__.update(
            means=means, scales=scales, rotations=rotations, colors=colors,
            height=height, width=width, blend=blend, alpha=alpha,
        )  # fmt: skip
        return gaussians

    def with_tensors(self, means: Tensor, scales: Tensor, rotations: Tensor, colors: Tensor) -> Gaussians:
        """Return other Gaussians on the same canvas, by the same rule and as little checked as by `unchecked`."""
        return Gaussians.unchecked(means, scales, rotations, colors, self.height, self.width, self.blend, self.alpha)

    def split(self, counts: Sequence[int]) -> list[Gaussians]:
        """Return copies of the first of these Gaussians, of those that follow, and so on, so many each."""
        columns = (getattr(self, name).split(counts) for name in _TENSORS)
        return [self.with_tensors(*(part.clone() for part in parts)) for parts in zip(*columns, strict=True)]

    def _check_shape(self, name: str, tensor: Tensor) -> None:
        count, shape = len(self.means), tuple(tensor.shape)
        if name == "colors":
            if len(shape) != 2 or shape[0] != count or not 1 <= shape[1] <= MAX_CHANNELS:
                raise ValueError(f"colors: expected shape ({count}, 1 to {MAX_CHANNELS}), got {shape}")
        elif shape != (expected := (count,) if name == "rotations" else (count, 2)):
            raise ValueError(f"{name}: expected shape {expected}, got {shape}")

    @property
    def channels(self) -> int:
        """Return C, the number of channels, alpha included."""
        return self.colors.shape[1]

    def __len__(self) -> int:
        return len(self.means)

    def to(self, *args: Any, **kwargs: Any) -> Gaussians:
        """Return the same Gaussians with every tensor moved or cast as by `torch.Tensor.to`.

        Raises:
            ValueError: The new dtype is not floating point, or a value becomes infinite or a scale zero in it.
        """
        moved = {name: getattr(self, name).to(*args, **kwargs) for name in _TENSORS}
        if moved["means"].dtype != self.means.dtype:
            return replace(self, **moved)
        return self.with_tensors(**moved)

    @classmethod
    def from_arrays(cls, arrays: GaussianArrays) -> Gaussians:
        """Return the Gaussians of arrays, on the CPU; the tensors share the memory of the arrays.

        Raises:
            ValueError: The arrays hold what Gaussians cannot.
        """
        tensors = {name: torch.from_numpy(getattr(arrays, name)) for name in _TENSORS}
        return cls(**tensors, height=arrays.height, width=arrays.width, blend=arrays.blend, alpha=arrays.alpha)

    def arrays(self) -> GaussianArrays:
        """Return the Gaussians as float32 arrays, without gradients; those on the CPU may share their memory."""
        fields = {name: getattr(self, name).detach().cpu().float().contiguous().numpy() for name in _TENSORS}
        return GaussianArrays(**fields, height=self.height, width=self.width, blend=self.blend, alpha=self.alpha)

    def sample(self, points: Tensor) -> Tensor:
        """Return the colours at any points of the canvas, without rendering an image.

        They are the values that `fastgs.render` gives at the centres of pixels, for whatever rule the Gaussians have.

        Args:
            points: (P, 2) positions x, y in pixels of the canvas, finite.

        Returns:
            (P, C), not clamped; differentiable in the four tensors and in the points.

        Raises:
            ValueError: The points have another shape, dtype or device than the Gaussians.

        Example:
            colors = gaussians.sample(torch.tensor([[12.25, 7.5]]))  # of one point
        """
        if points.ndim != 2 or points.shape[1] != 2 or points.dtype != self.means.dtype:
            raise ValueError(
                f"points: expected shape (P, 2) of {self.means.dtype}, got {points.dtype} {tuple(points.shape)}"
            )
        if points.device != self.means.device:
            raise ValueError(f"points: are on {points.device}, the Gaussians on {self.means.device}")
        # Points that lie together share the Gaussians that reach them.
        with torch.no_grad():
            rows = max(1, round(math.sqrt(len(points) / CHUNK)))
            cells = (points * (rows / max(self.height, self.width))).floor()
            order = torch.argsort(cells[:, 1] * (2 * rows + 1) + cells[:, 0])
        if not len(points):
            return self.colors.new_zeros(0, self.channels)
        parts = [self._sample_together(points[chunk]) for chunk in torch.split(order, CHUNK)]
        return torch.cat(parts)[torch.argsort(order)]

    def _sample_together(self, points: Tensor) -> Tensor:
        """Return the colours at points that lie together."""
        with torch.no_grad():
            reach = CUTOFF * self.scales.amax(1, keepdim=True)
            near = ((self.means + reach >= points.amin(0)) & (self.means - reach <= points.amax(0))).all(1)
        weight = weights(self.means[near], self.scales[near], self.rotations[near], points)
        colors = weight @ self.colors[near]
        return colors / (weight.sum(1, keepdim=True) + EPSILON) if self.blend == "normalized" else colors

    def save(self, path: str | Path) -> None:
        """Write the Gaussians to a safetensors file.

        The file holds the four tensors in their dtype, and in its metadata the format, its version, the canvas, the
        rule, and whether there is alpha. It is whole or absent, and equal Gaussians give equal bytes.

        Args:
            path: File to write; an existing one is replaced.

        Raises:
            OSError: The folder does not exist or is not writable, or the disk is full.

        Example:
            gaussians.save("photo.safetensors")
            gaussians = fastgs.Gaussians.load("photo.safetensors")
        """
        # Copies, since safetensors refuses tensors that share memory.
        tensors = {
            name: getattr(self, name).detach().cpu().clone(memory_format=torch.contiguous_format) for name in _TENSORS
        }
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "height": str(self.height),
            "width": str(self.width),
            "blend": self.blend,
            "alpha": str(int(self.alpha)),
        }
        with atomic_write(path) as temporary:
            temporary.write_bytes(sorted_header(safetensors.torch.save(tensors, metadata)))

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Gaussians:
        """Read Gaussians from a file that `save` wrote.

        Args:
            path: File to read.
            device: Device of the tensors.

        Raises:
            OSError: The file cannot be opened.
            ValueError: The file is not a safetensors file, holds no Gaussians, is of an unknown version, or is
                inconsistent. The message begins with the path.
        """
        try:
            with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
                return cls._parse(file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (safetensors.SafetensorError, RuntimeError) as error:  # torch can read types that it cannot compare
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
        except KeyError as error:  # a missing entry of the metadata, or a dtype that torch lacks
            raise ValueError(f"{path}: has an improper or no {error.args[0]}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "data") -> Gaussians:
        """Return the Gaussians of the content of a file that `save` wrote, such as a member of an archive.

        Args:
            data: Content of the file.
            name: Name of it, to begin messages with.

        Raises:
            ValueError: The content is what `load` refuses; the message begins with the name.
        """
        try:
            tensors = safetensors.torch.load(data)
            metadata = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
            return cls._parse(metadata, tensors)
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise ValueError(f"{name}: not a readable safetensors file ({error})") from error
        except KeyError as error:
            raise ValueError(f"{name}: has an improper or no {error.args[0]}") from error
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    @classmethod
    def _parse(cls, metadata: dict[str, str], tensors: dict[str, Tensor]) -> Gaussians:
        """Return the Gaussians of the parts of a file.

        Raises:
            ValueError: They are no Gaussians, of an unknown version, or inconsistent.
            KeyError: An entry of the metadata is missing.
        """
        if metadata.get("format") != FORMAT:
            raise ValueError("holds no Gaussians (not written by fastgs)")
        version = metadata.get("version")
        if version not in READABLE_VERSIONS:
            raise ValueError(f"is of version {version!r}; this fastgs reads up to version {VERSION!r}")
        missing = set(_TENSORS) - set(tensors)
        if missing:
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
        return cls(
            **{name: tensors[name] for name in _TENSORS},
            height=int(metadata["height"]),
            width=int(metadata["width"]),
            blend=metadata["blend"],  # type: ignore[arg-type]  # checked by the class
            alpha=metadata.get("alpha", "0") == "1",
        )


def weights(means: Tensor, scales: Tensor, rotations: Tensor, points: Tensor) -> Tensor:
    """Return the weights `w_k(x) = exp(-d^2 / 2) * fade(d^2)`, (P, K), of K Gaussians at points (P, 2).

    `d` is the distance in standard deviations along the axes of the ellipse; `fade` falls linearly in `d^2` from 1 at
    FADE_START to 0 at CUTOFF.
    """
    offset = points[:, None] - means
    cosine, sine = torch.cos(rotations), torch.sin(rotations)
    u = (offset[..., 0] * cosine + offset[..., 1] * sine) / scales[:, 0]
    v = (offset[..., 1] * cosine - offset[..., 0] * sine) / scales[:, 1]
    d2 = u * u + v * v
    fade = (CUTOFF**2 - d2) / (CUTOFF**2 - FADE_START**2)
    return torch.exp(-0.5 * d2) * fade.clamp(0, 1)
