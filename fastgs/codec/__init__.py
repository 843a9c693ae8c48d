"""Gaussians as files: `encode` an image, `decode` a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastgs.codec.channels import Channels
from fastgs.codec.frame import CODES, FIRST_PRIVATE_CODE, LAST_CODE, MAX_SIDE, FormatError, Frame, read_frame
from fastgs.codec.restoration_entry import Restoration
from fastgs.codec.scheme import ArrayScheme, Encoded, EncodeOptions, GradedScheme, Scheme, TunedScheme
from fastgs.codec.tuning import DEFAULT_TUNE, check_tune
from fastgs.definition import CHANNELS, GaussianArrays
from fastgs.runtime.lazy import lazy_names
from fastgs.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from fastgs.codec.rate import RateError
    from fastgs.fitting.fit import Callback
    from fastgs.gaussians import Gaussians
else:
    __getattr__, __dir__ = lazy_names(__name__, {"RateError": "fastgs.codec.rate"})

__all__ = [
    "DEFAULT",
    "MAX_BPP",
    "SCHEMES",
    "Channels",
    "Encoded",
    "FormatError",
    "Frame",
    "RateError",
    "Restoration",
    "Scheme",
    "choose_scheme",
    "decode",
    "decode_arrays",
    "decode_image",
    "encode",
    "read_frame",
    "read_restoration",
    "register_scheme",
]

SCHEMES: Registry[Scheme] = Registry("scheme")


def _declare(name: str, place: str, code: int) -> None:
    """Add a scheme of this package; its code in files, below 128, is never used for another one."""
    SCHEMES.declare(name, place)
    CODES.register(name, code)


_declare("fastgs", "fastgs.codec.fastgs:SCHEME", code=0)
_declare("gaussianimage", "fastgs.codec.gaussianimage:SCHEME", code=1)
_declare("gaussianimage-plus", "fastgs.codec.gaussianimage_plus:SCHEME", code=2)
DEFAULT = "fastgs"  # scheme that writes files unless another is named

# Bits per pixel of an RGB image of 8 bits, and as many for each channel of others; no file of Gaussians is worth more.
MAX_BPP = 24.0


def register_scheme(scheme: Scheme, code: int) -> None:
    """Add a scheme from outside this package, for `encode`, `decode` and the command line.

    Args:
        scheme: Scheme under a new name.
        code: Number from 128 to 255 that stands for the scheme in its files.

    Raises:
        ValueError: The name or the code is taken, or the code is out of range.
    """
    if not FIRST_PRIVATE_CODE <= code <= LAST_CODE or code in CODES.values():
        raise ValueError(f"code: expected a free one from {FIRST_PRIVATE_CODE} to {LAST_CODE}, got {code}")
    SCHEMES.register(scheme.name, scheme)
    CODES.register(scheme.name, code)


def choose_scheme(name: str = DEFAULT, effort: int | None = None, tune: str = DEFAULT_TUNE) -> Scheme:
    """Return a scheme by its name, with an encoder of the given effort, by default the scheme's own.

    Args:
        name: Name in `SCHEMES`.
        effort: Effort; None for that of the scheme.
        tune: Measure that files are made for, "psnr" or "ssim".

    Raises:
        ValueError: There is no such scheme, or it has no such effort or measure; one line that begins with "scheme: ",
            "effort: " or "tune: ".
    """
    SCHEMES.check("scheme", name)
    check_tune(tune)
    scheme = SCHEMES[name]
    if effort is not None:
        if not isinstance(scheme, GradedScheme):
            raise ValueError(f"effort: the scheme {name!r} has none; give iterations")
        scheme = scheme.with_effort(effort)
    if tune != DEFAULT_TUNE:
        if not isinstance(scheme, TunedScheme):
            raise ValueError(f"tune: the scheme {name!r} has only {DEFAULT_TUNE}")
        scheme = scheme.with_tune(tune)
    return scheme


def encode(
    image: Tensor,
    *,
    alpha: bool = False,
    scheme: str = DEFAULT,
    bpp: float | None = None,
    target_psnr: float | None = None,
    num_gaussians: int | None = None,
    effort: int | None = None,
    tune: str = DEFAULT_TUNE,
    iterations: int | None = None,
    seed: int = 0,
    callback: Callback | None = None,
) -> Encoded:
    """Fit an image and write it as a .fgs file; exactly one of bpp, target_psnr and num_gaussians says how large.

    Args:
        image: (C, H, W) in [0, 1], with C from 1 to 32; the published schemes take RGB only.
        alpha: True if the last channel is opacity and the other ones are multiplied by it (C = 2 or 4). An image that
            is opaque everywhere is written, and comes back, without alpha.
        scheme: Name in `SCHEMES`.
        bpp: Bits per pixel of the whole file: at most as many, and at least 97 % of them.
        target_psnr: PSNR in dB that the decoded image has at least.
        num_gaussians: K, the largest number of Gaussians.
        effort: Time to take for a better image at the same size, from 1, the fastest, to 9; by default that of the
            scheme. Only the scheme "fastgs" has efforts.
        tune: Measure that the file is made for: "psnr", or "ssim", for which errors count less where the image is busy.
            Only the scheme "fastgs" has the latter.
        iterations: Number of steps of each fit, by default that of the effort; several fits may be needed.
        seed: Random seed.
        callback: Callable that gets every new entry of the history of a fit.

    Raises:
        RateError: The image has no such file.
        ValueError: The scheme is unknown, or has no such effort or measure, or no files of such channels; not exactly
            one size is given, or it is not positive.

    Example:
        data = encode(image, bpp=0.3).data
        image = decode_image(data)  # at the size of the canvas
        larger = fastgs.render(decode(data), height=1024, width=1536)
    """
    from fastgs.codec.rate import encode_to_psnr, encode_to_size  # deferred: decoders do without torch

    coder = choose_scheme(scheme, effort, tune)
    sizes = {"bpp": bpp, "target_psnr": target_psnr, "num_gaussians": num_gaussians}
    given = {name: value for name, value in sizes.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"give one of {', '.join(sizes)}, got {' and '.join(given) or 'none'}")
    ((name, value),) = given.items()
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: must be positive and finite, got {value}")
    if max(image.shape[1:]) > MAX_SIDE:
        raise ValueError(f"image: a side of a file's canvas is at most {MAX_SIDE} pixels, got {tuple(image.shape[1:])}")
    if Channels(len(image), alpha).alpha and bool((image[-1] == 1).all()):
        image, alpha = image[:-1], False
    options: EncodeOptions = {"iterations": iterations, "seed": seed, "callback": callback}
    if alpha:
        options["alpha"] = True
    if bpp is not None:
        size = int(min(bpp, MAX_BPP / CHANNELS * len(image)) * image[0].numel() / 8)
        return encode_to_size(coder, image, size, **options)
    if target_psnr is not None:
        return encode_to_psnr(coder, image, target_psnr, **options)
    assert num_gaussians is not None
    return coder.encode(image, num_gaussians, **options)


def decode(data: bytes, partial: bool = False) -> Gaussians:
    """Return the Gaussians of a .fgs file, on the CPU; `fastgs.render` draws them, at any size, without restoration.

    Args:
        data: Bytes of the file.
        partial: True to take a file that is cut, for the best image of what is there: `decode(data[:n], partial=True)`.
            What is missing of the layer that was cut is predicted. The more bytes, the better the image.

    Raises:
        FormatError: The bytes are no .fgs file, or a damaged one, or of a version that is not known; one line.
    """
    frame = read_frame(data, partial)
    return SCHEMES[frame.scheme].decode(frame)


def decode_arrays(data: bytes, partial: bool = False) -> GaussianArrays:
    """Return what `decode` returns as arrays; files of the scheme "fastgs" are read without torch.

    `fastgs.render.cpu_arrays.render` draws them.

    Args:
        data: Bytes of the file.
        partial: True to take a file that is cut, see `decode`.

    Raises:
        FormatError: The bytes are no .fgs file, or a damaged one, or of a version that is not known; one line.
    """
    frame = read_frame(data, partial)
    scheme = SCHEMES[frame.scheme]
    return scheme.decode_arrays(frame) if isinstance(scheme, ArrayScheme) else scheme.decode(frame).arrays()


def decode_image(data: bytes, partial: bool = False) -> Tensor:
    """Return the image of a .fgs file at the size of its canvas, restored if the file asks for it.

    Args:
        data: Bytes of the file.
        partial: True to take a file that is cut, see `decode`; such a file is not restored.

    Returns:
        (C, H, W) float32, not clamped.

    Raises:
        FormatError: The bytes are no .fgs file, or a damaged one, or of a version that is not known; one line.
    """
    import torch  # deferred: other functions do without

    from fastgs.render.cpu_arrays import render

    gaussians, restoration = decode_arrays(data, partial), read_restoration(data, partial)
    if restoration is None:
        return torch.from_numpy(render(gaussians, gaussians.height, gaussians.width))
    from fastgs.codec.restoration import draw

    return torch.from_numpy(draw(gaussians, restoration))


def read_restoration(data: bytes, partial: bool = False) -> Restoration | None:
    """Return the entry of a .fgs file that `fastgs.codec.restoration.draw` takes; None if it has none, or is cut."""
    frame = read_frame(data, partial)
    return frame.restoration if frame.whole else None
