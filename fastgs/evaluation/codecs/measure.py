"""Measurement of one codec on one image at one rate: each task is one file, written and read again.

All codecs get and give images of 8 bits, so that what is measured is what a PNG of the decoded image shows. As in
methods/measure.py, results do not depend on the number of workers or threads.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from fastgs.evaluation.codecs.coders import EncodedFile, describe_encoder, encode, fits_gaussians
from fastgs.evaluation.codecs.records import CodecRecord, CodecTask
from fastgs.evaluation.harness import Progress
from fastgs.evaluation.measuring import describe, keep_pictures, median_seconds, score
from fastgs.fitting.fit import HistoryEntry
from fastgs.io.images import load_image
from fastgs.io.version import installed_version
from fastgs.metrics.quality import psnr
from fastgs.runtime import threads

WARM_UP_RATE = 4.0  # bits per pixel, which every codec can reach on 64 x 64 pixels


def measure(
    task: CodecTask, pictures: Path | None = None, workers: int = 1, progress: Progress | None = None
) -> CodecRecord:
    """Encode one image by one codec, decode it, and measure the result.

    Args:
        task: Task.
        pictures: Existing folder for the target and the decoded image; None keeps none.
        workers: Number of processes that measure, for the record.
        progress: Function that is called along the codec's fits.

    Raises:
        ImageError: The image cannot be used.
        ValueError: The codec cannot encode it, or wrote a larger file than was asked for.
        OSError: A picture cannot be written.
    """
    target = _round_to_8_bits(load_image(task.image, task.size))
    _, height, width = target.shape
    size = int(task.bpp_target * height * width / 8)
    with threads.reserved():
        _warm_up(task.codec)
        start = time.perf_counter()
        file = encode(task, target, size, progress and partial(_report, progress, task.iterations))
        record = CodecRecord(
            **vars(task),
            height=height,
            width=width,
            num_gaussians=None,
            bytes=None,
            bpp=None,
            bits_analytic=None,
            encoder=describe_encoder(task.codec, task.effort),
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
        return _add_result(record, file, target, pictures)


def _add_result(record: CodecRecord, file: EncodedFile, target: Tensor, pictures: Path | None) -> CodecRecord:
    """Return the record with what follows from the file."""
    image = _round_to_8_bits(file.decode(file.data))
    seconds = median_seconds(lambda: file.decode(file.data))
    return replace(
        record,
        num_gaussians=file.num_gaussians,
        bytes=len(file.data),
        bpp=8 * len(file.data) / (record.height * record.width),
        bits_analytic=file.bits_analytic,
        encoder=file.encoder,
        psnr=psnr(image, target),
        **score(image, target),
        seconds_decode=seconds,
        picture=keep_pictures(record, pictures, target, image),
    )


def _report(progress: Progress, iterations: int | None, entry: HistoryEntry) -> None:
    """Tell how much of a fit is done, as far as its number of iterations is known."""
    progress(entry.iteration / iterations if iterations else 0, describe(entry))


def _round_to_8_bits(image: Tensor) -> Tensor:
    """Return the image clamped to [0, 1] and rounded to what 8 bits can hold."""
    return image.clamp(0, 1).mul(255).round() / 255


@cache
def _warm_up(codec: str) -> None:
    """Load what a codec needs, so that its first file is not slower than the others."""
    # Smooth: for noise, the search for a file of this size takes ten times as long.
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    image = functional.interpolate(coarse, size=(64, 64), mode="bilinear")[0]
    fits = fits_gaussians(codec)
    task = CodecTask(
        codec=codec,
        image="",
        sha256="",
        size=None,
        bpp_target=WARM_UP_RATE,
        iterations=1 if fits else None,
        seed=0 if fits else None,
    )
    encode(task, image, int(WARM_UP_RATE * 64 * 64 / 8))
