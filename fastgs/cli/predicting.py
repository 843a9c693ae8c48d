"""The work of `fastgs predict`: pictures are read, fitted, and written with their report."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from fastgs.cli.console import Parser, fit_progress
from fastgs.cli.images import Done, Job
from fastgs.fitting.options import FIT_OPTIONS
from fastgs.io.picture import Picture, read_picture
from fastgs.io.pixels import ALPHA_CHANNELS
from fastgs.io.stack import read_stack
from fastgs.io.writing import choose_suffix, write_picture
from fastgs.methods.report import describe
from fastgs.predictor import Predictor, Result


def check_networks(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if the networks cannot be had."""
    _load_predictor.cache_clear()  # the files may be others than those of an earlier run in this process
    option = "--zoom-weights"
    try:
        Predictor(zoom_weights=arguments.zoom_weights)
        option = "--init" if arguments.weights is None else "--weights"
        _load_predictor(arguments.init, arguments.weights, arguments.zoom_weights)
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"argument {option}: {error}")


def plan(arguments: argparse.Namespace, paths: list[Path], label: str) -> Job:
    """Prepare the fit of an image, or of several as a stack."""
    predictor = _load_predictor(arguments.init, arguments.weights, arguments.zoom_weights)
    taken = ("num_gaussians", "seed", "zoom", "blend", *FIT_OPTIONS)  # the picture has its size and background already
    options = {name: getattr(arguments, name) for name in taken}
    source = _read(paths, arguments)
    outputs = _name_outputs(source, arguments)

    def run() -> Done:
        with fit_progress(label, arguments.iterations, arguments.seconds) as callback:
            result = predictor(source.picture, **options, callback=callback)
            record = describe(
                result,
                image=paths[0],
                init=predictor.init,
                weights=predictor.weights,
                zoom_weights=predictor.zoom_weights,
                seed=arguments.seed,
                loss=arguments.loss,
                target_psnr=arguments.target_psnr,
            )
            if arguments.stack:
                record["stack"] = [str(each) for each in paths]
            _write(outputs, result, source, arguments)
        output = outputs[len(source.parts)] if arguments.stack else outputs[0]
        subject = f"{len(paths)} images" if len(paths) > 1 else str(paths[0])
        return Done(_format_line(subject, output, result, arguments.target_psnr), record)

    return Job(outputs, run)


@lru_cache(maxsize=1)
def _load_predictor(init: str | None, weights: str | None, zoom_weights: str | None) -> Predictor:
    """Return the predictor of a run, which is made once in each process."""
    return Predictor(init, weights, zoom_weights)


@dataclass(frozen=True)
class _Input:
    """Picture to fit, and the images that its channels are of.

    Attributes:
        picture: All channels.
        names: Paths of the images.
        parts: Channels of each image.
    """

    picture: Picture
    names: list[Path]
    parts: list[slice]


def _read(paths: list[Path], arguments: argparse.Namespace) -> _Input:
    """Read an image, or several as a stack; what PNG cannot hold is seen before the fit."""
    if arguments.stack:
        picture, parts = read_stack(paths, arguments.size, arguments.keep_profile)
        return _Input(picture, paths, parts)
    picture = read_picture(paths[0], arguments.size, arguments.background, arguments.keep_profile)
    return _Input(picture, paths, [slice(None)])


def _names_file(arguments: argparse.Namespace) -> bool:
    """Return whether the output is the file of the Gaussians of a stack."""
    return bool(arguments.stack and arguments.output.suffix == ".safetensors")


def _name_outputs(source: _Input, arguments: argparse.Namespace) -> list[Path]:
    """Return the files of an image: Gaussians, one reconstruction of each image, and, if asked for, figure and page."""
    stem, folder = source.names[0].stem, arguments.output
    if _names_file(arguments):
        stem, folder = arguments.output.stem, arguments.output.parent
    elif arguments.stack:
        stem = f"{stem}-stack"
    names = [f"{stem}-{each.stem}" for each in source.names] if arguments.stack else [stem]
    images = [
        f"{name}{choose_suffix(_part(source.picture, channels), arguments.bits)}"
        for name, channels in zip(names, source.parts, strict=True)
    ]
    plots = [f"{stem}-plots.png"] if arguments.plots else []
    plots += [f"{stem}.html"] if arguments.html else []
    return [folder / name for name in [*images, f"{stem}.safetensors", *plots]]


def _part(picture: Picture, channels: slice) -> Picture:
    """Return the channels of one image of a stack, whose alpha is a plain channel; the whole picture otherwise."""
    if channels == slice(None):
        return picture
    values = picture.values[channels]
    return replace(picture, values=values, alpha=picture.range == (0.0, 1.0) and len(values) in ALPHA_CHANNELS)


def _write(outputs: list[Path], result: Result, source: _Input, arguments: argparse.Namespace) -> None:
    """Write all files of an image, or none: they are made in a folder beside, then moved."""
    with tempfile.TemporaryDirectory(dir=outputs[0].parent, prefix=".fastgs-") as folder:
        staged = [Path(folder) / output.name for output in outputs]
        count = len(source.parts)
        for path, channels in zip(staged[:count], source.parts, strict=True):
            write_picture(path, _part(result.reconstruction, channels), bits=arguments.bits, straight=arguments.stack)
        result.gaussians.save(staged[count])
        for plot in staged[count + 1 :]:
            if plot.suffix == ".html":
                from fastgs.methods.page import make_picture
                from fastgs.page import write_page

                write_page(plot, [make_picture(result, source.names[0].name)])
                continue
            # Deferred: brings in matplotlib, which few runs need.
            from fastgs.visualize import save_figure

            save_figure(
                plot, result.target, result.image, result.gaussians, initial=result.initial, history=result.history
            )
        moved: list[Path] = []
        try:
            for staged_file, output in zip(staged, outputs, strict=True):
                os.replace(staged_file, output)
                moved.append(output)
        except OSError:
            for output in moved:
                output.unlink(missing_ok=True)
            raise


def _format_line(subject: str, output: Path, result: Result, target_psnr: float | None) -> str:
    """Return the line about an image that is done."""
    seconds = result.seconds_init + result.seconds_fit
    quality = f"{result.psnr:.2f} dB"
    if result.psnr_small is not None:  # the target is an estimate, and only the image is known
        _, height, width = result.target.shape
        quality = f"{width} x {height}, {result.psnr_small:.2f} dB when reduced"
    line = f"{subject} -> {output}  {quality}  {len(result.gaussians)} Gaussians  {seconds:.1f} s"
    missed = 0.1 if result.trials else 0.0  # dB by which a number of Gaussians for a PSNR may miss it
    if target_psnr is not None and result.psnr < target_psnr - missed:
        line += f"  (below the target of {target_psnr:g} dB)"
    return line
