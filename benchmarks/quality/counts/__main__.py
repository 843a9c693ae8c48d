"""Command line of the model of the number of Gaussians: data, training and measurement."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import run, write_results
from benchmarks.quality.counts import data, training
from benchmarks.quality.counts.coding import measure_coding
from benchmarks.quality.counts.measuring import measure, pictures, summarize
from fastgs.io.checkpoints import CHECKPOINTS
from fastgs.io.images import find_images
from fastgs.io.weights import write_pair
from fastgs.methods.count_model import FORMAT, VERSION, CountModel, load_model


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("data", help="fit pictures at several K, or steered, and append to a file")
    add.add_argument("photos", nargs="+", help="photos and folders of photos to train on")
    add.add_argument("--output", type=Path, required=True, help="file of JSON lines; what it has already is not redone")
    add.add_argument("--seeds", nargs=3, type=int, default=(0, 1000, 1), metavar=("FIRST", "END", "STEP"))
    add.add_argument("--model", type=Path, help="model (a safetensors file) to steer fits by; without, K stays")
    add = commands.add_parser("train", help="train the model")
    add.add_argument("photos", nargs="+", help="the same photos, in the same order")
    add.add_argument("--fits", type=Path, nargs="+", required=True, help="files of fits")
    add.add_argument("--output", type=Path, default=CHECKPOINTS / "count")
    add = commands.add_parser("measure", help="measure the shipped model, and write benchmarks/results/counts.json")
    add.add_argument("photos", nargs="+", help="photos that were not trained on")
    add.add_argument("--sizes", nargs="+", type=int, default=[256])
    add.add_argument("--seeds", type=int, default=2, help="number of pictures from each generator")
    add.add_argument("--targets", nargs="+", type=float, default=[28.0, 30.0, 32.0, 34.0, 36.0, 38.0, 40.0, 42.0])
    add.add_argument("--iterations", type=int, default=200)
    add.add_argument("--blend", choices=("normalized", "sum"), default="normalized")
    add.add_argument("--compare", action="store_true", help="also fit the same K in the usual way")
    add.add_argument("--name", default="counts", help="name of the JSON file in benchmarks/results")
    add = commands.add_parser("coding", help="measure the fits that encoding takes")
    add.add_argument("photos", nargs="+")
    add.add_argument("--size", type=int)
    add.add_argument("--targets", nargs="*", type=float, default=[32.0])
    add.add_argument("--rates", nargs="*", type=float, default=[0.2, 0.5])
    add.add_argument("--name", default="counts_coding", help="name of the JSON file in benchmarks/results")
    arguments = parser.parse_args()
    photos = find_images(arguments.photos)
    {"data": _collect, "train": _train, "measure": _measure, "coding": _measure_coding}[arguments.command](
        arguments, photos
    )


def _collect(arguments: argparse.Namespace, photos: list[Path]) -> None:
    torch.set_num_threads(1)
    model = None if arguments.model is None else load_model(arguments.model)
    data.collect(photos, arguments.output, range(*arguments.seeds), model)


def _train(arguments: argparse.Namespace, photos: list[Path]) -> None:
    records = training.read(arguments.fits)
    cache = arguments.fits[0].with_suffix(".npz")
    images = training.image_features(
        [record["seed"] for record in records], lambda seed: data.make(seed, photos)[1], cache
    )
    parts, errors = training.train(records, images)
    record = {
        "photos": len(photos),
        "pictures": len(images),
        "fits": sum("looks" not in each for each in records),
        "fits_steered": sum("looks" in each for each in records),
        "mean_error_db_of_pictures_left_out": errors,
    }
    write_pair(arguments.output, CountModel.tensors(parts), {"format": FORMAT, "version": VERSION, "training": record})


def _measure(arguments: argparse.Namespace, photos: list[Path]) -> None:
    records: list[dict[str, Any]] = []
    for size in arguments.sizes:
        images = pictures(photos, size, arguments.seeds)
        for record in measure(
            images, arguments.targets, arguments.iterations, arguments.blend, compare=arguments.compare
        ):
            records.append(record)
            print(json.dumps(record), flush=True)
    _write(arguments, records, list(summarize(records)))


def _measure_coding(arguments: argparse.Namespace, photos: list[Path]) -> None:
    records = []
    for record in measure_coding(photos, arguments.targets, arguments.rates, arguments.size):
        records.append(record)
        print(json.dumps(record), flush=True)
    _write(arguments, records, [])


def _write(arguments: argparse.Namespace, records: list[dict[str, Any]], summary: list[dict[str, Any]]) -> None:
    for each in summary:
        print(json.dumps(each))
    settings = {key: value for key, value in vars(arguments).items() if key not in ("photos", "name")}
    print(write_results(arguments.name, settings, [*summary, *records]))


if __name__ == "__main__":
    run(main)
