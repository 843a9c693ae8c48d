"""`fastgs evaluate` and `fastgs table`: what they write, that it repeats, and that nothing is lost or made twice."""

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image
from processes import alive, children, interrupt, start, wait_until, when
from skimage import data

from fastgs.cli import main as cli
from fastgs.evaluation.methods.records import MEASURED
from fastgs.initializers import INITIALIZERS
from fastgs.io.images import load_image
from fastgs.methods import METHODS, Method
from fastgs.metrics.lpips import lpips
from fastgs.metrics.quality import psnr, ssim

OURS, PEER = "fastgs-curvature", "image-gs-gradient"
METHOD_NAMES, COUNTS, BUDGETS = [OURS, PEER], [30, 60], [0, 5, 10]
GRID = ("--methods", f"{OURS},{PEER}", "-k", "30,60", "--iterations", "0,5,10", "--size", "48")
QUICK = ("--methods", OURS, "-k", "30", "--iterations", "5", "--size", "48")


def run(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def load(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


def repeatable(records: list[dict]) -> list[dict]:
    """What must be the same in every run."""
    kept = [{name: value for name, value in record.items() if name not in MEASURED} for record in records]
    return [{**record, "history": [(entry[0], entry[2]) for entry in record["history"]]} for record in kept]


def without_pictures(records: list[dict]) -> list[dict]:
    return [{**record, "picture": None} for record in repeatable(records)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, photo in (("a", data.chelsea()[100:160, 100:148]), ("b", data.coffee()[100:148, 200:270])):
        Image.fromarray(photo).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def evaluation(photos, tmp_path_factory) -> Path:
    """The records of the grid, with pictures."""
    folder = tmp_path_factory.mktemp("evaluation")
    output = folder / "grid.json"
    assert run("evaluate", photos, *GRID, "--output", output, "--pictures", folder / "pictures") == 0
    return output


# Records


def test_records(evaluation, photos):
    records = load(evaluation)
    cells = [
        (method, str(photos / f"{name}.png"), count, {"iterations": budget, "seconds": None})
        for method in METHOD_NAMES
        for name in "ab"
        for count in COUNTS
        for budget in BUDGETS
    ]
    names = ("method", "image", "num_gaussians", "budget")
    assert [tuple(record[name] for name in names) for record in records] == cells
    for record in records:
        assert (record["height"], record["width"], record["size"], record["seed"]) == (48, 48, 48, 0)
        assert record["iterations"] == record["budget"]["iterations"] == record["history"][-1][0]
        assert record["psnr_init"] == pytest.approx(record["history"][0][2], abs=1e-4)
        assert record["psnr"] == pytest.approx(record["history"][-1][2], abs=1e-4)
        assert record["ms_ssim"] is None and record["lpips"] is None and record["fastgs"]
        assert record["seconds_sampling"] > 0 and record["seconds_network"] == 0
        assert record["workers"] == 1 and record["seconds_render"] > 0 and record["threads"] >= 1
        assert record["peak_memory_mb"] is None or 50 < record["peak_memory_mb"] < 50_000
        target = load_image(record["image"], 48)
        assert torch.equal(target, load_image(Path(record["picture"]).with_name(picture_of_target(record))))
        picture = load_image(record["picture"])
        assert psnr(picture, target) == pytest.approx(record["psnr"], abs=0.05)  # it has 8 bits
        assert ssim(picture, target) == pytest.approx(record["ssim"], abs=0.01)
        # Exactly K: eight numbers of four bytes each, and a header that varies by less than one Gaussian.
        assert 360 <= record["bytes"] - 32 * record["num_gaussians"] < 360 + 32


def picture_of_target(record: dict) -> str:
    return f"{Path(record['image']).stem}-{record['sha256'][:8]}-{record['size']}.png"


def test_budget_of_seconds_and_full_size(photos, tmp_path, capsys):
    arguments = (
        "--methods",
        OURS,
        "-k",
        40,
        "--seconds",
        "0.2",
        "--full-size",
        "--output",
        tmp_path / "new" / "r.json",
    )
    assert run("evaluate", photos / "b.png", *arguments) == 0
    (record,) = load(tmp_path / "new" / "r.json")
    assert record["budget"] == {"iterations": None, "seconds": 0.2} and record["iterations"] > 0
    assert (record["size"], record["height"], record["width"], record["picture"]) == (None, 48, 70, None)
    assert 0.2 <= record["seconds_fit"] == pytest.approx(record["history"][-1][1], abs=1e-4)
    said = capsys.readouterr()
    assert said.out.startswith(f"{photos / 'b.png'}: {OURS}, K = 40, 0.2 seconds  {record['psnr']:.2f} dB  ")
    assert said.out.count("\n") == 1 and said.err == ""


def test_seed(photos, tmp_path):
    for seed in (0, 1):
        assert run("evaluate", photos / "a.png", *QUICK, "--seed", seed, "--output", tmp_path / "r.json") == 0
    zero, one = load(tmp_path / "r.json")
    assert (zero["seed"], one["seed"]) == (0, 1) and zero["psnr"] != one["psnr"]


# Repetition and continuation


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux has them")
def test_killed_run_continues(evaluation, photos, tmp_path):
    """Killed with two workers, ended with one: every record as in one go, and those that were there untouched."""
    output = tmp_path / "r.json"
    with start("-m", "fastgs", "evaluate", photos, *GRID, "--output", output, "--workers", 2) as process:
        wait_until(output.exists)
        workers = children(process.pid)
        process.kill()
    assert len(workers) >= 2
    before = output.read_text().strip("[]\n").split(",\n")
    assert 1 <= len(before) < 24
    wait_until(lambda: not any(map(alive, workers)))  # they do not wait for ever

    assert run("evaluate", photos, *GRID, "--output", output) == 0
    assert set(before) < set(output.read_text().strip("[]\n").split(",\n"))
    assert repeatable(load(output)) == without_pictures(load(evaluation))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of threads")
def test_interrupted(photos, tmp_path, capfd):
    output = tmp_path / "r.json"
    arguments = ("--methods", OURS, "-k", "30", "--iterations", "1", "--seconds", "60,61,62", "--size", 48)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        when(output.exists, interrupt)
        code = run("evaluate", photos / "a.png", *arguments, "--output", output, "--workers", 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, capfd.readouterr().err) == (130, "fastgs: interrupted\n")
    assert [record["iterations"] for record in load(output)] == [1]


@pytest.mark.slow
def test_networks_do_not_depend_on_workers_or_threads(photos, tmp_path):
    """torch's convolutions differ in the last bits with the number of threads, and the fits would with them."""
    results = []
    before = torch.get_num_threads()
    try:
        for number, (workers, threads) in enumerate([(1, 1), (1, 2), (2, 2)]):
            torch.set_num_threads(threads)
            output = tmp_path / f"{number}.json"
            arguments = ("--methods", "fastgs", "-k", 60, "--iterations", 5, "--size", 128, "--workers", workers)
            assert run("evaluate", photos, *arguments, "--output", output) == 0
            records = load(output)
            assert all(each["seconds_network"] > 0 and each["workers"] == workers for each in records)
            results.append(repeatable(records))
    finally:
        torch.set_num_threads(before)
    assert len(results[0]) == 2 and results[0] == results[1] == results[2]


def test_what_is_there_is_not_made_again(evaluation, photos, tmp_path, monkeypatch, capsys):
    output = tmp_path / "r.json"
    shutil.copy(evaluation, output)
    before = output.read_bytes()

    def fail(*arguments, **options):
        raise AssertionError("made again")

    monkeypatch.setattr(Method, "__call__", fail)
    # The same folder, spelled in another way.
    assert run("evaluate", f"{photos}/.", *GRID, "--output", output) == 0
    assert output.read_bytes() == before and capsys.readouterr().out == ""
    with pytest.raises(AssertionError, match="made again"):
        run("evaluate", photos, *GRID, "--size", 47, "--output", output)


def test_extension_and_changed_image(photos, tmp_path):
    output = tmp_path / "r.json"
    image = tmp_path / "a.png"
    shutil.copy(photos / "a.png", image)

    def evaluate(methods: str, counts: str) -> list[dict]:
        assert run("evaluate", image, "--methods", methods, "-k", counts, "--iterations", 3, "--size", 48,
                   "--output", output) == 0  # fmt: skip
        return load(output)

    (first,) = evaluate(OURS, "30")
    four = evaluate(f"{PEER},{OURS}", "60,30")
    cells = [(PEER, 60), (PEER, 30), (OURS, 60), (OURS, 30)]
    assert [(record["method"], record["num_gaussians"]) for record in four] == cells and four[3] == first
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    five = evaluate(OURS, "30")
    assert five[:4] == four and five[4]["sha256"] != first["sha256"]


def test_pictures_asked_for_later(photos, tmp_path):
    output, pictures = tmp_path / "r.json", tmp_path / "pictures"
    arguments = ("evaluate", photos, *QUICK, "--output", output)
    assert run(*arguments) == 0
    without = load(output)
    assert run(*arguments, "--pictures", pictures) == 0
    assert without_pictures(load(output)) == repeatable(without)
    assert all(Path(record["picture"]).parent == pictures for record in load(output))
    assert len(list(pictures.iterdir())) == 4


def test_progress_on_a_terminal_only(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "160")
    assert run("evaluate", photos, *QUICK, "--output", tmp_path / "r.json") == 0
    said = capsys.readouterr()
    assert f"b.png: {OURS}, K = 30, 5 iterations: " in said.err and " dB" in said.err and "2 of 2" in said.err
    assert said.out.startswith(str(photos / "a.png")) and said.out.count("\n") == 2


# What goes wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--methods best", f"argument --methods: expected some of {', '.join(METHODS)}, got 'best'"),
        ("-k 30,x", "argument -k/--num-gaussians: expected numbers between commas, got '30,x'"),
        ("-k 30,0", "argument --num-gaussians: must be at least 1, got 0"),
        ("--iterations 5,-1", "argument --iterations: must be at least 0, got -1"),
        ("--iterations=", "argument --iterations: expected numbers between commas, got ''"),
        ("--seconds nan", "argument --seconds: must be more than 0 and finite, got nan"),
        ("--seed -1", "argument --seed: must be at least 0, got -1"),
        ("--size 0", "argument --size: must be at least 1, got 0"),
        ("--size 48 --full-size", "argument --full-size: not allowed with argument --size"),
        ("--workers 0", "argument --workers: must be at least 1, got 0"),
    ],
)
def test_wrong_option(photos, tmp_path, capsys, options, message):
    assert run("evaluate", photos, *QUICK, *options.split(), "--output", tmp_path / "r.json") == 2
    said = capsys.readouterr()
    assert said.err == f"fastgs evaluate: error: {message}\n" and said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_no_budget(photos, tmp_path, capsys):
    assert run("evaluate", photos, "--methods", OURS, "-k", 30, "--output", tmp_path / "r.json") == 2
    message = "one of the arguments --iterations and --seconds is required"
    assert capsys.readouterr().err == f"fastgs evaluate: error: {message}\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[\n{"method": "x", "im', "is damaged or no JSON (Unterminated string"),
        ("\x00\x01", "is damaged or no JSON ("),
        ('{"records": []}', "holds no list of records; name a file that"),
        ('[{"image": "a.png", "psnr": 30}]', "record 1 has other fields than this version writes; name a file that"),
    ],
)
def test_foreign_output(photos, tmp_path, capsys, content, reason):
    output = tmp_path / "r.json"
    output.write_text(content)
    for arguments in (["evaluate", photos, *QUICK, "--output", output], ["table", output]):
        assert run(*arguments) == 2
        said = capsys.readouterr().err
        assert f"{output}: {reason}" in said and said.count("\n") == 1
    assert output.read_text() == content


