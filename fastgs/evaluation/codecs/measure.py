"""Codec x image x rate: each cell is one file, written, and read again.

All codecs get, and give, images of 8 bits, so what is measured is what a PNG of the decoded image shows. As in
methods/measure.py, results do not depend on the number of workers or threads.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from fastgs.evaluation.codecs.records import CodecRecord, CodecTask
from fastgs.evaluation.codecs.registry import SCHEMES, File, encode
from fastgs.fitting.fit import HistoryEntry
from fastgs.io.images import load_image, save_image
from fastgs.io.version import installed_version
from fastgs.metrics.lpips import lpips
from fastgs.metrics.quality import MIN_SSIM_SIZE, ms_ssim, psnr, ssim
from fastgs.runtime import threads

DECODINGS = 5  # of each file, for the median of their seconds
WARM_UP_RATE = 4.0  # bpp, which every codec can reach on 64 x 64 pixels


def measure(
    task: CodecTask,
    pictures: Path | None = None,
    workers: int = 1,
    callback: Callable[[CodecTask, HistoryEntry], None] | None = None,
) -> CodecRecord:
    """Encode one image by one codec, decode it, and measure the result.

    Args:
        task: what to do.
        pictures: an existing folder for the target and the decoded image; None keeps none.
        workers: how many processes measure, for the record.
        callback: called with the task and every new entry of the histories of its fits.

    Raises:
        ImageError: the image cannot be used.
        ValueError: the codec cannot encode it, or wrote a larger file than was asked for.
        OSError: a picture cannot be written.
    """
    target = _in_8_bits(load_image(task.image, task.size))
    _, height, width = target.shape
    size = int(task.bpp_target * height * width / 8)
    with threads.reserved():
        _warm_up(task.codec)
        start = time.perf_counter()
        file = encode(task, target, size, callback and partial(callback, task))
        record = CodecRecord(
            **vars(task),
            height=height,
            width=width,
            num_gaussians=None,
            bytes=None,
            bpp=None,
            bits_analytic=None,
            psnr=None,
            ssim=None,
            ms_ssim=None,
            lpips=None,
            seconds_encode=time.perf_counter() - start,
            seconds_decode=None,
            workers=workers,
            threads=threads.num_threads(),
            picture=None,
            fastgs=installed_version(),
        )
        if file is None:
            return record
        if len(file.data) > size:
            raise ValueError(f"{task.codec} wrote {len(file.data):,} bytes; at most {size:,} were asked for")
        return _with_result(record, file, target, pictures)


def _with_result(record: CodecRecord, file: File, target: Tensor, pictures: Path | None) -> CodecRecord:
    """The record with what follows from the file."""
    image, seconds = _decode(file)
    picture = None if pictures is None else pictures / record.picture_name()
    if picture is not None:
        save_image(picture.with_name(record.target_name()), target)
        save_image(picture, image)
    return replace(
        record,
        num_gaussians=file.num_gaussians,
        bytes=len(file.data),
        bpp=8 * len(file.data) / (record.height * record.width),
        bits_analytic=file.bits_analytic,
        psnr=psnr(image, target),
        ssim=ssim(image, target) if min(record.height, record.width) >= MIN_SSIM_SIZE else None,
        ms_ssim=ms_ssim(image, target),
        lpips=lpips(image, target),
        seconds_decode=seconds,
        picture=None if picture is None else str(picture),
    )


def _decode(file: File) -> tuple[Tensor, float]:
    """The image of a file in 8 bits, and the seconds from the bytes to it in floating point."""
    image = file.decode(file.data)
    seconds = []
    for _ in range(DECODINGS):
        start = time.perf_counter()
        file.decode(file.data)
        seconds.append(time.perf_counter() - start)
    return _in_8_bits(image), statistics.median(seconds)


def _in_8_bits(image: Tensor) -> Tensor:
    """The image clamped to [0, 1], and rounded to what 8 bits can hold."""
    return image.clamp(0, 1).mul(255).round() / 255


@cache
def _warm_up(codec: str) -> None:
    """Load what a codec needs, so that its first file is not slower than the others."""
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    seed, iterations = (0, 1) if codec in SCHEMES else (None, None)
    encode(CodecTask(codec, "", "", None, WARM_UP_RATE, iterations, seed), image, int(WARM_UP_RATE * 64 * 64 / 8))
