"""Tables of the JSON files in benchmarks/results that programs in benchmarks/ wrote."""

from __future__ import annotations

from typing import Any

from benchmarks.quality import starts
from benchmarks.quality.graphics import verdicts
from fastgs.evaluation.tables import MISSING, Table

Content = dict[str, Any]


def mean(records: list[Content], key: str, **cell: object) -> float:
    """Return the mean of one field over the records of a cell, given as fields and their values."""
    values = [record[key] for record in records if all(record[name] == value for name, value in cell.items())]
    return float(sum(values) / len(values))


def quality_table(content: Content) -> Table:
    """Return PSNR and seconds: a row for each initializer and K, a column for each number of iterations."""
    settings, records = content["settings"], content["records"]
    photos = len({record["image"] for record in records})
    rows = []
    for init in settings["init"]:
        for count in settings["num_gaussians"]:
            cell = {"init": init, "num_gaussians": count}
            at_once, ready = mean(records, "psnr_init", **cell), mean(records, "seconds_init", **cell)
            rows.append([init, f"{count:,}", f"{at_once:.2f} ({ready:.2f} s)"])
            for iterations in settings["iterations"]:
                psnr = mean(records, "psnr", **cell, iterations=iterations)
                seconds = mean(records, "seconds_fit", **cell, iterations=iterations)
                rows[-1].append(f"{psnr:.2f} ({seconds:.1f} s)")
    return Table(
        f"PSNR in dB, mean of {photos} Kodak photos at {settings['size']} x {settings['size']}; each cell is a run of "
        "that many iterations",
        ["init", "K", "at once", *(f"{iterations} iterations" for iterations in settings["iterations"])],
        rows,
    )


def ablations_table(content: Content) -> Table:
    """Return what each part of the method is worth."""
    settings = content["settings"]
    title = (
        "What each part of the method is worth: PSNR at once and after so many iterations. The short training and what "
        f"is below it are networks after little training (epochs of Stage I: {settings['epochs']}, steps of Stage II: "
        f"{settings['steps']})"
    )
    return _variants_table(title, content)


def oracles_table(content: Content) -> Table:
    """Return how good a start could be."""
    images = len({record["image"] for record in content["records"]})
    title = (
        f"How good a start could be, mean of {images} photos: fits that begin with what a fit of "
        f"{content['settings']['teacher_iterations']:,} iterations of the same photo knows; what is not named is the "
        "heuristic's"
    )
    return _variants_table(title, content)


def counts_table(content: Content) -> Table:
    """Return how near fits with a number of Gaussians for a PSNR come to that: a row for each kind of picture."""
    fields = ("mean_error_first", "mean_error", "most_error", "mean_fits", "most_fits")
    rows = [
        [record["summary"], str(record["wishes"]), *(f"{record[field]:.2f}" for field in fields)]
        for record in content["records"]
        if "summary" in record
    ]
    title = (
        f"Number of Gaussians for a PSNR, {content['settings']['iterations']} iterations: mean distance from the PSNR "
        "that was asked for, in dB, and the cost in fits of the final number; each wish counts the same"
    )
    return Table(title, ["", "wishes", "after the fit", "in the end", "largest", "fits, mean", "most"], rows, "lrrrrrr")


def starts_table(content: Content) -> Table:
    """Return what both starts reach in which time: PSNR, and in brackets the seconds with the start."""
    settings, records = content["settings"], content["records"]
    rows = []
    for count in settings["num_gaussians"]:
        for name in starts.NAMES:
            cells = [f"{psnr:.2f} ({seconds:.2f} s)" for _, seconds, psnr in starts.points(records, count, name)]
            rows.append([f"{count:,}", name, *cells])
    images = len({record["image"] for record in records})
    title = (
        f"What the learned start is worth, in iterations and in seconds: PSNR in dB, mean of {images} photos at "
        f"{settings['size']} x {settings['size']}; in brackets the median seconds of start and fit together"
    )
    headings = ["K", "start", *("at once" if not n else f"{n} iterations" for n in sorted(settings["iterations"]))]
    return Table(title, headings, rows, "rl" + "r" * len(settings["iterations"]))


def _variants_table(title: str, content: Content) -> Table:
    """Return a row for each variant, and columns for each K at once and after each number of iterations."""
    settings, records = content["settings"], content["records"]
    counts, budgets = settings["num_gaussians"], [str(budget) for budget in settings["iterations"]]
    rows = []
    for name in dict.fromkeys(record["variant"] for record in records):
        rows.append([name])
        for count in counts:
            chosen = [each for each in records if (each["variant"], each["num_gaussians"]) == (name, count)]
            scores = [{"at once": each["psnr_init"], **each["psnr"]} for each in chosen]
            rows[-1] += [f"{mean(scores, when):.2f}" for when in ("at once", *budgets)]
    headings = [f"K = {count:,}, {when}" for count in counts for when in ("at once", *budgets)]
    return Table(title, ["", *headings], rows)