def test_altered_record(evaluation, tmp_path, capsys):
    for name, value in (("psnr", "30"), ("history", [[1, 2]]), ("budget", {"hours": 1}), ("num_gaussians", None)):
        records = load(evaluation)
        records[1][name] = value
        (tmp_path / "r.json").write_text(json.dumps(records))
        assert run("table", tmp_path / "r.json") == 2
        said = capsys.readouterr().err
        assert f"{tmp_path / 'r.json'}: record 2 has " in said and name in said and said.count("\n") == 1


def test_output_that_cannot_be_written(photos, capsys):
    assert run("evaluate", photos, *QUICK, "--output", photos) == 2
    assert capsys.readouterr().err.startswith(f"fastgs evaluate: error: argument --output: {photos}: cannot be read (")
    below = photos / "a.png" / "r.json"
    assert run("evaluate", photos, *QUICK, "--output", below) == 2
    assert f"argument --output: cannot write to {below.parent} (" in capsys.readouterr().err


def test_bad_images_are_said_once(photos, tmp_path, capsys):
    (tmp_path / "cut.png").write_bytes((photos / "a.png").read_bytes()[:900])
    images = (tmp_path / "cut.png", tmp_path / "missing.png", photos / "b.png")
    assert run("evaluate", *images, *QUICK, "-k", "30,60", "--output", tmp_path / "r.json") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [["fastgs", "error", str(path)] for path in images[:2]]
    assert [(record["image"], record["num_gaussians"]) for record in load(tmp_path / "r.json")] == [
        (str(photos / "b.png"), 30),
        (str(photos / "b.png"), 60),
    ]


