"""The `fastgs` command. Each subcommand is one `_add_NAME` that declares its options and one function that runs it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn, get_args

from PIL import ImageColor

from fastgs.files import atomic_write
from fastgs.fitting import DEFAULT_ITERATIONS, LOSSES, HistoryEntry
from fastgs.gaussians import Blend
from fastgs.images import SUFFIXES, find_images, save_image
from fastgs.initializers import DEFAULT
from fastgs.predict import INITS, LEARNED, WEIGHTS, WHITE, Predictor, Result, check_arguments, check_init
from fastgs.render import Backend

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

# Options of `fastgs predict` that `Predictor.__call__` takes under the same name.
_FIT_OPTIONS = (
    *("num_gaussians", "iterations", "seconds", "target_psnr", "seed", "size"),
    *("blend", "loss", "background", "backend"),
)

Record = dict[str, Any]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: error: {_one_line(message)}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments, by default those of the process.

    Returns:
        The exit code: 0 all good, 1 something failed (said on stderr), 2 wrong usage, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
    try:
        arguments = _parser().parse_args(argv)
        return int(arguments.run(arguments))
    except SystemExit as stop:  # argparse's way of ending after --help and errors
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        print("fastgs: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> _Parser:
    parser = _Parser(prog="fastgs", description="A photo as a few thousand 2D Gaussians.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fastgs {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_predict(commands)
    _add_download(commands)
    return parser


def _add_predict(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="fit Gaussians to images",
        description="Fit Gaussians to images. For each image, STEM.png (the reconstruction) and STEM.safetensors (the "
        "Gaussians) go to the output folder; report.json there has one record per image of this run.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help=f"image files, or folders of {' '.join(sorted(SUFFIXES))}")
    add("-k", "--num-gaussians", type=int, default=10_000, metavar="K", help="how many Gaussians (default: 10000)")
    add(
        "--iterations",
        type=int,
        metavar="N",
        help=f"number of steps (default: {DEFAULT_ITERATIONS}, or no limit with --seconds)",
    )
    add("--seconds", type=float, metavar="S", help="stop after this time per image (default: no limit)")
    add("--target-psnr", type=float, metavar="DB", help="stop at this PSNR in dB (default: no target)")
    add("--init", help=f"where to start: {', '.join(INITS)} (default: {DEFAULT}, or {LEARNED} with --weights)")
    trained = f"trained networks that predict the start: a name in checkpoints/ or a path (default: {WEIGHTS})"
    add("--weights", metavar="NAME_OR_PATH", help=trained)
    add("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    add("--size", type=int, metavar="N", help="shorter side to N pixels, then centre crop (default: size of the image)")
    add("--blend", default="normalized", help=f"{' or '.join(get_args(Blend))} (default: normalized)")
    add("--loss", default="mse", help=f"{', '.join(LOSSES)} (default: mse)")
    behind = "a name, #RRGGBB or R,G,B, laid behind transparent pixels (default: white)"
    add("--background", type=_color, default=WHITE, metavar="COLOR", help=behind)
    add("--backend", default="auto", help=f"of the renderer: {', '.join(get_args(Backend))} (default: auto)")
    add("--plots", action="store_true", help="also write STEM-plots.png, one figure of what happened")
    add("--output", type=Path, default=Path("output"), metavar="DIR", help="folder to write to (default: output)")
    parser.set_defaults(run=lambda arguments: _predict(parser, arguments))


def _add_download(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "download",
        help="fetch images to train on",
        description="Fetch images to train on: div2k (800 photos for training, 3.5 GB; 100 for validation, 0.4 GB; for "
        "academic research only). What was broken off continues where it stopped.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("dataset", choices=["div2k"], metavar="DATASET", help="div2k")
    add("--split", choices=["train", "valid", "all"], default="all", help="which of the photos (default: all)")
    add("--output", type=Path, default=Path("data"), metavar="DIR", help="folder to write to (default: data)")
    add("--url", metavar="URL", help="folder of a mirror that has the archives (default: the official one)")
    add("--keep-archive", action="store_true", help="keep the zip files")
    parser.set_defaults(run=_download)


def _predict(parser: _Parser, arguments: argparse.Namespace) -> int:
    """Fit every image that can be, say which could not, and keep the report up to date."""
    options = {name: getattr(arguments, name) for name in _FIT_OPTIONS}
    predictor = _check_usage(parser, arguments, options)
    failures: list[Path] = []
    paths: list[Path] = []
    for given in arguments.images:
        with _reporting(Path(given), failures):
            paths += find_images(given)

    inputs = {_identity(path) for path in paths} - {None}
    written: dict[Path, Path] = {}
    records: list[Record] = []
    for index, path in enumerate(paths, start=1):
        label = path.name if len(paths) == 1 else f"{path.name} ({index} of {len(paths)})"
        with _reporting(path, failures):
            outputs = _outputs(path, arguments)
            _check_outputs(outputs, inputs, written)
            with _progress(label, arguments.iterations, arguments.seconds) as callback:
                result = predictor(path, **options, callback=callback)
                record = _record(path, arguments, predictor, result)
                _write(outputs, result)
            written |= dict.fromkeys(outputs, path)
            records.append(record)
            with _reporting(arguments.output / "report.json", failures):
                _write_report(arguments.output / "report.json", records)
            with _reporting(Path("standard output"), failures):
                _announce(path, outputs[0], result, arguments.target_psnr)
    return FAILED if failures else 0


def _check_usage(parser: _Parser, arguments: argparse.Namespace, options: dict[str, Any]) -> Predictor:
    """End with one line about the first wrong option; else make the output folder and the predictor."""
    try:
        check_init(arguments.init, arguments.weights)
        check_arguments(**options)
    except ValueError as error:
        name, _, reason = str(error).partition(": ")
        parser.error(f"argument --{name.replace('_', '-')}: {reason}")
    try:
        predictor = Predictor(arguments.init, arguments.weights)
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"argument {'--init' if arguments.weights is None else '--weights'}: {error}")
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=arguments.output).close()
    except OSError as error:
        parser.error(f"argument --output: cannot write to {arguments.output} ({error.strerror})")
    return predictor


@contextmanager
def _reporting(subject: Path, failures: list[Path]) -> Iterator[None]:
    """Turn what users can mend into one line on stderr, note it, and go on; a bug keeps its traceback."""
    try:
        yield
    except (OSError, ValueError, MemoryError, RuntimeError) as error:
        match error:
            case OSError():
                # Reading raises ImageError, so this is about the output.
                reason = f"cannot be written ({error.strerror or error})"
            case ValueError():
                reason = str(error).removeprefix(f"{subject}: ")
            case _ if isinstance(error, MemoryError) or "allocate memory" in str(error):  # torch's is a RuntimeError
                reason = "not enough memory; try a smaller --size or fewer Gaussians"
            case _:
                raise
        print(f"fastgs: error: {_one_line(f'{subject}: {reason}')}", file=sys.stderr)
        failures.append(subject)


def _outputs(path: Path, arguments: argparse.Namespace) -> list[Path]:
    """The files that an image gives: reconstruction, Gaussians and, if asked for, the figure."""
    endings = [".png", ".safetensors"] + (["-plots.png"] if arguments.plots else [])
    return [arguments.output / f"{path.stem}{ending}" for ending in endings]


def _check_outputs(outputs: list[Path], inputs: set[tuple[int, int] | None], written: dict[Path, Path]) -> None:
    """Refuse to overwrite an input, or what this run has written for another image."""
    for output in outputs:
        if output in written:
            raise ValueError(f"would overwrite {output}, made from {written[output]}; rename it or run it by itself")
        if _identity(output) in inputs:
            raise ValueError(f"would overwrite the input {output}; choose another --output")
        if output.is_dir():
            raise ValueError(f"cannot write {output}, which is a folder; choose another --output")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from all others, however its path is spelled; None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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


def _record(path: Path, arguments: argparse.Namespace, predictor: Predictor, result: Result) -> Record:
    """What report.json says of an image; weights is null for a heuristic, ms_ssim where the image is too small."""
    from fastgs.metrics import ms_ssim

    _, height, width = result.target.shape
    return {
        "image": str(path),
        "height": height,
        "width": width,
        "num_gaussians": len(result.gaussians),
        "iterations": result.history[-1].iteration,
        "init": predictor.init,
        "weights": predictor.weights,
        "seed": arguments.seed,
        "blend": arguments.blend,
        "loss": arguments.loss,
        "psnr_init": result.psnr_init,
        "psnr": result.psnr,
        "ms_ssim": ms_ssim(result.image, result.target),
        "seconds_init": result.seconds_init,
        "seconds_fit": result.seconds_fit,
        "history": result.history,
        "fastgs": _version(),
    }


def _write_report(path: Path, records: list[Record]) -> None:
    """One record per line, so that long histories stay readable."""
    lines = ",\n".join(json.dumps(record, allow_nan=False) for record in records)
    with atomic_write(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n")


def _announce(path: Path, output: Path, result: Result, target_psnr: float | None) -> None:
    seconds = result.seconds_init + result.seconds_fit
    line = f"{path} -> {output}  {result.psnr:.2f} dB  {len(result.gaussians)} Gaussians  {seconds:.1f} s"
    if target_psnr is not None and result.psnr < target_psnr:
        line += f"  (below the target of {target_psnr:g} dB)"
    try:
        print(_one_line(line), flush=True)
    except OSError:
        # Python would try to write the same again, and fail, when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


@contextmanager
def _progress(
    label: str, iterations: int | None, seconds: float | None
) -> Iterator[Callable[[HistoryEntry], None] | None]:
    """A bar on stderr with iteration and PSNR, and the callback that moves it; None if stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    if iterations is None and seconds is None:
        iterations = DEFAULT_ITERATIONS
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[state]}"))
    # Results go to stdout, which the bar must not redirect to stderr.
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(label, total=None, state="starting")  # no total: the bar pulses

        def advance(entry: HistoryEntry) -> None:
            shares = [entry.iteration / iterations if iterations else 0, entry.seconds / seconds if seconds else 0]
            state = f"iteration {entry.iteration}  {entry.psnr:.2f} dB"
            bar.update(task, total=1, completed=min(1, max(shares)), state=state)

        yield advance


