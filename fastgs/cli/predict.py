"""`fastgs predict`: images in, Gaussians and their reconstructions out."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any, get_args

from PIL import ImageColor

from fastgs.cli.console import (
    Failures,
    Parser,
    fit_progress,
    make_folder,
    reporting,
    wrong_argument,
)
from fastgs.cli.images import add_images, add_seed, add_size, process_images
from fastgs.fitting.losses import LOSSES
from fastgs.fitting.options import DEFAULT_ITERATIONS
from fastgs.gaussians import Blend
from fastgs.initializers import DEFAULT, INITIALIZERS
from fastgs.io.images import save_image
from fastgs.io.records import write_records
from fastgs.methods.fastgs import LEARNED, WEIGHTS
from fastgs.methods.report import Record, describe
from fastgs.predictor import WHITE, Predictor, Result, check_arguments, check_init
from fastgs.render import Backend

# Options that `Predictor.__call__` takes under the same name.
_FIT_OPTIONS = (
    *("num_gaussians", "iterations", "seconds", "target_psnr", "seed", "size"),
    *("blend", "loss", "background", "backend"),
)


def declare(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "predict",
        help="fit Gaussians to images",
        description="Fit Gaussians to images. For each image, STEM.png (the reconstruction) and STEM.safetensors (the "
        "Gaussians) go to the output folder; report.json there has one record per image of this run.",
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
    behind = "a name, #RRGGBB or R,G,B, laid behind transparent pixels (default: white)"
    add("--background", type=_color, default=WHITE, metavar="COLOR", help=behind)
    add("--backend", default="auto", help=f"renderer: {', '.join(get_args(Backend))} (default: auto)")
    add("--plots", action="store_true", help="also write STEM-plots.png, one figure of what happened")
    add("--output", type=Path, default=Path("output"), metavar="DIR", help="folder to write to (default: output)")
    parser.set_defaults(run=lambda arguments: _predict(parser, arguments))


def _predict(parser: Parser, arguments: argparse.Namespace) -> int:
    """Fit every image that can be, and keep the report up to date."""
    options = {name: getattr(arguments, name) for name in _FIT_OPTIONS}
    predictor = _check_usage(parser, arguments, options)
    records: list[Record] = []

    def process(path: Path, outputs: list[Path], label: str, failures: Failures) -> str:
        with fit_progress(label, arguments.iterations, arguments.seconds) as callback:
            result = predictor(path, **options, callback=callback)
            record = describe(
                result,
                image=path,
                init=predictor.init,
                weights=predictor.weights,
                seed=arguments.seed,
                loss=arguments.loss,
            )
            _write(outputs, result)
        records.append(record)
        with reporting(arguments.output / "report.json", failures):
            write_records(arguments.output / "report.json", records)
        return _format_line(path, outputs[0], result, arguments.target_psnr)

    return process_images(parser, arguments.images, lambda path: _name_outputs(path, arguments), process)


def _check_usage(parser: Parser, arguments: argparse.Namespace, options: dict[str, Any]) -> Predictor:
    """Make the output folder and the predictor, or end with one line about the first wrong option."""
    try:
        check_init(arguments.init, arguments.weights)
        check_arguments(**options)
    except ValueError as error:
        wrong_argument(parser, error)
    try:
        predictor = Predictor(arguments.init, arguments.weights)
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"argument {'--init' if arguments.weights is None else '--weights'}: {error}")
    make_folder(parser, arguments.output)
    return predictor


def _name_outputs(path: Path, arguments: argparse.Namespace) -> list[Path]:
    """Return the files that an image gives: reconstruction, Gaussians and, if asked for, the figure."""
    endings = [".png", ".safetensors"] + (["-plots.png"] if arguments.plots else [])
    return [arguments.output / f"{path.stem}{ending}" for ending in endings]


def _write(outputs: list[Path], result: Result) -> None:
    """Write all files of an image, or none: they are made in a folder beside, then moved."""
    with tempfile.TemporaryDirectory(dir=outputs[0].parent, prefix=".fastgs-") as folder:
        image, gaussians, *plots = staged = [Path(folder) / output.name for output in outputs]
        save_image(image, result.image)
        result.gaussians.save(gaussians)
        for plot in plots:
            # Deferred: brings in matplotlib, which few runs need.
            from fastgs.visualize import save_figure

            save_figure(
                plot, result.target, result.image, result.gaussians, initial=result.initial, history=result.history
            )
        moved: list[Path] = []
        try:
            for source, output in zip(staged, outputs, strict=True):
                os.replace(source, output)
                moved.append(output)
        except OSError:
            for output in moved:
                output.unlink(missing_ok=True)
            raise


def _format_line(path: Path, output: Path, result: Result, target_psnr: float | None) -> str:
    """Return the line about an image that is done."""
    seconds = result.seconds_init + result.seconds_fit
    line = f"{path} -> {output}  {result.psnr:.2f} dB  {len(result.gaussians)} Gaussians  {seconds:.1f} s"
    if target_psnr is not None and result.psnr < target_psnr:
        line += f"  (below the target of {target_psnr:g} dB)"
    return line


def _color(text: str) -> tuple[float, ...]:
    """Parse a colour name, #RRGGBB or R,G,B into R, G, B; their range is checked with the other options."""
    try:
        return ImageColor.getrgb(f"rgb({text})" if text[:1].isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a colour name, #RRGGBB or R,G,B, got {text!r}") from error
