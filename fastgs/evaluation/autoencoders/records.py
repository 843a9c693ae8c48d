"""Records of autoencoders: one for each of them on a split of a dataset of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from fastgs.evaluation.records import Record

# Names of the records of what needs no autoencoder: the fitted Gaussians themselves, and the pixels.
SPLATS, PIXELS = "splats", "pixels"


@dataclass(frozen=True, kw_only=True)
class AutoencoderTask:
    """Autoencoder on a split of a dataset; its fields distinguish its record from all others in a file.

    Attributes:
        dataset: Name of the dataset's folder.
        dataset_sha256: SHA-256 of the dataset's index, in hexadecimal.
        split: "train", "val" or "test".
        images: Number of images in the split that could be read.
        autoencoder: Stem of the weights' file, or if that is "weights", as train.py calls it, name of its folder;
            `SPLATS` for the fitted Gaussians themselves, `PIXELS` for the images.
        sha256: SHA-256 of the weights' file, in hexadecimal; None if there are no weights.
    """

    dataset: str
    dataset_sha256: str
    split: str
    images: int
    autoencoder: str
    sha256: str | None

    def __str__(self) -> str:
        return f"{self.autoencoder}, {self.split} split"

    @property
    def slot(self) -> tuple[str, str, str]:
        """Key of which a file holds one record: weights that were exported again under their name replace the old."""
        return self.dataset, self.split, self.autoencoder


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecord(AutoencoderTask, Record):
    """Result of an autoencoder on the images of a split.

    For splats and pixels without an autoencoder, the fields that describe one are None; the probe's are None if images
    have no classes.

    Attributes:
        content: Kind of data that goes in and comes out, "splats" or "pixels".
        model: Kind of the network.
        parameters: Channels of the Gaussians, "plain" or "anchored"; None of pixels.
        per_attribute: True if each attribute has a network of its own.
        parameter_weight: Weight of the loss on parameters.
        rendering_weight: Weight of the loss on the rendering.
        latent: Number of values in a code.
        num_gaussians: Number of Gaussians of each image in the dataset.
        parameters_count: Number of values that were learned, by gradient descent or in closed form.
        psnr: Mean over images of the PSNR in dB, as in metrics/, of the image that comes out, rendered if it is
            Gaussians, against the original pixels.
        psnr_std: Standard deviation of that PSNR over images.
        ssim: Mean SSIM of the same; None if the images are too small.
        bytes_latent: Size of the code of an image, in float32.
        bytes_splats: Size of the Gaussians of an image, in float32.
        bytes_image: Size of the pixels of an image, in 8 bits.
        compression_image: Ratio of `bytes_image` to `bytes_latent`.
        compression_splats: Ratio of `bytes_splats` to `bytes_latent`.
        seconds_encode: Wall-clock seconds of encoding an image, in a batch; None if nothing encodes.
        seconds_decode: Wall-clock seconds of decoding an image, in a batch, rendering included.
        probe_accuracy: Share of the test split's images whose class a linear classifier tells from their codes (or
            from all values where there are no codes); see linear_probe.py.
        chance: Accuracy of always naming the commonest class.
        seed: Random seed of the training; of splats, that of the fits.
    """

    FIELDS: ClassVar = (
        *("dataset", "dataset_sha256", "split", "images", "autoencoder", "sha256", "content", "model", "parameters"),
        *("per_attribute", "parameter_weight", "rendering_weight", "latent", "num_gaussians", "parameters_count"),
        *("psnr", "psnr_std", "ssim", "bytes_latent", "bytes_splats", "bytes_image", "compression_image"),
        *("compression_splats", "seconds_encode", "seconds_decode", "probe_accuracy", "chance", "seed", "threads"),
        "fastgs",
    )
    MEASURED: ClassVar = ("seconds_encode", "seconds_decode", "threads")

    content: str
    model: str | None
    parameters: str | None
    per_attribute: bool | None
    parameter_weight: float | None
    rendering_weight: float | None
    latent: int | None
    num_gaussians: int
    parameters_count: int | None
    psnr: float
    psnr_std: float
    bytes_latent: int | None
    bytes_splats: int
    bytes_image: int
    compression_image: float | None
    compression_splats: float | None
    seconds_encode: float | None
    seconds_decode: float
    probe_accuracy: float | None
    chance: float | None
    seed: int | None

    @property
    @override
    def task(self) -> AutoencoderTask:
        return self._project(AutoencoderTask)

    @property
    def kind(self) -> str:
        """Description of the model and its input in a few words."""
        if self.model is None:
            return "no autoencoder"
        each = ["one for each attribute"] if self.per_attribute else []
        return ", ".join([self.model, PIXELS if self.parameters is None else f"{self.parameters} splats", *each])

    @property
    def losses(self) -> str:
        """Losses of the training in a few words; empty if there was no training."""
        weights = {"parameters": self.parameter_weight, "rendering": self.rendering_weight}
        used = {name: weight for name, weight in weights.items() if weight}
        if self.content == PIXELS and used:
            return PIXELS
        return " + ".join(
            name if weight == 1 or len(used) == 1 else f"{weight:g} × {name}" for name, weight in used.items()
        )

    @property
    def bytes(self) -> int:
        """Size of what an image is kept as: its code, or without one the Gaussians or pixels themselves."""
        if self.bytes_latent is not None:
            return self.bytes_latent
        return self.bytes_splats if self.content == SPLATS else self.bytes_image

    @property
    @override
    def result(self) -> str:
        probe = "" if self.probe_accuracy is None else f"  probe {100 * self.probe_accuracy:.1f}%"
        return f"{self.psnr:.2f} dB  {self.bytes_image / self.bytes:.3g}:1{probe}"