def test_fits_that_fail(photos, tmp_path, capsys, monkeypatch):
    """One diverges, one ends with too many Gaussians: neither gives a record, and the others go on."""
    grid = replace(METHODS[OURS], initialize=INITIALIZERS["grid"])
    monkeypatch.setitem(METHODS, "more", replace(grid, start=lambda count: count + (count < 50)))

    def diverge(image, count, generator=None):
        if image.shape[1] == 48:  # not when it is warmed up
            raise ValueError("the fit diverged before iteration 7; use lower rates")
        return INITIALIZERS["grid"](image, count, generator)

    monkeypatch.setitem(METHODS, "bad", replace(grid, initialize=diverge))
    image, output = photos / "a.png", tmp_path / "r.json"
    options = ("--methods", "bad,more", "-k", "30,60", "--iterations", 1, "--size", 48, "--output", output)
    assert run("evaluate", image, *options) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"fastgs: error: {image}: bad, K = 30, 1 iteration: the fit diverged before iteration 7; use lower rates",
        f"fastgs: error: {image}: bad, K = 60, 1 iteration: the fit diverged before iteration 7; use lower rates",
        f"fastgs: error: {image}: more, K = 30, 1 iteration: more ended with 31 Gaussians; 30 were asked for",
    ]
    assert [(record["method"], record["num_gaussians"]) for record in load(output)] == [("more", 60)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux has them")
def test_killed_worker(photos, tmp_path, capfd):
    arguments = ("--methods", OURS, "-k", "30", "--iterations", "1", "--seconds", "60,61,62", "--size", 48)
    output = tmp_path / "r.json"

    def kill_workers():
        for child in children(os.getpid()):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)

    when(output.exists, kill_workers)
    assert run("evaluate", photos / "a.png", *arguments, "--output", output, "--workers", 2) == 1
    stderr = capfd.readouterr().err
    assert stderr.startswith("fastgs: error: a worker process was killed") and stderr.count("\n") == 1
    assert len(load(output)) == 1


