"""`fastgs predict`: images in, Gaussians and their reconstructions out."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from fastgs.cli.console import (
    Failures,
    Parser,
    fit_progress,
    make_folder,
    reporting,
    wrong_argument,
)
from fastgs.cli.images import Job, add_background, add_images, add_seed, add_size, process_images
from fastgs.fitting.losses import LOSSES
from fastgs.fitting.options import DEFAULT_ITERATIONS, FitOptions
from fastgs.gaussians import Blend
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.picture import Picture, read_picture
from fastgs.io.pixels import ALPHA_CHANNELS
from fastgs.io.records import write_records
from fastgs.io.stack import read_stack
from fastgs.io.writing import choose_suffix, write_picture
from fastgs.methods.fastgs import LEARNED, WEIGHTS
from fastgs.methods.report import Record, describe
from fastgs.predictor import Predictor, Result, check_arguments, check_init
from fastgs.render import Backend

# Options of the image and of the fit that `Predictor.__call__` takes under the same name.
_IMAGE_OPTIONS = ("num_gaussians", "seed", "size", "blend", "background")
_FIT_OPTIONS = ("iterations", "seconds", "target_psnr", "loss", "backend")


def declare(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "predict",
        help="fit Gaussians to images",
        description="Fit Gaussians to images. For each image, STEM.png (the reconstruction) and STEM.safetensors (the "
        "Gaussians) go to the output folder; report.json there has one record per image of this run. Gray and "
        "transparency are kept; high dynamic range and more channels than PNG holds are written as STEM.tif.",
        allow_abbrev=False,
    )
    add_images(parser)
    add = parser.add_argument
    add("-k", "--num-gaussians", type=int, default=10_000, metavar="K", help="how many Gaussians (default: 10000)")
    add(
        "--iterations",
        type=int,
        metavar="N",
        help=f"number of steps (default: {DEFAULT_ITERATIONS}, or no limit with --seconds)",
    )
    add("--seconds", type=float, metavar="S", help="stop after this time per image (default: no limit)")
    add("--target-psnr", type=float, metavar="DB", help="stop at this PSNR in dB (default: no target)")
    add("--init", help=f"where to start: {', '.join(INITIALIZERS)} (default: {DEFAULT}, or {LEARNED} with --weights)")
    trained = f"trained networks that predict the start: a name in checkpoints/ or a path (default: {WEIGHTS})"
    add("--weights", metavar="NAME_OR_PATH", help=trained)
    add_seed(parser)
    add_size(parser)
    add("--blend", default="normalized", help=f"{' or '.join(get_args(Blend))} (default: normalized)")
    add("--loss", default="mse", help=f"{', '.join(LOSSES)} (default: mse)")
    add_background(parser)
    profile = "keep the numbers of the file and its ICC profile (default: convert to sRGB)"
    add("--keep-profile", action="store_true", help=profile)
    bits = "bits per sample of the reconstruction: 8, 16, or 32 for TIFF in floating point (default: 8)"
    add("--bits", type=int, choices=(8, 16, 32), default=8, help=bits)
    add("--stack", action="store_true", help="fit all images, of one size, as the channels of one set of Gaussians; or "
        "one .npy or TIFF file of bands")  # fmt: skip
    add("--backend", default="auto", help=f"renderer: {', '.join(get_args(Backend))} (default: auto)")
    add("--plots", action="store_true", help="also write STEM-plots.png, one figure of what happened")
    folder = "folder to write to; with --stack also the file of the Gaussians, FILE.safetensors (default: output)"
    add("-o", "--output", type=Path, default=Path("output"), metavar="DIR", help=folder)
    parser.set_defaults(run=lambda arguments: _predict(parser, arguments))


def _predict(parser: Parser, arguments: argparse.Namespace) -> int:
    """Fit every image that can be, and keep the report up to date."""
    predictor = _check_usage(parser, arguments)
    taken = ("num_gaussians", "seed", "blend", *_FIT_OPTIONS)  # the picture has its size and background already
    options = {name: getattr(arguments, name) for name in taken}
    folder = arguments.output.parent if _names_file(arguments) else arguments.output
    records: list[Record] = []

    def plan(paths: list[Path], label: str, failures: Failures) -> Job:
        source = _read(paths, arguments)
        outputs = _name_outputs(source, arguments)

        def run() -> str:
            with fit_progress(label, arguments.iterations, arguments.seconds) as callback:
                result = predictor(source.picture, **options, callback=callback)
                record = describe(
                    result,
                    image=paths[0],
                    init=predictor.init,
                    weights=predictor.weights,
                    seed=arguments.seed,
                    loss=arguments.loss,
                )
                if arguments.stack:
                    record["stack"] = [str(each) for each in paths]
                _write(outputs, result, source, arguments)
            records.append(record)
            with reporting(folder / "report.json", failures):
                write_records(folder / "report.json", records)
            output = outputs[len(source.parts)] if arguments.stack else outputs[0]
            subject = f"{len(paths)} images" if len(paths) > 1 else str(paths[0])
            return _format_line(subject, output, result, arguments.target_psnr)

        return Job(outputs, run)

    return process_images(parser, arguments.images, plan, "stack" if arguments.stack else None)


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


def _check_usage(parser: Parser, arguments: argparse.Namespace) -> Predictor:
    """Make the output folder and the predictor, or end with one line about the first wrong option."""
    try:
        check_init(arguments.init, arguments.weights)
        check_arguments(**{name: getattr(arguments, name) for name in _IMAGE_OPTIONS})
        FitOptions(**{name: getattr(arguments, name) for name in _FIT_OPTIONS})
    except ValueError as error:
        wrong_argument(parser, error)
    try:
        predictor = Predictor(arguments.init, arguments.weights)
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"argument {'--init' if arguments.weights is None else '--weights'}: {error}")
    if arguments.stack and arguments.background is not None:
        parser.error("argument --background: not allowed with argument --stack, which keeps alpha as a channel")
    if arguments.output.suffix == ".safetensors" and not arguments.stack:
        parser.error("argument -o/--output: names a folder; a file is for --stack")
    make_folder(parser, arguments.output.parent if _names_file(arguments) else arguments.output)
    return predictor


def _names_file(arguments: argparse.Namespace) -> bool:
    """Return whether the output is the file of the Gaussians of a stack."""
    return bool(arguments.stack and arguments.output.suffix == ".safetensors")


def _name_outputs(source: _Input, arguments: argparse.Namespace) -> list[Path]:
    """Return the files of an image: Gaussians, one reconstruction of each image, and, if asked for, the figure."""
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
    line = f"{subject} -> {output}  {result.psnr:.2f} dB  {len(result.gaussians)} Gaussians  {seconds:.1f} s"
    if target_psnr is not None and result.psnr < target_psnr:
        line += f"  (below the target of {target_psnr:g} dB)"
    return line