def sizes_table(content: Content) -> Table:
    """Return a row for each number of Gaussians, and a column for each number of iterations."""
    settings, records = content["settings"], content["records"]
    size = f"{records[0]['width']} x {records[0]['height']}"
    rows = []
    for count in dict.fromkeys(record["num_gaussians"] for record in records):
        rows.append([f"{count:,}"])
        for steps in settings["iterations"]:
            whole, crops = (
                mean(records, "psnr", predicted=name, num_gaussians=count, iterations=steps)
                for name in ("whole", "crops")
            )
            rows[-1].append(f"{whole:.2f} ({crops:.2f})")
    return Table(
        f"Sizes that the networks were not trained on: images of {size} pixels predicted and fitted whole, and their "
        f"crops of {settings['size']} x {settings['size']} one by one, with as many Gaussians in all",
        ["K", *(f"{steps} iterations, whole (crops)" for steps in settings["iterations"])],
        rows,
    )


def training_table(content: Content) -> Table:
    """Return a row for each stage and size of batch."""
    names = {
        "network": ("network_forward", "network_backward"),
        "rasterizer": ("rasterizer_forward", "rasterizer_backward"),
        "placing and targets": ("placing", "targets"),
        "data": ("data",),
    }
    rows = [
        [
            record["stage"],
            f"{record['batch']} x {record['side']} x {record['side']}",
            f"{record['images_per_second']:.1f}",
            f"{record['megapixels_per_second']:.2f}",
            *(f"{sum(record['shares'].get(part, 0) for part in parts):.0%}" for parts in names.values()),
        ]
        for record in content["records"]
    ]
    title = f"Training in {content['settings']['precision']}, and where its time goes"
    return Table(title, ["stage", "batch", "images/s", "megapixels/s", *names], rows)


def rasterizer_table(content: Content) -> Table:
    """Return milliseconds of the cpu backend."""
    rows = []
    for record in content["records"]:
        times = record["milliseconds"]
        if record["backend"] == "cpu" and record["size"] >= 512:
            whole = ["", ""]
            if "adam" in times:
                bar = times["yardstick_forward"] + times["yardstick_backward"] + times["adam"]
                whole = [f"{times['iteration']:.1f}", f"{bar:.1f}"]
            size = f"{record['size']} x {record['size']}"
            parts = [f"{times['forward']:.1f}", f"{times['backward']:.1f}"]
            rows.append([size, f"{record['num_gaussians']:,}", *parts, *whole])
    return Table(
        "Milliseconds of the rasterizer, and of one whole iteration against the C++ yardstick with Adam",
        ["size", "K", "forward", "backward", "iteration", "yardstick and Adam"],
        rows,
    )


def splats_table(content: Content) -> Table:
    """Return PSNR and speed of datasets of Gaussians: a row for each K and number of iterations, a column per start."""
    records, settings = content["records"], content["settings"]
    inits = list(dict.fromkeys(record["init"] for record in records))
    side = settings["size"]
    rows = []
    for count, iterations in dict.fromkeys((each["num_gaussians"], each["iterations"]) for each in records):
        cell = {"num_gaussians": count, "iterations": iterations}
        rows.append([f"{count:,}", str(iterations)])
        for init in inits:
            psnr, speed = (mean(records, key, **cell, init=init) for key in ("psnr", "images_per_second"))
            rows[-1].append(f"{psnr:.2f} ({speed:.0f})")
    return Table(
        f"Datasets of splats: {records[0]['images']:,} crops of {side} x {side} pixels of {settings['photos']} photos; "
        "mean PSNR in dB, in brackets images per second, reading and writing and the start of the processes included",
        ["K", "iterations", *inits],
        rows,
    )


def icons_table(content: Content) -> Table:
    """Return icons with transparency as .fgs and WebP files."""
    rows = [
        [
            record["icon"],
            f"{record['side']} x {record['side']}",
            f"{record['bpp']:g}",
            *(f"{record[kind]['psnr']:.2f} ({record[kind]['bytes']:,})" for kind in ("fgs", "webp")),
        ]
        for record in content["records"]
    ]
    title = "Icons with transparency: PSNR in dB of premultiplied colours and alpha, and bytes of the file"
    return Table(title, ["icon", "pixels", "bpp", ".fgs", "lossy WebP with alpha"], rows)