def test_datasets_by_name(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "kodak", *QUICK, "--output", "r.json") == 2
    message = "argument DATA: kodak is not at data/kodak; get it with `fastgs download kodak`"
    assert capsys.readouterr().err == f"fastgs evaluate: error: {message}\n"
    shutil.copytree(photos, "data/DIV2K_valid_HR")
    assert run("evaluate", "div2k", *QUICK, "--output", "r.json") == 0
    assert [record["image"] for record in load(tmp_path / "r.json")] == [
        "data/DIV2K_valid_HR/a.png",
        "data/DIV2K_valid_HR/b.png",
    ]


# Tables and figures


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """Cells of the first table by K and method."""
    lines = [line.strip("| ").split(" | ") for line in text.split("\n\n")[1].splitlines()[2:]]
    return {(line[0], line[1]): line[2:] for line in lines}


def test_table(evaluation, capsys):
    assert run("table", evaluation) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "PSNR in dB, mean of 2 images at 48 × 48; best in bold; in brackets the seconds of a fit, on "
    )
    assert "| K | method | 0 iterations | 5 iterations | 10 iterations |" in text and "MS-SSIM" not in text
    records, found = load(evaluation), rows(text)
    assert list(found) == [("30", OURS), ("30", PEER), ("60", OURS), ("60", PEER)]
    for (count, method), cells in found.items():
        for budget, cell in zip(BUDGETS, cells, strict=True):
            means = {
                rival: fmean(
                    record["psnr"]
                    for record in records
                    if (record["method"], record["num_gaussians"], record["iterations"]) == (rival, int(count), budget)
                )
                for rival in METHOD_NAMES
            }
            score, seconds = cell.rstrip(")").split(" (")
            assert score.strip("*") == f"{means[method]:.2f}" and seconds.endswith(" s")
            assert score.startswith("**") == (means[method] == max(means.values()))


