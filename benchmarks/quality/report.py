"""Report of all results: benchmarks/RESULTS.md with every table, and some in README.md and docs/.

    python -m benchmarks.quality.report

Between their markers, pages are written anew from benchmarks/results/*.json; three figures in assets/ are, too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.environment import RESULTS
from benchmarks.quality import published, starts, tables, throughput_tables
from fastgs.codec import SCHEMES
from fastgs.evaluation.autoencoders import tables as autoencoder_tables
from fastgs.evaluation.autoencoders.records import AutoencoderRecord
from fastgs.evaluation.codecs import tables as codec_tables
from fastgs.evaluation.codecs.plots import plot_rates
from fastgs.evaluation.codecs.records import CodecRecord
from fastgs.evaluation.figures import save_figures
from fastgs.evaluation.methods import tables as method_tables
from fastgs.evaluation.methods.plots import plot_runs
from fastgs.evaluation.methods.published_plots import plot_published
from fastgs.evaluation.methods.records import Budget, MethodRecord
from fastgs.evaluation.records import load_records
from fastgs.evaluation.tables import IMAGE_MEASURES, Table, group_by
from fastgs.evaluation.zoom import tables as zoom_tables
from fastgs.evaluation.zoom.records import ZoomRecord
from fastgs.io.files import atomic_write
from fastgs.methods import METHODS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGE = ROOT / "benchmarks" / "RESULTS.md"
NETWORKS = ROOT / "docs" / "concepts" / "networks.md"
JOBS = ROOT / "docs" / "guides" / "jobs.md"
START, END = "<!-- results: written by benchmarks/quality/report.py -->", "<!-- end of results -->"

# JSON files that programs in benchmarks/ wrote; the others are records of `fastgs evaluate`.
PROGRAMS = (
    *("quality", "ablations", "sizes", "oracles", "starts", "counts"),
    *("alpha", "stacks", "graphics"),
    *("training", "rasterizer", "channels", "memory", "giant", "throughput", "million", "decoding", "splats"),
)
# Table of the README: at most eight methods, one variant of each that was published, after one budget
# at one size.
README_METHODS = (
    *("fastgs", "fastgs-curvature", "fast-2dgs", "instant-gi-dither", "gaussianimage-plus"),
    *("gaussianimage-cholesky", "image-gs-gradient"),
)
README_BUDGET = Budget(iterations=1000, seconds=None)
README_SIZE = 512


def readme_table(records: list[MethodRecord]) -> Table:
    """Return the main result: PSNR of methods after one budget, a column for each K."""
    chosen = [
        record
        for record in records
        if record.method in README_METHODS and record.budget == README_BUDGET and record.size == README_SIZE
    ]
    grid = method_tables.group(chosen)
    rows = grid.format_rows(
        IMAGE_MEASURES[0],
        README_METHODS,
        grid.counts,
        key=lambda method, count: (method, count, README_BUDGET),
    )
    title = f"PSNR in dB after {README_BUDGET}, {grid.over}, best in bold; {describe_published(chosen)}"
    return Table(title, ["method", *(f"K = {count:,}" for count in grid.counts)], rows, "l" + "r" * len(grid.counts))


def describe_published(records: Iterable[MethodRecord]) -> str:
    """Return how many iterations the methods that are not this project's were published with."""
    names = {record.method for record in records}
    iterations = [METHODS[name].iterations for name in names if not name.startswith("fastgs")]
    return (
        f"the methods of others were published with {min(iterations):,} to {max(iterations):,} iterations, and their "
        "schedules are shrunk to fewer here"
    )


def methods_blocks(records: list[MethodRecord]) -> list[str]:
    """Return PSNR of methods at each size, as `fastgs table` shows them, and a figure of their course at the first."""
    by_size = group_by(records, lambda record: record.size)
    heads = [method_tables.tables(members)[0] for members in by_size.values()]
    first = [record for record in next(iter(by_size.values())) if record.budget.iterations is not None]
    figure = plot_runs(method_tables.group(first), seconds=False)
    return [
        *(replace(table, title=f"{table.title}; {describe_published(records)}").markdown() for table in heads),
        draw("methods", figure, "PSNR along the fit of each method"),
    ]


def published_blocks(records: list[MethodRecord]) -> list[str]:
    """Return results at the lengths of papers: differences from them, what was measured at each size, and figures."""
    blocks = [published.differences_table(records).markdown(), published.cuts_table(records).markdown()]
    for size, members in group_by(records, lambda record: record.size).items():
        table, figure = method_tables.published_table(members), plot_published(members)
        if table is not None and figure is not None:
            name = f"published-{'full' if size is None else size}"
            blocks += [table.markdown(), draw_lines(name, figure, "PSNR over K and seconds, measured and published")]
    return [*blocks, "Seconds in these figures are of one thread each, on a machine that was busy with other work.\n"]


def rates_blocks(records: list[CodecRecord]) -> list[str]:
    """Return PSNR and BD-rates of codecs, as `fastgs table` shows them, and a figure."""
    grid = codec_tables.group(records)
    figure = plot_rates(grid, "psnr", "PSNR in dB")
    return [
        codec_tables.tables(records)[0].markdown(),
        *(table.markdown() for table in codec_tables.differences_tables(grid)),
        draw("rates", figure, "PSNR over bits per pixel"),
    ]


