"""Files of linear light: Radiance (.hdr), and EXR with the extra `fastgs[hdr]`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastgs.io.pixels import Floats, UnsupportedError


def write_radiance(path: Path, light: Floats, alpha: bool) -> None:
    """Write (H, W, 1 or 3) light as a Radiance file; gray becomes three equal channels.

    A pixel has 8 bits per channel and a common exponent, to which light is rounded.
    """
    import imagecodecs

    colors = np.repeat(light, 3, axis=2) if light.shape[2] == 1 else light
    brightest = colors.max(axis=2, keepdims=True)
    # The library cuts mantissas of 8 bits off instead of rounding them.
    _, exponent = np.frexp(brightest)
    step = np.ldexp(np.float32(1), exponent - 8)
    rounded = np.where(brightest > 0, np.minimum(np.rint(colors / step), 255) * step, 0).astype(np.float32)
    path.write_bytes(imagecodecs.rgbe_encode(np.ascontiguousarray(rounded)))


def _import_openexr() -> Any:
    """Import the library for EXR files, which is optional."""
    try:
        return importlib.import_module("OpenEXR")
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
