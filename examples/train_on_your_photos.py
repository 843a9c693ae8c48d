"""Train both networks on a folder of photos, and use them; the same as two runs of train.py with configs/.

python examples/train_on_your_photos.py photos/ --epochs 20 --output output/mine
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning

import fastgs
from fastgs.data import FolderDataModule
from fastgs.io.images import find_images
from fastgs.training import AttributeStage, PositionStage
from fastgs.training.callbacks.export import ExportWeights

SMALL = {"encoder": "tu-resnet10t", "depth": 2, "width": 8}


def fit(stage: lightning.LightningModule, data: FolderDataModule, folder: Path, epochs: int) -> Path:
    """Run one stage; return the path of the weights that it leaves, without suffix."""
    trainer = lightning.Trainer(
        max_epochs=epochs,
        default_root_dir=folder,
        gradient_clip_val=1.0,
        log_every_n_steps=1,
        callbacks=[ExportWeights()],
        enable_checkpointing=False,
        logger=False,
        use_distributed_sampler=False,  # the data module deals out the images itself
    )
    trainer.fit(stage, datamodule=data)
    return folder / "weights"


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--crop", type=int, default=192, help="side of the training crops in pixels")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--small", action="store_true", help="small networks, to see that everything works")
    parser.add_argument("--output", type=Path, default=Path("output/mine"))
    arguments = parser.parse_args()
    lightning.seed_everything(0)
    network = SMALL if arguments.small else {}
    common = {"train": str(arguments.photos), "crop": arguments.crop, "batch_size": arguments.batch_size}

    # Stage I carries the targets of an image on from epoch to epoch, so the image must stay as it is.
    position = PositionStage(targets=str(arguments.output / "position/targets"), **network)
    data = FolderDataModule(**common, random_crop=False, flip=False, num_workers=0)
    position_weights = fit(position, data, arguments.output / "position", arguments.epochs)

    attribute = AttributeStage(position_weights=str(position_weights), **network)
    data = FolderDataModule(**common, num_workers=0)
    weights = fit(attribute, data, arguments.output / "attribute", arguments.epochs)

    photo = find_images(arguments.photos)[0]
    for predictor in (fastgs.Predictor(), fastgs.Predictor.from_pretrained(weights)):
        result = predictor(photo, num_gaussians=5_000, iterations=20, size=256)
        print(f"{predictor.init}: {result.psnr_init:.2f} dB at once, {result.psnr:.2f} dB after 20 iterations")


if __name__ == "__main__":
    main()
