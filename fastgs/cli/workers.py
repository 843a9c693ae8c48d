"""Number of processes that work on images side by side."""

from __future__ import annotations

import argparse
import ctypes
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from fastgs.cli.console import Parser
from fastgs.jobs.sources import Source
from fastgs.runtime import threads
from fastgs.runtime.memory import available_memory

# The rule for the default: one process per core, but at least two images for each, since a process starts as long as a
# small fit takes; and no more than fit in the memory that is available, if each had the largest image. A process takes
# so many bytes for its libraries, for each pixel of the file, for each pixel that is fitted, more for each pixel of a
# tile whose MS-SSIM is measured, and for each Gaussian (3.7 GB for 24 megapixels and a million Gaussians); or, where
# networks run, for each pixel that they see (5.5 GB for 6 megapixels).
LIBRARIES, PER_FILE_PIXEL, PER_PIXEL, PER_TILE_PIXEL, PER_GAUSSIAN = 6 * 10**8, 20, 80, 400, 300
PER_NETWORK_PIXEL = 850
TILE = 1536**2  # pixels, see `fastgs.metrics.quality`
IMAGES_PER_WORKER = 2
# Images whose sizes are looked at, at most: files, and those that have to be fetched or cut out of an archive.
MOST, MOST_REMOTE = 1000, 16


def add_workers(parser: Parser) -> None:
    """Declare --workers and --engine."""
    help = "processes, each of which takes the next image (default: one per core, fewer for few or large images)"
    parser.add_argument("--workers", type=int, metavar="N", help=help)
    engine = "where they run: processes of this machine, or those of a Ray cluster (default: processes)"
    parser.add_argument("--engine", choices=("processes", "ray"), default="processes", help=engine)


def check_workers(parser: Parser, arguments: argparse.Namespace) -> None:
    """End with one line if --workers is wrong."""
    if arguments.workers is not None and arguments.workers < 1:
        parser.error(f"argument --workers: must be at least 1, got {arguments.workers}")


def choose_workers(
    sources: Sequence[Source], size: int | None, num_gaussians: int | None, networks: bool = False, zoom: float = 1
) -> int:
    """Return the number of processes for images on the CPU.

    Args:
        sources: The images; of many, only some are looked at.
        size: Side that they are scaled to; None if they keep their size.
        num_gaussians: K; None if it is not known before.
        networks: True if networks predict the start.
        zoom: Factor by which canvases are larger than the images.
    """
    workers = min(threads.num_threads(), len(sources) // IMAGES_PER_WORKER)
    looked_at = MOST_REMOTE if any(each.is_remote for each in sources) else MOST
    pixels = [count_pixels(each) for each in sources[:: -(-len(sources) // looked_at) or 1]]
    memory = available_memory()
    if workers > 1 and memory is not None:
        fitted = round((max(pixels) if size is None else size**2) * zoom**2)
        count = fitted // 4 if num_gaussians is None else num_gaussians
        work = PER_PIXEL * fitted + PER_TILE_PIXEL * min(fitted, TILE)
        need = LIBRARIES + PER_FILE_PIXEL * max(pixels) + PER_GAUSSIAN * count
        need += max(work, PER_NETWORK_PIXEL * fitted) if networks else work
        workers = min(workers, memory // need)
    return max(1, workers)


def has_gpu(backend: str) -> bool:
    """Tell whether fits run on a CUDA device; torch is imported only where there is a driver."""
    if backend not in ("auto", "cuda") or not has_driver():
        return False
    import torch

    from fastgs.predictor import work_device

    return torch.cuda.is_available() and work_device(torch.device("cpu"), "auto").type == "cuda"


def has_driver() -> bool:
    """Tell whether there is a driver of CUDA devices."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def count_pixels(source: Source) -> int:
    """Return the number of pixels of an image by its header; 0 if it is not an image that can be read."""
    path = Path(source.location)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(source.read_bytes()) if source.is_remote else path) as image:
                return int(image.width * image.height)
    except Exception:  # decoders of damaged files raise anything; the error is reported when the image is read
        try:
            return path.stat().st_size // 4  # of formats that Pillow does not know, such as EXR
        except OSError:
            return 0
