"""Fit: what `fastgs predict` does to each image, as a function that pipelines such as Ray Data map over rows."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from fastgs.fitting.fit import Callback
from fastgs.fitting.options import FitOptions
from fastgs.io.picture import PictureSource
from fastgs.methods.arguments import AUTO, Auto, check_arguments, check_init, check_wish
from fastgs.predictor import Predictor, Result


@lru_cache(maxsize=1)
def load_predictor(init: str | None, weights: str | Path | None, zoom_weights: str | Path | None) -> Predictor:
    """Return the predictor with these arguments of `Predictor`, which is made once in each process."""
    return Predictor(init, weights, zoom_weights)


class Fit:
    """Fits Gaussians to the image of a row.

    It is small and picklable: networks are loaded where it is called, once in each process.

    Args:
        num_gaussians: K, or "auto", as for `Predictor.__call__`.
        iterations: Number of steps; by default as for `Predictor.__call__`.
        init: Initializer, as for `Predictor`.
        weights: Trained networks, as for `Predictor`.
        zoom_weights: Trained network of zooming, as for `Predictor`.
        column: Name of the column of the image: the bytes of a file, an (H, W) or (H, W, C) array of uint8 or uint16, a
            path, or anything else that `Predictor.__call__` takes.
        errors: What an image that cannot be used does: "raise" ends the pipeline, "row" gives a row without Gaussians
            whose `error` says why.
        options: Further arguments of `Predictor.__call__`, but for `callback`.

    Raises:
        ValueError: An argument is wrong; one line that begins with its name.

    Example:
        photos = ray.data.read_images("s3://bucket/photos", include_paths=True)
        photos.map(fastgs.distributed.Fit(10_000, 200)).write_parquet("s3://bucket/gaussians")
    """

    def __init__(
        self,
        num_gaussians: int | Auto,
        iterations: int | None = None,
        *,
        init: str | None = None,
        weights: str | Path | None = None,
        zoom_weights: str | Path | None = None,
        column: str = "image",
        errors: Literal["raise", "row"] = "raise",
        **options: Any,
    ) -> None:
        check_init(init, weights)
        if errors not in ("raise", "row"):
            raise ValueError(f"errors: expected one of raise, row, got {errors!r}")
        self.column = column
        self.errors = errors
        self.options = {"num_gaussians": num_gaussians, "iterations": iterations, **options}
        self._networks = (init, weights, zoom_weights)
        of_image = ("num_gaussians", "seed", "size", "zoom", "blend", "background")
        check_arguments(**{name: value for name, value in self.options.items() if name in of_image})
        rest = {name: value for name, value in self.options.items() if name not in (*of_image, "keep_profile")}
        try:
            fit = FitOptions(**rest)
        except TypeError as error:
            raise ValueError(f"options: {error}") from error
        if num_gaussians == AUTO:
            check_wish(fit)

    @property
    def predictor(self) -> Predictor:
        """The predictor of this process."""
        return load_predictor(*self._networks)

    def fit(self, image: PictureSource, callback: Callback | None = None) -> Result:
        """Fit Gaussians to an image.

        Args:
            image: Image, as for `Predictor.__call__`.
            callback: Callable that gets (iteration, seconds, psnr) every few steps.

        Raises:
            ValueError: The image is not usable; one line.
        """
        return self.predictor(image, **self.options, callback=callback)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row without its image, and with the Gaussians.

        Returns:
            The other columns, and means (K, 2), scales (K, 2), rotations (K,) and colors (K, C) as float32 arrays, in
            the units of `fastgs.Gaussians`; height, width, blend, alpha, psnr in dB, and error: "" if all is well.

        Raises:
            KeyError: There is no such column.
            ValueError: The image is not usable, unless `errors` says otherwise.
        """
        import numpy as np  # deferred: brings in nothing that the command needs before

        others = {name: value for name, value in row.items() if name != self.column}
        image = row[self.column]
        try:
            if isinstance(image, bytes | bytearray | memoryview):
                image = _open(bytes(image))
            result = self.fit(image)
        except ValueError as error:
            if self.errors == "raise":
                raise
            empty = {"means": (0, 2), "scales": (0, 2), "rotations": (0,), "colors": (0, 3)}
            columns: dict[str, Any] = {name: np.zeros(shape, np.float32) for name, shape in empty.items()}
            facts = {"height": 0, "width": 0, "blend": "normalized", "alpha": False, "psnr": float("nan")}
            return {**others, **columns, **facts, "error": str(error)}
        arrays = result.gaussians.arrays()
        return {
            **others,
            **{name: getattr(arrays, name) for name in ("means", "scales", "rotations", "colors")},
            "height": arrays.height,
            "width": arrays.width,
            "blend": arrays.blend,
            "alpha": arrays.alpha,
            "psnr": result.psnr,
            "error": "",
        }


def _open(data: bytes) -> Image.Image:
    """Open the bytes of an image file.

    Raises:
        ValueError: They are no image.
    """
    try:
        return Image.open(io.BytesIO(data))
    except Exception as error:  # decoders of damaged files raise anything
        raise ValueError(f"image: is not an image that Pillow can read ({' '.join(str(error).split())})") from error
