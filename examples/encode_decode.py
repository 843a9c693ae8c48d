"""Write a photo as a small file, read it back, and see where its bits go.

python examples/encode_decode.py assets/coffee.png --bpp 0.2 --output output/coffee.fgs
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fastgs
from fastgs import codec
from fastgs.io.images import load_image, save_image
from fastgs.metrics.quality import psnr


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--bpp", type=float, default=0.2, help="bits per pixel that the file may have at most")
    parser.add_argument("--iterations", type=int, help="steps of each fit (default: those of the scheme)")
    parser.add_argument("--output", type=Path, default=Path("output/photo.fgs"))
    arguments = parser.parse_args()

    image = load_image(arguments.photo)
    encoded = codec.encode(image, bpp=arguments.bpp, iterations=arguments.iterations)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(encoded.data)
    bits = 8 * len(encoded.data) / image[0].numel()
    print(f"{len(encoded.data)} bytes, {bits:.3f} bits per pixel, {len(encoded.gaussians)} Gaussians")

    data = arguments.output.read_bytes()
    decoded = fastgs.render(codec.decode(data))
    print(f"{psnr(decoded, image):.2f} dB")
    save_image(arguments.output.with_suffix(".png"), decoded.clamp(0, 1))

    frame = codec.read_frame(data)
    for attribute, share in codec.SCHEMES[frame.scheme].bit_breakdown(frame).items():
        print(f"{attribute}: {share / len(encoded.gaussians):.1f} bits per Gaussian")

    # A file that is cut still gives a coarse image, of its whole layers, unless the cut is before the end of the first.
    if len(frame.layers) > 1:
        coarse = fastgs.render(codec.decode(data[: len(data) * 2 // 3], partial=True))
        print(f"two thirds of the file: {psnr(coarse, image):.2f} dB")


if __name__ == "__main__":
    main()
