"""C++ yardstick for the numba rasterizer: a kernel for the same image, about as fast as a compiler can make it.

It is compiled by the system's g++ on first use, and is not part of fastgs.

    python -m benchmarks.speed.yardstick      # times it on 512 x 512 pixels
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

SOURCE = Path(__file__).with_name("yardstick.cpp")
# Constants of yardstick.cpp.
CUTOFF = 3.5  # standard deviations
EPSILON = 1e-2
LANES = 8  # pixels of a block

# The parts of -ffast-math: that flag itself, when linking, makes the whole process flush denormal numbers to zero.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Wno-psabi"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffinite-math-only", "-fno-signed-zeros", "-fassociative-math"),
    *("-freciprocal-math", "-ffp-contract=fast"),
)


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Compile and load the kernel, once per process.

    Raises:
        RuntimeError: There is no g++, or it fails.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise RuntimeError("The yardstick is a C++ program and g++ was not found; install it (apt install g++).")
    with tempfile.TemporaryDirectory(prefix="fastgs-yardstick-") as folder:
        target = Path(folder) / "yardstick.so"
        command = [compiler, *FLAGS, str(SOURCE), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{compiler} could not compile {SOURCE}:\n{done.stderr}")
        loaded = ctypes.CDLL(str(target))
    for function, pointers in ((loaded.yardstick_forward, 3), (loaded.yardstick_backward, 7)):
        function.restype = None
        function.argtypes = [*[ctypes.c_void_p] * 3, *[ctypes.c_int] * 5, *[ctypes.c_void_p] * pointers]
    return loaded


@lru_cache(maxsize=1)
def scratch(height: int, width: int) -> Array:
    """Return memory for the planes of an image, which is kept between calls.

    The kernel is therefore timed without page faults, but is not reentrant.
    """
    return np.zeros((height, 4, width + LANES), np.float32)


def check(array: Array, *shape: int) -> Array:
    """Check the shape of an array, and convert it to contiguous float32."""
    if array.shape != shape:
        raise ValueError(f"Expected an array of shape {shape}, got {array.shape}.")
    return np.ascontiguousarray(array, np.float32)


def forward(
    means: Array, conics: Array, colors: Array, height: int, width: int, threads: int = 2
) -> tuple[Array, Array]:
    """Render K Gaussians by the normalized rule, `image = sum(w color) / (sum(w) + EPSILON)`.

    Args:
        means: (K, 2) centres x, y in pixels; the centre of the first pixel is (0.5, 0.5).
        conics: (K, 3) coefficients a, b, c of `d2 = a dx^2 + 2 b dx dy + c dy^2`, positive definite; w = exp(-d2 / 2),
            and 0 beyond d2 = CUTOFF^2.
        colors: (K, 3) colours.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        threads: Number of threads.

    Returns:
        The image (3, H, W), and `1 / (sum(w) + EPSILON)` (H, W), which `backward` needs.

    Raises:
        ValueError: An array has the wrong shape.
    """
    count = len(means)
    means, conics, colors = check(means, count, 2), check(conics, count, 3), check(colors, count, 3)
    planes = scratch(height, width)
    image, inverse = np.empty((3, height, width), np.float32), np.empty((height, width), np.float32)
    arrays = [a.ctypes.data for a in (planes, image, inverse)]
    sizes = (count, height, width, planes.shape[2], max(threads, 1))
    library().yardstick_forward(means.ctypes.data, conics.ctypes.data, colors.ctypes.data, *sizes, *arrays)
    return image, inverse


def backward(
    means: Array, conics: Array, colors: Array, image: Array, inverse: Array, gradient: Array, threads: int = 2
) -> tuple[Array, Array, Array]:
    """Compute the gradients of a loss, given its gradient with respect to the image.

    Args:
        means: (K, 2) centres, as given to `forward`.
        conics: (K, 3) conics, as given to `forward`.
        colors: (K, 3) colours, as given to `forward`.
        image: (3, H, W) image from `forward`.
        inverse: (H, W) inverses from `forward`.
        gradient: (3, H, W) gradient of the loss with respect to the image.
        threads: Number of threads.

    Returns:
        The gradients of the means (K, 2), the conics (K, 3) and the colours (K, 3).

    Raises:
        ValueError: An array has the wrong shape.
    """
    count, (height, width) = len(means), inverse.shape
    means, conics, colors = check(means, count, 2), check(conics, count, 3), check(colors, count, 3)
    image, gradient = check(image, 3, height, width), check(gradient, 3, height, width)
    inverse = check(inverse, height, width)
    planes = scratch(height, width)
    out = np.empty((count, 2), np.float32), np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    arrays = [a.ctypes.data for a in (planes, image, inverse, gradient, *out)]
    sizes = (count, height, width, planes.shape[2], max(threads, 1))
    library().yardstick_backward(means.ctypes.data, conics.ctypes.data, colors.ctypes.data, *sizes, *arrays)
    return out


def scene(count: int, sigma: float, height: int, width: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Return random means, conics and colours, with scales of 0.7 to 1.4 sigma and any rotation."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(0, 1, (count, 2)) * (width, height)
    first, second = 1 / (sigma * 2 ** rng.uniform(-0.5, 0.5, (2, count))) ** 2
    cosine, sine = np.cos(angle := rng.uniform(0, np.pi, count)), np.sin(angle)
    a, c = first * cosine**2 + second * sine**2, first * sine**2 + second * cosine**2
    conics = np.stack([a, (first - second) * sine * cosine, c], 1)
    colors = rng.uniform(0, 1, (count, 3))
    return means.astype(np.float32), conics.astype(np.float32), colors.astype(np.float32)


def main(repeats: int = 15, threads: int = 2) -> None:
    """Print the median and the best time of each pass."""
    for count, sigma in ((10_000, 2.5), (50_000, 1.2), (100_000, 0.9)):
        arrays = scene(count, sigma, 512, 512)
        gradient = np.random.default_rng(1).normal(size=(3, 512, 512)).astype(np.float32)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            image, inverse = forward(*arrays, 512, 512, threads)
            middle = time.perf_counter()
            backward(*arrays, image, inverse, gradient, threads)
            times.append((middle - start, time.perf_counter() - middle))
        (f, b), (fast_f, fast_b) = np.median(times, 0) * 1e3, np.min(times, 0) * 1e3
        print(f"K = {count}, sigma {sigma}: forward {f:.1f} ms (best {fast_f:.1f}), backward {b:.1f} ({fast_b:.1f})")


if __name__ == "__main__":
    main()
