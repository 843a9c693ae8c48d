"""The work of `fastgs predict`: pictures are read, fitted, and written with their report."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from fastgs.cli.console import Parser
from fastgs.cli.progress import fit_progress
from fastgs.cli.work import Done, Job
from fastgs.cli.workers import count_pixels
from fastgs.distributed.fit import Fit, load_predictor
from fastgs.fitting.fit import MOST_ALONE
from fastgs.fitting.options import FIT_OPTIONS
from fastgs.io.checkpoints import sha256_of
from fastgs.io.picture import Picture, read_picture
from fastgs.io.pixels import ALPHA_CHANNELS, ImageError
from fastgs.io.places import Place
from fastgs.io.stack import read_stack
from fastgs.io.weights import find_weights
from fastgs.io.writing import choose_suffix, write_picture
from fastgs.jobs.sources import Source
from fastgs.methods.report import describe
from fastgs.predictor import Predictor, Result


def check_networks(parser: Parser, arguments: argparse.Namespace) -> list[str]:
    """Return the SHA-256 of the networks of a run; end with one line if they cannot be had."""
    load_predictor.cache_clear()  # the files may be others than those of an earlier run in this process
    option = "--zoom-weights"
    try:
        Predictor(zoom_weights=arguments.zoom_weights)
        option = "--init" if arguments.weights is None else "--weights"
        predictor = load_predictor(arguments.init, arguments.weights, arguments.zoom_weights)
        names = [name for name in (predictor.weights, predictor.zoom_weights) if name is not None]
        return [sha256_of(find_weights(name)) for name in names]
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"argument {option}: {error}")


class _Prepared(NamedTuple):
    """An image that was fitted with others.

    Attributes:
        source: Picture.
        result: Result of the fit.
    """

    source: _Input
    result: Result


# Images that were fitted at once, until the plan of each takes its own.
_prepared: dict[Source, _Prepared] = {}


def prepare(arguments: argparse.Namespace, sources: list[Source]) -> Collection[Source]:
    """Fit those of several images that can be read, and return them; the others are reported when they are planned.

    Without `--batch` they are those that a CPU is faster with when it fits several. If one cannot be fitted, none is:
    it tells what is wrong when it is fitted alone.
    """
    _prepared.clear()
    if arguments.batch is None:
        sources = [each for each in sources if _is_small(each, arguments.size)]
    if len(sources) == 1:
        return ()
    inputs: dict[Source, _Input] = {}
    for source in sources:
        with suppress(ImageError, OSError):
            inputs[source] = _read([source], arguments)
    if inputs:
        predictor = load_predictor(arguments.init, arguments.weights, arguments.zoom_weights)
        names = ("num_gaussians", "iterations", "seed", "blend", "backend")
        options = {name: getattr(arguments, name) for name in names}
        with suppress(ValueError, MemoryError, RuntimeError):
            results = predictor.batch([each.picture for each in inputs.values()], **options)
            _prepared.update(zip(inputs, map(_Prepared, inputs.values(), results), strict=True))
    return _prepared.keys()


def _is_small(source: Source, size: int | None) -> bool:
    """Tell whether one thread fits an image, whose shorter side is scaled to a size, if there is one."""
    return 0 < (count_pixels(source) if size is None else size**2) <= MOST_ALONE


def plan(arguments: argparse.Namespace, sources: list[Source], label: str) -> Job:
    """Prepare the fit of an image, or of several as a stack."""
    taken = ("num_gaussians", "seed", "zoom", "blend", *FIT_OPTIONS)  # the picture has its size and background already
    options = {name: getattr(arguments, name) for name in taken}
    fit = Fit(init=arguments.init, weights=arguments.weights, zoom_weights=arguments.zoom_weights, **options)
    prepared = _prepared.pop(sources[0], None)
    source = _read(sources, arguments) if prepared is None else prepared.source
    outputs = _name_outputs(source, arguments)

    def run(folder: Path) -> Done:
        with fit_progress(label, arguments.iterations, arguments.seconds) as callback:
            result = fit.fit(source.picture, callback) if prepared is None else prepared.result
            record = describe(
                result,
                image=str(sources[0]),
                init=fit.predictor.init,
                weights=fit.predictor.weights,
                zoom_weights=fit.predictor.zoom_weights,
                seed=arguments.seed,
                loss=arguments.loss,
                target_psnr=arguments.target_psnr,
            )
            if arguments.stack:
                record["stack"] = [str(each) for each in sources]
            _write([folder / name for name in outputs], result, source, arguments)
        subject = f"{len(sources)} images" if len(sources) > 1 else str(sources[0])
        return Done(
            _format_line(subject, _name_place(source, outputs, arguments), result, arguments.target_psnr), record
        )

    return Job(outputs, run)


@dataclass(frozen=True)
class _Input:
    """Picture to fit, and the images that its channels are of.

    Attributes:
        picture: All channels.
        title: Name of the first image.
        names: Stems of the names of the images.
        parts: Channels of each image.
    """

    picture: Picture
    title: str
    names: list[str]
    parts: list[slice]


def _read(sources: list[Source], arguments: argparse.Namespace) -> _Input:
    """Read an image, or several as a stack; what PNG cannot hold is seen before the fit."""
    names = [each.stem for each in sources]
    with ExitStack() as stack:
        paths = [stack.enter_context(each.local()) for each in sources]
        if arguments.stack:
            picture, parts = read_stack(paths, arguments.size, arguments.keep_profile)
            return _Input(picture, sources[0].name, names, parts)
        picture = read_picture(paths[0], arguments.size, arguments.background, arguments.keep_profile)
        return _Input(picture, sources[0].name, names, [slice(None)])


def _names_file(arguments: argparse.Namespace) -> bool:
    """Return whether the output is the file of the Gaussians of a stack."""
    return bool(arguments.stack and Path(arguments.output).suffix == ".safetensors")


def _name_outputs(source: _Input, arguments: argparse.Namespace) -> list[str]:
    """Return the files of an image: Gaussians, one reconstruction of each image, and, if asked for, figure and page."""
    stem = source.names[0]
    if _names_file(arguments):
        stem = Path(arguments.output).stem
    elif arguments.stack:
        stem = f"{stem}-stack"
    names = [f"{stem}-{each}" for each in source.names] if arguments.stack else [stem]
    images = [
        f"{name}{choose_suffix(_part(source.picture, channels), arguments.bits)}"
        for name, channels in zip(names, source.parts, strict=True)
    ]
    if arguments.shards is not None and arguments.shard_kind == "safetensors":
        images = []  # they can be rendered
    plots = [f"{stem}-plots.png"] if arguments.plots else []
    plots += [f"{stem}.html"] if arguments.html else []
    return [*images, f"{stem}.safetensors", *plots]


def _name_place(source: _Input, outputs: list[str], arguments: argparse.Namespace) -> str:
    """Return the file of an image that its line tells: the reconstruction, or the Gaussians of a stack."""
    if arguments.shards is not None:
        return str(arguments.output)
    place = Place(str(Path(arguments.output).parent) if _names_file(arguments) else arguments.output)
    return place.file(outputs[len(source.parts)] if arguments.stack else outputs[0])


def _part(picture: Picture, channels: slice) -> Picture:
    """Return the channels of one image of a stack, whose alpha is a plain channel; the whole picture otherwise."""
    if channels == slice(None):
        return picture
    values = picture.values[channels]
    return replace(picture, values=values, alpha=picture.range == (0.0, 1.0) and len(values) in ALPHA_CHANNELS)


def _write(paths: list[Path], result: Result, source: _Input, arguments: argparse.Namespace) -> None:
    """Write all files of an image."""
    count = next(number for number, path in enumerate(paths) if path.suffix == ".safetensors")
    for path, channels in zip(paths[:count], source.parts[:count], strict=True):
        write_picture(path, _part(result.reconstruction, channels), bits=arguments.bits, straight=arguments.stack)
    result.gaussians.save(paths[count])
    for plot in paths[count + 1 :]:
        if plot.suffix == ".html":
            from fastgs.methods.page import make_picture
            from fastgs.page import write_page

            write_page(plot, [make_picture(result, source.title)])
            continue
        # Deferred: brings in matplotlib, which few runs need.
        from fastgs.visualize import save_figure

        save_figure(plot, result.target, result.image, result.gaussians, initial=result.initial, history=result.history)


def _format_line(subject: str, output: str, result: Result, target_psnr: float | None) -> str:
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