def peers_block(peers: list[CodecRecord], records: list[CodecRecord]) -> str:
    """Return PSNR of the codecs of others beside this project's, on the same photos at the same rates."""
    images, targets = {record.image for record in peers}, {record.bpp_target for record in peers}
    same = [each for each in records if each.curve == "fastgs" and each.image in images and each.bpp_target in targets]
    table = codec_tables.tables([*same, *peers])[0]
    (iterations,) = {record.iterations for record in peers}
    published = min(SCHEMES[record.codec].iterations for record in peers)
    photos = ", ".join(sorted(Path(image).stem for image in images))
    title = (
        f"The codecs of GaussianImage and GaussianImage++ after {iterations:,} iterations, published with "
        f"{published:,} and more, on {photos}. {table.title}"
    )
    return replace(table, title=title).markdown()


def zoom_blocks(records: list[ZoomRecord]) -> list[str]:
    """Return tables of enlarging, as `fastgs table` shows them."""
    return [table.markdown() for table in zoom_tables.tables(records)]


def start_blocks(results: dict[str, Any], folder: str = "../assets") -> list[str]:
    """Return what a start can be worth, and what the learned one is worth in time, with a figure."""
    return [
        tables.oracles_table(results["oracles"]).markdown(),
        tables.starts_table(results["starts"]).markdown(),
        draw("starts", starts.plot(results["starts"]), "PSNR over seconds from both starts", folder),
    ]


def autoencoders_blocks(records: list[AutoencoderRecord]) -> list[str]:
    """Return all autoencoders, as `fastgs table` shows them, and what they make of some images."""
    (table,) = autoencoder_tables.tables(records)
    names = "Autoencoders of crops of photos, as Gaussians (plain or anchored parameters) and as pixels"
    return [
        replace(table, title=f"{names}. {table.title}").markdown(),
        show("autoencoders.png", "Crops, their Gaussians, and what autoencoders make of them"),
    ]


def draw(name: str, figure: Figure, title: str, folder: str = "../assets") -> str:
    """Write a figure as assets/NAME.png, and return the line that shows it."""
    figure.savefig(ROOT / "assets" / f"{name}.png", dpi=110, bbox_inches="tight")
    return show(f"{name}.png", title, folder)


def draw_lines(name: str, figure: Figure, title: str) -> str:
    """Write a figure for print as assets/NAME.svg, and return the line that shows it."""
    save_figures(ROOT / "assets", {name: figure}, "svg")
    return show(f"{name}.svg", title)


def show(name: str, title: str, folder: str = "../assets") -> str:
    """Return the line of a page that shows assets/NAME; `folder` is the path of assets/ from there."""
    return f"![{title}]({folder}/{name})\n"


def write(path: Path, blocks: Iterable[str]) -> None:
    """Rewrite the part of a page between the markers.

    Raises:
        SystemExit: The page has no markers.
    """
    before, start, rest = path.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        sys.exit(f"{path}: lacks the lines {START} and {END}; add them where the tables are to stand")
    with atomic_write(path) as temporary:
        temporary.write_text(before + START + "\n" + "\n".join(blocks) + END + after, encoding="utf-8")


def main() -> None:
    """Rewrite all pages."""
    results = {name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in PROGRAMS}
    methods = load_records(RESULTS / "methods.json", MethodRecord)
    rates = load_records(RESULTS / "rates.json", CodecRecord)
    zoom = load_records(RESULTS / "zoom.json", ZoomRecord)
    peers = load_records(RESULTS / "rates_peers.json", CodecRecord)
    long = load_records(RESULTS / "published.json", MethodRecord)
    autoencoders = load_records(RESULTS / "autoencoders.json", AutoencoderRecord)
    sections = {
        "Fits": [
            tables.quality_table(results["quality"]).markdown(),
            tables.counts_table(results["counts"]).markdown(),
        ],
        "Methods": methods_blocks(methods),
        "Published lengths": published_blocks(long),
        "Zoom": zoom_blocks(zoom),
        "Codecs": [
            *rates_blocks(rates),
            peers_block(peers, rates),
            tables.graphics_table(results["graphics"]).markdown(),
            tables.describe_decoding(results["decoding"]),
        ],
        "Parts of the method": [
            tables.ablations_table(results["ablations"]).markdown(),
            tables.sizes_table(results["sizes"]).markdown(),
            *start_blocks(results),
        ],
        "Datasets of Gaussians and autoencoders": [
            tables.splats_table(results["splats"]).markdown(),
            *autoencoders_blocks(autoencoders),
        ],
        "Transparency and more channels": [
            tables.icons_table(results["alpha"]).markdown(),
            tables.stacks_table(results["stacks"]).markdown(),
        ],
        "Speed and memory": [
            tables.training_table(results["training"]).markdown(),
            tables.rasterizer_table(results["rasterizer"]).markdown(),
            tables.channels_table(results["channels"]).markdown(),
            tables.describe_memory(results["memory"]),
            tables.giant_table(results["giant"]).markdown(),
            throughput_tables.small_table(results["throughput"]).markdown(),
        ],
        "Machines": [tables.describe_machines(results)],
    }
    write(PAGE, [block for title, blocks in sections.items() for block in (f"## {title}\n", *blocks)])
    write(README, [readme_table(methods).markdown()])
    write(NETWORKS, start_blocks(results, folder="../../assets"))
    write(JOBS, throughput_tables.million_blocks(results["million"]))


if __name__ == "__main__":
    main()
