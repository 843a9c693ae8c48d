"""The work of `fastgs view`: files become pictures of a page, which is written or served."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from fastgs.cli.coding import FGS, GAUSSIANS, read_fgs, read_safetensors
from fastgs.cli.console import FAILED, Failures, Parser, announce, check_outputs, identities, reporting
from fastgs.cli.progress import fit_progress
from fastgs.cli.serving import serve
from fastgs.codec import SCHEMES, decode_arrays, read_frame
from fastgs.codec.frame import MAGIC
from fastgs.codec.layer import decode_layers
from fastgs.io.finding import PICTURE_SUFFIXES, find_images
from fastgs.io.pixels import ImageError
from fastgs.io.samples import Samples
from fastgs.page import PagePicture, make_page, write_page
from fastgs.runtime.lazy import importing


def view(parser: Parser, arguments: argparse.Namespace) -> int:
    """Make a page of every file that can be shown, write or serve it, and return the exit code."""
    failures = Failures(parser)
    paths: list[Path] = []
    for each in arguments.files:
        with reporting(each, failures):
            paths += find_images(each, PICTURE_SUFFIXES | {FGS, GAUSSIANS})
    pictures: list[PagePicture] = []
    for path in paths:
        with reporting(path, failures):
            pictures.append(_read(path, arguments, len(paths) > 1))
    if not pictures:
        return FAILED
    if arguments.output is None:
        serve(make_page(pictures), not arguments.no_open)
        return FAILED if failures else 0
    with reporting(arguments.output, failures):
        check_outputs([arguments.output], identities(paths))
        write_page(arguments.output, pictures)
        size = arguments.output.stat().st_size
        with reporting("standard output", failures):
            count = f"{len(pictures)} pictures" if len(pictures) > 1 else pictures[0].name
            announce(f"{count} -> {arguments.output}  {size} bytes")
    return FAILED if failures else 0


def _read(path: Path, arguments: argparse.Namespace, several: bool) -> PagePicture:
    """Return a file as a picture of the page.

    Raises:
        ValueError: The file or its original cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == FGS:
        picture = make_fgs_picture(path.name, read_fgs(path))
    elif suffix == GAUSSIANS:
        picture = PagePicture(path.name, read_safetensors(path), size=path.stat().st_size)
    else:
        return _fit(path, arguments)
    original = _find_original(path, arguments.original, several)
    return picture if original is None else replace(picture, original=_read_original(original, picture))


def make_fgs_picture(name: str, data: bytes) -> PagePicture:
    """Return a .fgs file as a picture of a page.

    Args:
        name: Name that is shown.
        data: Bytes of the file.

    Raises:
        FormatError: The file is damaged or not known.
    """
    frame = read_frame(data)
    scheme = SCHEMES[frame.scheme]
    counts: list[int] = []
    ends: list[int] = []
    if frame.scheme == "fastgs":
        layers = decode_layers(frame.layers, (frame.height, frame.width), frame.channels, frame.symbols)
        counts = [sum(len(layer.symbols) for layer in layers[: number + 1]) for number in range(len(layers))]
        # A layer ends with its payload and two bytes of checksum.
        end = 0
        for layer in frame.layers:
            end = data.index(layer, end) + len(layer) + 2
            ends.append(end)
    facts = {"Scheme": frame.scheme, "Format": f"version {data[len(MAGIC)]}"}
    if frame.symbols is not None:
        facts["Symbols"] = f"model {frame.symbols}"
    return PagePicture(
        name,
        decode_arrays(data),
        # Only this scheme is one that the page reads itself.
        file=data if frame.scheme == "fastgs" else None,
        size=len(data),
        layer_counts=tuple(counts),
        layer_bytes=tuple(ends),
        bits=scheme.bit_breakdown(frame),
        facts=facts,
    )


def _fit(path: Path, arguments: argparse.Namespace) -> PagePicture:
    """Fit an image."""
    with importing():
        from fastgs.methods.page import make_picture  # deferred: brings in torch
        from fastgs.predictor import Predictor
    with fit_progress(path.name, arguments.iterations, None) as callback:
        result = Predictor()(path, arguments.num_gaussians, arguments.iterations, callback=callback)
    return make_picture(result, path.name)


def _find_original(path: Path, given: Path | None, several: bool) -> Path | None:
    """Return the original of a file of Gaussians: the image that was given, or that of its name in a folder."""
    if given is None:
        return None
    if not given.is_dir():
        if several:
            raise ValueError("--original names one image for several files; name a folder of images")
        return given
    found = [image for image in find_images(given, PICTURE_SUFFIXES) if image.stem == path.stem]
    if not found:
        raise ValueError(f"has no original in {given}; expected an image of the name {path.stem}")
    return found[0]


def _read_original(path: Path, picture: PagePicture) -> Samples:
    """Return an image to compare with."""
    with importing():
        from fastgs.io.picture import read_picture  # deferred: brings in torch
        from fastgs.methods.page import make_original
    image = read_picture(path)
    wanted = picture.gaussians.width, picture.gaussians.height
    if (image.width, image.height) != wanted:
        raise ImageError(
            f"its original {path} is {image.width} x {image.height} pixels and the canvas {wanted[0]} x {wanted[1]}; "
            "give the image that was fitted"
        )
    original = make_original(image.values, image.alpha)
    if original is None:
        raise ImageError(f"its original {path} has {image.channels} channels; expected gray or RGB, with alpha or not")
    return original
