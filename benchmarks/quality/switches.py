"""Switches of the presets: one thing at a time that differs between them and the public codes, or is said to matter.

    python -m benchmarks.quality.switches PHOTO... --methods fast-2dgs --num-gaussians 10000 --iterations 1000 --size N

Writes PSNR and MS-SSIM of each photo to the screen; benchmarks/LOG.md ("Published lengths") has what came out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fastgs.fitting.optimizer import OptimizationConfig
from fastgs.fitting.options import FitOptions
from fastgs.io.images import load_image
from fastgs.methods import METHODS, Method, fast_2dgs, gaussianimage, gaussianimage_plus
from fastgs.metrics.quality import ms_ssim


def _optimize(method: Method, **changes: object) -> Method:
    """Return a method with other settings of its optimization."""
    assert isinstance(method.optimization, OptimizationConfig)
    return replace(method, optimization=replace(method.optimization, **changes))  # type: ignore[arg-type]


EXACT = {
    "gaussianimage-cholesky": gaussianimage.ExactCholesky,
    "gaussianimage-rs": gaussianimage.ExactRotationScale,
}


def _adan(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Make Adan whose steps do not shrink as gradients do."""
    optimizer = gaussianimage.adan(groups)
    for group in optimizer.param_groups:
        group["eps"] = 1e-12
    return optimizer


def switches(name: str) -> dict[str, Method]:
    """Return a method and its variants by what is switched."""
    method = METHODS[name]
    found = {"preset": method}
    if name == "fast-2dgs":
        found["all Gaussians blended"] = _optimize(method, top_k=None)
        found["no weight decay"] = _optimize(method, optimizer=partial(torch.optim.AdamW, weight_decay=0.0))
        starts = {
            "draws of a pixel coincide": partial(fast_2dgs.initialize, coincide=True),
            "heuristic attributes": partial(fast_2dgs.initialize, attributes=False),
            "both of these": partial(fast_2dgs.initialize, coincide=True, attributes=False),
        }
        found |= {text: replace(method, initialize=start) for text, start in starts.items()}
    elif name == "gaussianimage-plus":
        found["last state"] = _optimize(method, keep_best=False)
        found["an event adds half of the missing"] = replace(
            method,
            densification=lambda count, _pixels, _steps, generator: gaussianimage_plus.DistortionDriven(
                count, generator, halves=True
            ),
        )
    elif name in EXACT:
        found["true gradient of covariances"] = _optimize(method, parametrization=EXACT[name])
        found["Adan with epsilon 1e-12, not 1e-8"] = _optimize(method, optimizer=_adan)
    elif name == "image-gs-gradient":
        found["all Gaussians blended"] = _optimize(method, top_k=None)
    return found


CACHE, OWN = "NUMBA_CACHE_DIR", "FASTGS_SWITCHES"


def main() -> None:
    """Fit every photo by every variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=["fast-2dgs"])
    parser.add_argument("--num-gaussians", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=1_000)
    parser.add_argument("--size", type=int, help="as for fastgs evaluate (default: whole photos)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", action="store_true", help="fit by the preset alone")
    parser.add_argument("--edge", action="store_true", help="let Gaussians end at a weight of 1/255, and not fade out")
    arguments = parser.parse_args()
    if arguments.edge and OWN not in os.environ:  # other kernels than those of all other programs
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.quality.switches", *sys.argv[1:]]
            sys.exit(subprocess.run(command, env={**os.environ, CACHE: folder, OWN: "1"}, check=False).returncode)
    if arguments.edge:
        from benchmarks.quality import edge_kernels  # imports the kernels, whose folder is known by now

        edge_kernels.replace_weights()
    for path in arguments.photos:
        image = load_image(path, arguments.size)
        for name in arguments.methods:
            for text, method in list(switches(name).items())[: 1 if arguments.preset else None]:
                result = method(image, arguments.num_gaussians, FitOptions(arguments.iterations), seed=arguments.seed)
                similarity = ms_ssim(result.image, image)
                known = "" if similarity is None else f", MS-SSIM {similarity:.4f}"
                print(f"{path.name}: {name}, {text}: {result.psnr_init:.2f} to {result.psnr:.2f} dB{known}", flush=True)


if __name__ == "__main__":
    main()
