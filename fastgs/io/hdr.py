"""Files of linear light: Radiance (.hdr), and EXR with the extra `fastgs[hdr]`.

A light of 1 is taken as diffuse white. The primaries are those of sRGB unless the file states others.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastgs.io.pixels import SRGB, Encoding, Floats, Pixels, UnsupportedError, check_light, check_pixels
from fastgs.io.profiles import is_valid

LIBRARY = "OpenEXR"  # of the extra `fastgs[hdr]`
_RGBE = b"32-bit_rle_rgbe"
_RESOLUTION = re.compile(rb"(([-+])[XY]) (\d+) (([-+])[XY]) (\d+)")


def is_radiance(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a Radiance picture."""
    return head.startswith((b"#?RADIANCE", b"#?RGBE"))


def is_exr(head: bytes) -> bool:
    """Tell by its first bytes whether a file is an EXR file."""
    return head.startswith(b"\x76\x2f\x31\x01")


def read_radiance(data: bytes) -> Pixels:
    """Decode a Radiance picture as it is to be seen: an EXPOSURE that was applied to it is not undone.

    Raises:
        UnsupportedError: The file has no whole header, or its colours are not RGBE.
        Image.DecompressionBombError: The image has more pixels than Pillow allows.
        ValueError: The file is damaged.
    """
    import imagecodecs

    head, _, rest = data.partition(b"\n\n")
    resolution, _, body = rest.partition(b"\n")
    axes = _RESOLUTION.fullmatch(resolution.strip())
    if axes is None:
        raise UnsupportedError("has no whole header; get a whole copy of it")
    fields = dict(line.split(b"=", 1) for line in head.split(b"\n") if b"=" in line and not line.startswith(b"#"))
    kind = fields.get(b"FORMAT", _RGBE).strip()
    if kind != _RGBE:
        raise UnsupportedError(f"has colours of kind {kind.decode('ascii', 'replace')}; convert it to RGBE or EXR")
    rows, columns = int(axes[3]), int(axes[6])
    check_pixels(columns, rows)
    light: Floats = np.empty((rows, columns, 3), np.float32)
    imagecodecs.rgbe_decode(body, header=False, rle=True, out=light)
    # Rows come first in the file. Usual are "-Y height +X width": from the top down, from left to right.
    light = light[:: 1 if axes[1] in (b"-Y", b"+X") else -1, :: 1 if axes[4] in (b"+X", b"-Y") else -1]
    if axes[1][1:] == b"X":
        light = light.swapaxes(0, 1)
    return Pixels(light, profile=_read_primaries(fields.get(b"PRIMARIES")), depth=32, linear=True)


def _read_primaries(text: bytes | None) -> Encoding | None:
    """Return the encoding of eight chromaticities in the order red, green, blue, white."""
    try:
        numbers = tuple(float(each) for each in (text or b"").split())
    except ValueError:
        return None
    return _encode(numbers) if len(numbers) == 8 else None


def _encode(numbers: tuple[float, ...]) -> Encoding | None:
    """Return the encoding of chromaticities in the order red, green, blue, white; None if they are those of sRGB."""
    chromaticities = (*numbers[6:], *numbers[:6])
    if np.allclose(chromaticities, SRGB, rtol=0, atol=1e-3) or not is_valid(chromaticities):
        return None
    return Encoding(1.0, chromaticities)


def read_exr(path: str | Path) -> Pixels:
    """Read the gray or RGB channels of an EXR file, and alpha, all in its data window.

    Raises:
        UnsupportedError: OpenEXR is missing, or the file has no channels R, G, B or Y in full size.
        Image.DecompressionBombError: The image has more pixels than Pillow allows.
        RuntimeError: The file is damaged.
    """
    module = _import_openexr()
    low, high = module.File(str(path), header_only=True).header()["dataWindow"]
    check_pixels(int(high[0]) - int(low[0]) + 1, int(high[1]) - int(low[1]) + 1)
    file = module.File(str(path), separate_channels=True)
    channels = file.channels()
    names = next((names for names in ("RGB", "Y") if all(name in channels for name in names)), None)
    if names is None:
        raise UnsupportedError(f"has channels {', '.join(sorted(channels))[:80]} instead of R, G, B or Y; rename them")
    if any(channels[name].xSampling != 1 or channels[name].ySampling != 1 for name in names) or "RY" in channels:
        raise UnsupportedError("has channels of different sizes; save R, G and B")
    planes = [channels[name].pixels for name in names]
    if any(plane.dtype.kind != "f" for plane in planes):
        raise UnsupportedError("holds integers instead of light; save floats")
    light = np.stack(planes, axis=2).astype(np.float32)
    check_light(light)
    alpha = channels["A"].pixels.astype(np.float32).clip(0, 1) if "A" in channels else None
    stated = tuple(float(each) for each in file.header().get("chromaticities", ()))
    depth = 8 * planes[0].dtype.itemsize
    profile = _encode(stated) if len(stated) == 8 else None
    return Pixels(light, alpha, alpha is not None, profile, depth, linear=True)


def write_radiance(path: Path, light: Floats, alpha: bool) -> None:
    """Write (H, W, 1 or 3) light as a Radiance file; gray becomes three equal channels.

    A pixel has 8 bits per channel and a common exponent, to which light is rounded.
    """
    import imagecodecs

    colors = np.repeat(light, 3, axis=2) if light.shape[2] == 1 else light
    brightest = colors.max(axis=2, keepdims=True)
    # The library cuts mantissas of 8 bits off instead of rounding them.
    _, exponent = np.frexp(brightest)
    exponent += np.rint(np.ldexp(brightest, 8 - exponent)) > 255
    step = np.ldexp(np.float32(1), exponent - 8)
    rounded = np.where(brightest > 0, np.rint(colors / step) * step, 0).astype(np.float32)
    path.write_bytes(imagecodecs.rgbe_encode(np.ascontiguousarray(rounded)))


def _import_openexr() -> Any:
    """Import the library for EXR files, which is optional."""
    try:
        return importlib.import_module(LIBRARY)
    except ImportError as error:
        raise UnsupportedError("EXR needs the library OpenEXR; run pip install 'fastgs[hdr]'") from error


def write_exr(path: Path, light: Floats, alpha: bool) -> None:
    """Write (H, W, C) light as an EXR file of 32-bit floats; its colours are multiplied by alpha, as EXR has them."""
    module = _import_openexr()
    colors = light[..., :-1] * light[..., -1:] if alpha else light
    names = "Y" if colors.shape[2] == 1 else "RGB"
    channels: dict[str, Any] = {name: np.ascontiguousarray(colors[..., index]) for index, name in enumerate(names)}
    if alpha:
        channels["A"] = np.ascontiguousarray(light[..., -1])
    header = {"compression": module.ZIP_COMPRESSION, "type": module.scanlineimage}
    module.File(header, channels).write(str(path))


WRITERS: dict[str, Callable[[Path, Floats, bool], None]] = {".hdr": write_radiance, ".exr": write_exr}