def graphics_table(content: Content) -> Table:
    """Return pictures that are no photos as files of each kind, a row each, with the verdict on a Gaussian file."""
    settings, records = content["settings"], content["records"]
    pictures = {
        name: verdicts.compare(record for record in records if record["picture"] == name)
        for name in settings["pictures"]
    }
    rows = []
    for name, comparisons in pictures.items():
        lossless = comparisons[0].lossless
        rows.append([name, f"{lossless['bpp']:.2f} ({verdicts.TITLES[lossless['codec']]})"])
        for each in comparisons:
            rows[-1] += [_describe_file(each.ours), _describe_file(each.other)]
        rows[-1].append(verdicts.describe(comparisons))
    rates = sorted(settings["bpp"])
    side = settings["side"]
    others = dict.fromkeys(record["codec"] for record in records if not record["lossless"])
    formats = ", ".join(verdicts.TITLES[name] for name in others if name != verdicts.OURS)
    limits = " and ".join(f"{bpp:g}" for bpp in rates)
    title = (
        f"Pictures that are no photos, {side} x {side}, as files of at most {limits} bpp: PSNR in dB, in brackets "
        f"bits per pixel, of .fgs and of the best of {formats}; bits per pixel of the smaller lossless PNG or WebP. "
        "With transparency, PSNR is of premultiplied colours and alpha, and JPEG is left out. "
        f"Differences up to {verdicts.NEAR:g} dB count as none"
    )
    headings = ["picture", "lossless"]
    for bpp in rates:
        headings += [f".fgs, {bpp:g} bpp", f"best other, {bpp:g} bpp"]
    return Table(title, [*headings, "verdict"], rows, notes=[verdicts.summarize(pictures)])


def _describe_file(record: Content | None) -> str:
    """Return PSNR and bits per pixel of a file, and the title of an image format."""
    if record is None or record["psnr"] is None:
        return MISSING
    title = "" if record["codec"] == verdicts.OURS else f" {verdicts.TITLES[record['codec']]}"
    return f"{record['psnr']:.2f} ({record['bpp']:.2f}){title}"


def stacks_table(content: Content) -> Table:
    """Return stacks of textures against one fit for each texture."""
    settings = content["settings"]
    parts = [name for name in content["records"][0] if name == "psnr" or name.startswith("psnr of ")]
    rows = [
        [record["image"], *(f"{record[part]['stack']:.2f} / {record[part]['separate']:.2f}" for part in parts)]
        for record in content["records"]
    ]
    title = (
        f"Nine channels of a material made of a photo, {settings['size']} x {settings['size']}: PSNR in dB of one set "
        f"of {settings['num_gaussians']:,} Gaussians / of three sets with as many parameters together"
    )
    return Table(title, ["photo", "all", *(part.removeprefix("psnr of ") for part in parts[1:])], rows)


def channels_table(content: Content) -> Table:
    """Return the time of an iteration by the number of channels."""
    settings = content["settings"]
    rows = [
        [str(record["channels"]), f"{record['milliseconds']:.1f}", f"{record['relative_to_rgb']:.2f}"]
        for record in content["records"]
    ]
    title = (
        f"An iteration of a fit by the number of channels, {settings['size']} x {settings['size']}, "
        f"K = {settings['num_gaussians']:,}"
    )
    return Table(title, ["channels", "ms", "relative to RGB"], rows)


def describe_memory(content: Content) -> str:
    """Return a line with the peaks of memory of the whole command."""
    peaks = [
        f"{record['peak_gigabytes']:.1f} GB ({record['width']} x {record['height']}, K = {record['num_gaussians']:,})"
        for record in content["records"]
    ]
    return f"Peak memory of the whole command, figure included: {', '.join(peaks)}.\n"


def giant_table(content: Content) -> Table:
    """Return memory, time and seams of fits in tiles."""
    rows = [
        [
            f"{record['width']} x {record['height']}",
            f"{record['num_gaussians']:,}",
            str(record["iterations"]),
            f"{record['tiles']}" + (", killed in the middle" if record["killed"] else ""),
            f"{record['psnr']:.2f}",
            f"{record['psnr_borders']:.2f} / {record['psnr_inside']:.2f}",
            f"{record['seconds'] / 60:.1f}",
            f"{record['peak_gigabytes']:.1f}",
        ]
        for record in content["records"]
    ]
    tiles = " and ".join(sorted({f"{record['tile']}" for record in content["records"]}))
    title = (
        f"`fastgs predict --tile {tiles} --pyramid` on mosaics of photos, the whole command; PSNR in dB of all "
        "pixels, and of those near borders of tiles / of the others"
    )
    columns = ["pixels", "K", "iterations", "tiles", "PSNR", "borders / inside", "minutes", "peak GB"]
    return Table(title, columns, rows)


def describe_decoding(content: Content) -> str:
    """Return a line with how long files take to open."""
    size = f"{content['settings']['width']} x {content['settings']['height']}"
    times = [
        f"{each['milliseconds']['both']:.0f} ms with {each['num_gaussians']:,} Gaussians in {each['bytes']:,} bytes"
        for each in content["records"]
    ]
    return f"From the bytes of a file to {size} pixels: {', '.join(times)}.\n"


def describe_machines(contents: dict[str, Content]) -> str:
    """Return a line with the machine that each result was measured on."""
    places: dict[str, list[str]] = {}
    for name, content in contents.items():
        environment = content["environment"]
        versions = ", ".join(f"{package} {environment['packages'][package]}" for package in ("torch", "numba"))
        place = f"{environment['cores']} cores of an {environment['processor']} with {versions}"
        places.setdefault(place, []).append(name)
    return "; ".join(f"{', '.join(names)}: {place}" for place, names in places.items()) + ". No GPU.\n"
