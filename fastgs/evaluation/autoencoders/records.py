"""What was measured of autoencoders: one record for each of them on a split of a dataset of splats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Fields of a record that differ from run to run; all others repeat exactly on one machine.
MEASURED = ("seconds_encode", "seconds_decode", "threads")

# The names of records of what is there without any autoencoder.
SPLATS, PIXELS = "splats", "pixels"


@dataclass(frozen=True)
class AutoencoderTask:
    """What tells a record from all others.

    Attributes:
        dataset: name of the folder.
        dataset_sha256: of its index, in hexadecimal.
        split: "train", "val" or "test".
        images: how many were readable there.
        autoencoder: stem of the weights' file, or if that is "weights", as train.py calls it, name of its folder;
            `SPLATS` for the fitted Gaussians themselves, `PIXELS` for the images.
        sha256: of the weights' file, in hexadecimal; None where there are none.
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
    def place(self) -> tuple[str, str, str]:
        """What has one record at a time: of weights that were exported again under their name, the newer counts."""
        return self.dataset, self.split, self.autoencoder


@dataclass(frozen=True)
class AutoencoderRecord(AutoencoderTask):
    """What an autoencoder gave on the images of a split.

    Of splats and pixels without autoencoder, what belongs to one is None; so is the probe where images have no classes.

    Attributes:
        content: what goes in and comes out, "splats" or "pixels".
        model: kind of the network.
        parameters: channels of the Gaussians, "plain" or "anchored"; None of pixels.
        per_attribute: whether each attribute has a network of its own.
        parameter_weight, rendering_weight: of the two losses.
        latent: numbers that a code has.
        num_gaussians: of each image in the dataset.
        parameters_count: numbers that were learned, by steps or in closed form.
        psnr, psnr_std: dB, as in metrics/, of the image that comes out, rendered where it is Gaussians, against the
            original pixels: mean and standard deviation over images.
        ssim: likewise, the mean; None of images too small for it.
        bytes_latent: of the code of an image, in float32.
        bytes_splats: of the Gaussians of an image, in float32.
        bytes_image: of its pixels, in 8 bits.
        compression_image, compression_splats: `bytes_image` and `bytes_splats` by `bytes_latent`.
        seconds_encode, seconds_decode: of an image, in a batch, rendering included; None of encoding where nothing
            encodes.
        probe_accuracy: share of the test split's images whose class a linear classifier tells from their codes (from
            all numbers where there are no codes); see linear_probe.py.
        chance: the share that is right if always the commonest class is said.
        seed: of the training; of splats, of the fits.
        threads: that were used.
        fastgs: version.
    """

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
    ssim: float | None
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
    threads: int
    fastgs: str

    @property
    def task(self) -> AutoencoderTask:
        """What was asked for."""
        return AutoencoderTask(**{name: getattr(self, name) for name in AutoencoderTask.__dataclass_fields__})

    @property
    def kind(self) -> str:
        """What is coded, and by what, in a few words."""
        if self.model is None:
            return "no autoencoder"
        each = ["one for each attribute"] if self.per_attribute else []
        return ", ".join([self.model, PIXELS if self.parameters is None else f"{self.parameters} splats", *each])

    @property
    def losses(self) -> str:
        """What was trained on, in a few words."""
        weights = {"parameters": self.parameter_weight, "rendering": self.rendering_weight}
        used = {name: weight for name, weight in weights.items() if weight}
        if self.content == PIXELS and used:
            return PIXELS
        return " + ".join(
            name if weight == 1 or len(used) == 1 else f"{weight:g} × {name}" for name, weight in used.items()
        )

    @property
    def bytes(self) -> int:
        """What keeps an image: the code, or what there is instead of one."""
        if self.bytes_latent is not None:
            return self.bytes_latent
        return self.bytes_splats if self.content == SPLATS else self.bytes_image

    @property
    def result(self) -> str:
        """In a few words."""
        told = "" if self.probe_accuracy is None else f"  probe {100 * self.probe_accuracy:.1f}%"
        return f"{self.psnr:.2f} dB  {self.bytes_image / self.bytes:.3g}:1{told}"

    def as_json(self) -> dict[str, Any]:
        """The fields, as `record_files` writes them."""
        return dict(vars(self))

    @staticmethod
    def from_json(item: dict[str, Any]) -> dict[str, Any]:
        """The fields from what `as_json` gave."""
        return item