def _download(arguments: argparse.Namespace) -> int:
    """Fetch the archives that were asked for, one after the other."""
    from fastgs.data import div2k

    print(div2k.LICENSE, file=sys.stderr)
    for split in div2k.ARCHIVES if arguments.split == "all" else [arguments.split]:
        archive = div2k.ARCHIVES[split]
        try:
            with _download_progress(archive.name) as progress:
                folder = div2k.download(
                    archive, arguments.output, arguments.url or div2k.URL, arguments.keep_archive, progress
                )
        except (div2k.DownloadError, OSError) as error:
            reason = str(error)
            if isinstance(error, OSError):
                reason = f"{error.filename or arguments.output}: cannot be written ({error.strerror or error})"
            print(f"fastgs: error: {_one_line(reason)}", file=sys.stderr)
            return FAILED
        print(f"{folder}  {archive.count} images", flush=True)
    return 0


@contextmanager
def _download_progress(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr with megabytes and their rate, and the function that moves it; still if stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda action, done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, redirect_stdout=False) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(action: str, done: int, total: int) -> None:
            if action not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                # Begins at what is there already, which must not count as fast.
                tasks[action] = bar.add_task(f"{name}: {action}", total=total, completed=done)
            bar.update(tasks[action], completed=done)

        yield advance


def _color(text: str) -> tuple[float, ...]:
    """R, G, B from a colour name, #RRGGBB or R,G,B; their range is checked with the other options."""
    try:
        return ImageColor.getrgb(f"rgb({text})" if text[:1].isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a colour name, #RRGGBB or R,G,B, got {text!r}") from error


def _version() -> str:
    try:
        return version("fastgs")
    except PackageNotFoundError:
        return "unknown (not installed)"


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
