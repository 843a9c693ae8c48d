"""Put the measured numbers, benchmarks/results/*.json, into benchmarks/RESULTS.md, and the main ones into the README.

python -m benchmarks.quality.report
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.environment import RESULTS
from fastgs.codec import SCHEMES
from fastgs.evaluation.autoencoders import tables as autoencoding
from fastgs.evaluation.autoencoders.records import AutoencoderRecord
from fastgs.evaluation.codecs import tables as rate_distortion
from fastgs.evaluation.codecs.plots import over_rates
from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.evaluation.methods.plots import over_run
from fastgs.evaluation.methods.records import Record
from fastgs.evaluation.methods.tables import group, markdown
from fastgs.evaluation.records import load_records
from fastgs.io.files import atomic_write
from fastgs.methods import METHODS

README = Path(__file__).parents[2] / "README.md"
PAGE = Path(__file__).parents[1] / "RESULTS.md"
ASSETS = README.parent / "assets"
START, END = "<!-- results: written by benchmarks/quality/report.py -->", "<!-- end of results -->"


def mean(records: list[dict[str, Any]], key: str, **cell: object) -> float:
    """Mean of one field over the records of a cell."""
    values = [record[key] for record in records if all(record[name] == value for name, value in cell.items())]
    return float(sum(values) / len(values))


def quality_table(content: dict[str, Any]) -> list[str]:
    """One row for each initializer and K, one column for each number of iterations."""
    settings, records = content["settings"], content["records"]
    budgets = settings["iterations"]
    photos = len({record["image"] for record in records})
    lines = [
        f"PSNR in dB, mean of {photos} Kodak photos at {settings['size']} x {settings['size']}; each cell is a run of "
        "that many iterations:",
        "",
        "| init | K | at once | " + " | ".join(f"{budget} iterations" for budget in budgets) + " |",
        "|---|---|---|" + "---|" * len(budgets),
    ]
    for init in settings["init"]:
        for count in settings["num_gaussians"]:
            cells = [
                f"{mean(records, 'psnr', init=init, num_gaussians=count, iterations=budget):.2f} "
                f"({mean(records, 'seconds_fit', init=init, num_gaussians=count, iterations=budget):.1f} s)"
                for budget in budgets
            ]
            at_once = mean(records, "psnr_init", init=init, num_gaussians=count)
            ready = mean(records, "seconds_init", init=init, num_gaussians=count)
            lines.append(f"| {init} | {count:,} | {at_once:.2f} ({ready:.2f} s) | " + " | ".join(cells) + " |")
    return lines


def ablations_table(content: dict[str, Any]) -> list[str]:
    """What each part of the method is worth."""
    settings = content["settings"]
    return variants_table(
        "What each part of the method is worth: PSNR at once and after so many iterations. The short training and what "
        f"is below it are networks after little training (epochs of Stage I: {settings['epochs']}, steps of Stage II: "
        f"{settings['steps']}):",
        content,
    )


def oracles_table(content: dict[str, Any]) -> list[str]:
    """How good a start could be."""
    images = len({record["image"] for record in content["records"]})
    return variants_table(
        f"How good a start could be, mean of {images} photos: fits that begin with what a fit of "
        f"{content['settings']['teacher_iterations']:,} iterations of the same photo knows; what is not named is the "
        "heuristic's:",
        content,
    )


def variants_table(title: str, content: dict[str, Any]) -> list[str]:
    """One row for each variant, columns for each K at once and after each number of iterations."""
    settings, records = content["settings"], content["records"]
    counts, budgets = settings["num_gaussians"], [str(budget) for budget in settings["iterations"]]
    heads = [f"K = {count:,}, {when}" for count in counts for when in ("at once", *budgets)]
    lines = [title, "", "| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name in dict.fromkeys(record["variant"] for record in records):
        cells = []
        for count in counts:
            chosen = [each for each in records if (each["variant"], each["num_gaussians"]) == (name, count)]
            cells.append(mean(chosen, "psnr_init"))
            cells += [sum(each["psnr"][budget] for each in chosen) / len(chosen) for budget in budgets]
        lines.append(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return lines


def sizes_table(content: dict[str, Any]) -> list[str]:
    """One row for each number of Gaussians, columns for each number of iterations."""
    settings, records = content["settings"], content["records"]
    size = f"{records[0]['width']} x {records[0]['height']}"
    lines = [
        f"Sizes that the networks were not trained on: images of {size} pixels predicted and fitted whole, and their "
        f"crops of {settings['size']} x {settings['size']} one by one, with as many Gaussians in all:",
        "",
        "| K | " + " | ".join(f"{steps} iterations, whole (crops)" for steps in settings["iterations"]) + " |",
        "|---|" + "---|" * len(settings["iterations"]),
    ]
    for count in dict.fromkeys(record["num_gaussians"] for record in records):
        cells = []
        for steps in settings["iterations"]:
            whole, crops = (
                mean(records, "psnr", predicted=name, num_gaussians=count, iterations=steps)
                for name in ("whole", "crops")
            )
            cells.append(f"{whole:.2f} ({crops:.2f})")
        lines.append(f"| {count:,} | " + " | ".join(cells) + " |")
    return lines


def training_table(content: dict[str, Any]) -> list[str]:
    """One row for each stage and size of batch."""
    names = {
        "network": ("network_forward", "network_backward"),
        "rasterizer": ("rasterizer_forward", "rasterizer_backward"),
        "placing and targets": ("placing", "targets"),
        "data": ("data",),
    }
    lines = [
        f"Training in {content['settings']['precision']}, and where its time goes:",
        "",
        "| stage | batch | images/s | megapixels/s | " + " | ".join(names) + " |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    for record in content["records"]:
        shares = [f"{sum(record['shares'].get(part, 0) for part in parts):.0%}" for parts in names.values()]
        lines.append(
            f"| {record['stage']} | {record['batch']} x {record['side']} x {record['side']} | "
            f"{record['images_per_second']:.1f} | {record['megapixels_per_second']:.2f} | " + " | ".join(shares) + " |"
        )
    return lines


def rasterizer_table(content: dict[str, Any]) -> list[str]:
    """Milliseconds of the cpu backend."""
    lines = [
        "Milliseconds of the rasterizer, and of one whole iteration against the C++ yardstick with Adam:",
        "",
        "| size | K | forward | backward | iteration | yardstick and Adam |",
        "|---|---|---|---|---|---|",
    ]
    for record in content["records"]:
        times = record["milliseconds"]
        if record["backend"] == "cpu" and record["size"] >= 512:
            whole = ["", ""]
            if "adam" in times:
                bar = times["yardstick_forward"] + times["yardstick_backward"] + times["adam"]
                whole = [f"{times['iteration']:.1f}", f"{bar:.1f}"]
            cells = [f"{times['forward']:.1f}", f"{times['backward']:.1f}", *whole]
            lines.append(
                f"| {record['size']} x {record['size']} | {record['num_gaussians']:,} | " + " | ".join(cells) + " |"
            )
    return lines


def memory_line(content: dict[str, Any]) -> str:
    """Peaks of the whole command."""
    peaks = [
        f"{record['peak_gigabytes']:.1f} GB ({record['width']} x {record['height']}, K = {record['num_gaussians']:,})"
        for record in content["records"]
    ]
    return f"Peak memory of the whole command, figure included: {', '.join(peaks)}."


def drawn(name: str, figure: Figure, title: str) -> str:
    """Keep a figure as assets/NAME.png; the line that shows it."""
    figure.savefig(ASSETS / f"{name}.png", dpi=110, bbox_inches="tight")
    return f"![{title}]({ASSETS.name}/{name}.png)"


def methods_table(path: Path) -> list[str]:
    """PSNR of all methods, as `fastgs table` shows them, and on their way."""
    records = load_records(path, Record)
    title, rows = markdown(records).split("\n\n")[:2]
    published = [METHODS[name].iterations for name in {record.method for record in records} if "fastgs" not in name]
    note = (
        f"Ours and its peers; these were published with {min(published):,} to {max(published):,} iterations, and their "
        f"schedules are shrunk to fewer here. {title}"
    )
    steps = [record for record in records if record.budget.iterations is not None]
    picture = drawn("methods", over_run(group(steps), seconds=False), "PSNR on the way of each method")
    return [note, "", *rows.splitlines(), "", picture]


def rates_tables(path: Path) -> list[str]:
    """PSNR and BD-rates of codecs, as `fastgs table` shows them, and the picture; MS-SSIM is left to it."""
    records = load_records(path, CodecRecord)
    blocks = rate_distortion.markdown(records).rstrip("\n").split("\n\n")
    figure = over_rates(rate_distortion.group(records), "psnr", "PSNR in dB")
    picture = drawn("rates", figure, "PSNR over bits per pixel")
    return ["\n\n".join([f"Files of photos. {blocks[0]}", blocks[1], *blocks[-2:], picture])]


def autoencoders_table(path: Path) -> list[str]:
    """All autoencoders, as `fastgs table` shows them, and what they make of some images."""
    title, rows = autoencoding.markdown(load_records(path, AutoencoderRecord)).rstrip("\n").split("\n\n")
    names = "Autoencoders of crops of photos, as Gaussians (plain or anchored parameters) and as pixels"
    picture = f"![Crops, their Gaussians, and what autoencoders make of them]({ASSETS.name}/autoencoders.png)"
    return [f"{names}. {title}", "", *rows.splitlines(), "", picture]


def peers_table(path: Path, ours: Path) -> list[str]:
    """PSNR of the codecs of peers beside ours on the same photos at the same rates."""
    theirs = load_records(path, CodecRecord)
    cells = {(record.image, record.bpp_target) for record in theirs}
    same = [record for record in load_records(ours, CodecRecord) if record.codec == "fastgs"]
    same = [record for record in same if (record.image, record.bpp_target) in cells]
    title, rows = rate_distortion.markdown([*same, *theirs]).split("\n\n")[:2]
    (iterations,) = {record.iterations for record in theirs}
    photos = ", ".join(sorted({Path(record.image).stem for record in theirs}))
    note = (
        f"The codecs of peers after {iterations:,} iterations, published with "
        f"{min(SCHEMES[record.codec].iterations for record in theirs):,} and more, on {photos}. {title}"
    )
    return [note, "", *rows.splitlines()]


def decoding_line(content: dict[str, Any]) -> str:
    """How long a file takes to open."""
    size = f"{content['settings']['width']} x {content['settings']['height']}"
    times = [
        f"{each['milliseconds']['both']:.0f} ms with {each['num_gaussians']:,} Gaussians in {each['bytes']:,} bytes"
        for each in content["records"]
    ]
    return f"From the bytes of a file to {size} pixels: {', '.join(times)}."


def splats_table(content: dict[str, Any]) -> list[str]:
    """PSNR and speed of datasets of splats, one row for each K and number of iterations, one column for each start."""
    records, settings = content["records"], content["settings"]
    inits = list(dict.fromkeys(record["init"] for record in records))
    side = settings["size"]
    lines = [
        f"Datasets of splats: {records[0]['images']:,} crops of {side} x {side} pixels of {settings['photos']} photos; "
        "mean PSNR in dB, in brackets images per second, reading and writing and the start of the processes included:",
        "",
        "| K | iterations | " + " | ".join(inits) + " |",
        "|---|---|" + "---|" * len(inits),
    ]
    for count, iterations in dict.fromkeys((each["num_gaussians"], each["iterations"]) for each in records):
        chosen = [each for each in records if (each["num_gaussians"], each["iterations"]) == (count, iterations)]
        cells = [
            f"{mean(chosen, 'psnr', init=init):.2f} ({mean(chosen, 'images_per_second', init=init):.0f})"
            for init in inits
        ]
        lines.append(f"| {count:,} | {iterations} | " + " | ".join(cells) + " |")
    return lines


def machines(contents: dict[str, dict[str, Any]]) -> str:
    """Which results were measured on what."""
    places: dict[str, list[str]] = {}
    for name, content in contents.items():
        places.setdefault(machine(content), []).append(name)
    return "; ".join(f"{', '.join(names)}: {place}" for place, names in places.items())


def machine(content: dict[str, Any]) -> str:
    """What a result was measured on, and with."""
    environment = content["environment"]
    versions = ", ".join(f"{name} {environment['packages'][name]}" for name in ("torch", "numba"))
    return f"{environment['cores']} cores of an {environment['processor']} with {versions}"


def write(path: Path, blocks: list[list[str]]) -> None:
    """Rewrite the part of a page between the markers."""
    before, _, rest = path.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    lines = "\n\n".join("\n".join(block) for block in blocks)
    with atomic_write(path) as temporary:
        temporary.write_text(f"{before}{START}\n{lines}\n{END}{after}")


def main() -> None:
    """Rewrite both pages."""
    names = (
        *("quality", "ablations", "sizes", "oracles"),
        *("training", "rasterizer", "memory", "decoding", "splats"),
    )
    results = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in names}
    write(
        README,
        [
            quality_table(results["quality"]),
            methods_table(RESULTS / "methods.json"),
            rates_tables(RESULTS / "rates.json"),
            autoencoders_table(RESULTS / "autoencoders.json"),
        ],
    )
    write(
        PAGE,
        [
            ablations_table(results["ablations"]),
            sizes_table(results["sizes"]),
            oracles_table(results["oracles"]),
            training_table(results["training"]),
            rasterizer_table(results["rasterizer"]),
            [memory_line(results["memory"])],
            peers_table(RESULTS / "rates_peers.json", RESULTS / "rates.json"),
            [decoding_line(results["decoding"])],
            splats_table(results["splats"]),
            [f"{machines(results)}. No GPU."],
        ],
    )


if __name__ == "__main__":
    main()