def test_table_marks_what_is_not_whole(evaluation, tmp_path, capsys):
    records = load(evaluation)
    # The best cell loses an image, another all of them.
    kept = [
        record
        for record in records
        if (record["method"], record["num_gaussians"]) != (PEER, 60)
        and not (
            record["method"] == OURS
            and (record["num_gaussians"], record["iterations"]) == (30, 10)
            and record["image"].endswith("b.png")
        )
    ]
    (tmp_path / "r.json").write_text(json.dumps(kept))
    (tmp_path / "rest.json").write_text(json.dumps([record for record in records if record not in kept]))
    assert run("table", tmp_path / "r.json") == 0
    found = rows(capsys.readouterr().out)
    assert ", 1 of 2 images (" in found["30", OURS][2] and "**" not in found["30", OURS][2]
    assert found["30", PEER][2].startswith("**") and found["60", PEER] == ["–", "–", "–"]
    assert run("table", evaluation) == 0
    whole = capsys.readouterr().out
    # Several files are as one, and what two of them hold counts once.
    assert run("table", evaluation, tmp_path / "r.json", tmp_path / "rest.json") == 0
    assert capsys.readouterr().out == whole


def test_table_of_larger_images_has_ms_ssim(photos, tmp_path, capsys):
    options = ("--methods", OURS, "-k", "60", "--iterations", "2", "--size", "180")
    assert run("evaluate", photos / "b.png", *options, "--output", tmp_path / "r.json") == 0
    (record,) = load(tmp_path / "r.json")
    capsys.readouterr()
    assert run("table", tmp_path / "r.json") == 0
    text = capsys.readouterr().out
    assert f"| 60 | {OURS} | **{record['ms_ssim']:.4f}** |\n" in text.split("MS-SSIM, mean of 1 image at 180 × 180")[1]


def test_figures(evaluation, tmp_path, capsys):
    assert run("table", evaluation, "--output", tmp_path / "new") == 0
    names = ["table.md", "psnr-iterations.png", "psnr-seconds.png", "psnr-gaussians.png", "errors.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "new" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)
    assert (tmp_path / "new" / "table.md").read_text("utf-8").startswith("PSNR in dB, mean of 2 images")
    pictures = {name: np.asarray(Image.open(tmp_path / "new" / name).convert("RGB")) for name in names[1:]}
    for name, color in ((name, color) for name in names[1:4] for color in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0))):
        assert (pictures[name] == color).all(axis=2).sum() > 300, f"{name} has no line of {color}"
    height, width, _ = pictures["errors.png"].shape
    width -= width % 3
    panels = pictures["errors.png"][:, :width].reshape(height, 3, width // 3, 3).transpose(1, 0, 2, 3)
    assert all(panel[height // 4].std() > 10 for panel in panels)  # the image, and two reconstructions
    assert panels[0][height * 3 // 4].min() > 200 and all(panel[height * 3 // 4].std() > 10 for panel in panels[1:])


def test_figures_without_pictures(photos, tmp_path):
    assert run("evaluate", photos, *QUICK, "--output", tmp_path / "r.json") == 0
    assert run("table", tmp_path / "r.json", "--output", tmp_path) == 0
    assert not (tmp_path / "errors.png").exists() and (tmp_path / "psnr-seconds.png").exists()


def test_table_refuses(photos, tmp_path, capsys):
    for size in (40, 48):
        assert run("evaluate", photos, *QUICK, "--size", size, "--output", tmp_path / "r.json") == 0
    (tmp_path / "none.json").write_text("[]")
    capsys.readouterr()
    for name, message in (
        ("r.json", "records of several sizes (40, 48) have no common mean; give each a file of its own"),
        ("none.json", f"{tmp_path / 'none.json'}: no records; run `fastgs evaluate` first"),
        ("missing.json", f"{tmp_path / 'missing.json'}: cannot be read (No such file or directory); check the path"),
    ):
        assert run("table", tmp_path / name) == 2
        assert capsys.readouterr().err == f"fastgs table: error: {message}\n"


@pytest.mark.slow
def test_lpips_where_weights_are_at_hand(tmp_path, monkeypatch):
    """The weights are drawn here: what they are matters to the value, not to what is tested."""
    from torchvision.models import AlexNet_Weights, alexnet

    image = load_image(data.coffee()[:31, :40].copy())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert lpips(image, image) is None
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(alexnet().state_dict(), tmp_path / "hub" / "checkpoints" / Path(AlexNet_Weights.DEFAULT.url).name)
    assert lpips(image, image) == 0 and lpips(1 - image, image) > 1e-6
    assert lpips(image[:, :30], image[:, :30]) is None
