"""Tables of throughput.json and million.json: small images per second, and what a million photos take."""

from __future__ import annotations

from benchmarks.quality.tables import Content
from fastgs.evaluation.tables import MISSING, Table

MILLION = 10**6
CORES = 64  # of the machine that a million photos are reckoned for
HOUR, DAY = 3600, 24


def small_table(content: Content) -> Table:
    """Return images per second of small images, a row for each way."""
    small = content["settings"]
    rows = [
        [
            each["way"],
            f"{each['images_per_second']:.0f}",
            f"{each['ratio']:.2f}",
            f"{each['core_milliseconds']:.1f}",
            MISSING if each["ready_threads"] is None else f"{each['ready_threads']:.2f}",
        ]
        for each in content["records"]
    ]
    title = (
        f"{small['images']:,} images of {small['side']} x {small['side']} at K = {small['num_gaussians']}, "
        f"{small['iterations']} iterations, start-up excluded; the ratio is to the first of its kind, "
        "and threads are ready that ran or waited for nothing but a core; "
        f"{_describe_load(content)}"
    )
    return Table(title, ["way", "images per second", "ratio", "core ms per image", "threads ready"], rows, "lrrrr")


def million_blocks(content: Content) -> list[str]:
    """Return what a photo of a megapixel takes, what follows for a million of them, and what limits."""
    large = content["settings"]
    records = {each["command"]: each for each in content["records"]}
    names = {
        "predict": f"`fastgs predict`, {large['iterations']} iterations",
        "encode": "`fastgs encode`, default effort",
    }
    rows = []
    for command, name in names.items():
        record = records[command]
        seconds = record["core_seconds"]
        hours = seconds * MILLION / HOUR
        whole = f"{hours:,.0f} core hours: {_format_hours(hours / CORES)} on {CORES} cores"
        rows.append([f"{name}, {record['psnr']:.1f} dB", f"{seconds:.1f} core seconds", whole])
        for suffix, size in record["bytes_written"].items():
            rows.append([f"its {suffix}", f"{size / 1e3:,.0f} kB", f"{size * MILLION / 1e9:,.0f} GB"])
    title = (
        f"Mosaics of photos, {large['side']} x {large['side']} pixels, K = {large['num_gaussians']:,}, from PNG to "
        f"files on disk, on {content['environment']['cores']} cores of an {content['environment']['processor']}; "
        f"{_describe_load(content)}"
    )
    predict = records["predict"]
    moved = predict["bytes_read"] + sum(predict["bytes_written"].values())
    limits = (
        f"The cores are what limits: `fastgs predict` reads and writes {moved / 1e6:.1f} MB in these seconds, so "
        f"{CORES} cores move {CORES * moved / predict['core_seconds'] / 1e6:,.0f} MB a second. Hours of a GPU are not "
        "in the table, as they have not been measured.\n"
    )
    return [Table(title, ["", "per photo", "a million"], rows).markdown(), limits]


def _format_hours(hours: float) -> str:
    """Return a time in hours, or days where there are many."""
    return f"{hours:.0f} hours" if hours < 2 * DAY else f"{hours / DAY:.1f} days"


def _describe_load(content: Content) -> str:
    """Return the day of the measurement, and how busy other programs kept the machine."""
    return f"{content['environment']['time'][:10]}, at a load of {content['settings']['load']} by other programs"
