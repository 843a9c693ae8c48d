"""Fit Gaussians to every photo of a folder and write a table of the results.

python examples/fit_folder.py photos/ --num-gaussians 5000 --output output/folder
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import fastgs
from fastgs.io.images import ImageError, find_images
from fastgs.metrics.quality import ssim


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-gaussians", type=int, default=5_000)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--size", type=int, help="shorter side in pixels, then a centre crop (default: as it is)")
    parser.add_argument("--output", type=Path, default=Path("output"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    predictor = fastgs.Predictor()
    rows = []
    for path in find_images(arguments.folder):
        try:
            result = predictor(path, arguments.num_gaussians, arguments.iterations, size=arguments.size)
        except ImageError as error:  # a damaged file does not end the run
            print(f"left out: {error}")
            continue
        result.gaussians.save(arguments.output / f"{path.stem}.safetensors")
        rows.append({"photo": path.name, "psnr": result.psnr, "ssim": ssim(result.image, result.target)})
        print(f"{path.name}: {result.psnr:.2f} dB")

    with open(arguments.output / "results.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["photo", "psnr", "ssim"])
        writer.writeheader()
        writer.writerows(rows)
    if rows:
        print(f"mean of {len(rows)} photos: {sum(row['psnr'] for row in rows) / len(rows):.2f} dB")


if __name__ == "__main__":
    main()
