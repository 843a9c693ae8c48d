"""Fit Gaussians to one photo, save them, and render them at twice the size.

python examples/fit_photo.py assets/coffee.png --num-gaussians 10000 --output output/example
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fastgs
from fastgs.io.images import save_image


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--num-gaussians", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--init", default="curvature", help="a name in fastgs.initializers.INITIALIZERS")
    parser.add_argument("--output", type=Path, default=Path("output"))
    arguments = parser.parse_args()

    predictor = fastgs.Predictor(init=arguments.init)
    result = predictor(
        arguments.photo,
        num_gaussians=arguments.num_gaussians,
        iterations=arguments.iterations,
        seed=0,
        callback=lambda entry: print(f"iteration {entry.iteration}: {entry.psnr:.2f} dB"),
    )
    print(f"{result.psnr_init:.2f} dB at first, {result.psnr:.2f} dB after {result.seconds_fit:.1f} s")

    arguments.output.mkdir(parents=True, exist_ok=True)
    stem = arguments.output / arguments.photo.stem
    result.gaussians.save(f"{stem}.safetensors")
    save_image(f"{stem}.png", result.image)

    gaussians = fastgs.Gaussians.load(f"{stem}.safetensors")
    large = fastgs.render(gaussians, height=2 * gaussians.height, width=2 * gaussians.width)
    save_image(f"{stem}-large.png", large.clamp(0, 1))


if __name__ == "__main__":
    main()
