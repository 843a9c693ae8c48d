"""`fastgs evaluate --methods`: what is measured of methods, that it repeats, and that nothing is lost or made twice."""

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluating import METHOD_GRID, load, repeatable, run, without_pictures
from PIL import Image
from processes import alive, children, interrupt, interruptible, start, wait_until, when

from fastgs.evaluation.methods.records import MethodRecord
from fastgs.io.images import load_image
from fastgs.methods import Method
from fastgs.metrics.quality import psnr, ssim

OURS, PEER = "fastgs-curvature", "image-gs-gradient"
METHOD_NAMES, COUNTS, BUDGETS = [OURS, PEER], [30, 60], [0, 5, 10]
QUICK = ("--methods", OURS, "-k", "30", "--iterations", "5", "--size", "48")


def same(records: list[dict]) -> list[dict]:
    return without_pictures(repeatable(records, MethodRecord))


def test_records_come_by_method_image_count_and_budget(method_records, photos):
    cells = [
        (method, str(photos / f"{name}.png"), count, {"iterations": budget, "seconds": None})
        for method in METHOD_NAMES
        for name in "ab"
        for count in COUNTS
        for budget in BUDGETS
    ]
    names = ("method", "image", "num_gaussians", "budget")
    assert [tuple(record[name] for name in names) for record in load(method_records)] == cells


def test_records_agree_with_history_and_pictures(method_records):
    for record in load(method_records):
        assert (record["height"], record["width"], record["size"], record["seed"]) == (48, 48, 48, 0)
        assert record["iterations"] == record["budget"]["iterations"] == record["history"][-1][0]
        assert record["psnr_init"] == pytest.approx(record["history"][0][2], abs=1e-4)
        assert record["psnr"] == pytest.approx(record["history"][-1][2], abs=1e-4)
        assert record["ms_ssim"] is None is record["lpips"]
        assert record["fastgs"]
        assert record["seconds_sampling"] > 0 == record["seconds_network"]
        assert record["workers"] == 1
        assert record["seconds_render"] > 0
        assert record["threads"] >= 1
        assert record["peak_memory_mb"] is None or 50 < record["peak_memory_mb"] < 50_000
        target, path = load_image(record["image"], 48), Path(record["picture"])
        name = f"{Path(record['image']).stem}-{record['sha256'][:8]}-48.png"
        assert torch.equal(target.mul(255).round() / 255, load_image(path.with_name(name)))
        picture = load_image(path)
        assert psnr(picture, target) == pytest.approx(record["psnr"], abs=0.05)  # the picture has 8 bits
        assert psnr(picture, target) == pytest.approx(record["psnr_8bit"], abs=1e-6)
        assert ssim(picture, target) == pytest.approx(record["ssim"], abs=0.01)
        # Exactly K: eight numbers of four bytes each, and a header that varies by less than one Gaussian.
        assert 368 <= record["bytes"] - 32 * record["num_gaussians"] < 368 + 32


def test_budget_of_seconds_at_full_size(photos, tmp_path, capsys):
    output = tmp_path / "new" / "r.json"
    options = ("--methods", OURS, "-k", 40, "--seconds", "0.2", "--full-size", "--output", output)
    assert run("evaluate", photos / "b.png", *options) == 0
    (record,) = load(output)
    assert record["budget"] == {"iterations": None, "seconds": 0.2}
    assert record["iterations"] > 0
    assert (record["size"], record["height"], record["width"], record["picture"]) == (None, 64, 80, None)
    assert 0.2 <= record["seconds_fit"] == pytest.approx(record["history"][-1][1], abs=1e-4)
    said = capsys.readouterr()
    assert said.out.startswith(f"{photos / 'b.png'}: {OURS}, K = 40, 0.2 seconds  {record['psnr']:.2f} dB  ")
    assert said.out.count("\n") == 1
    assert said.err == ""


def test_seeds_give_different_fits(photos, tmp_path):
    for seed in (0, 1):
        assert run("evaluate", photos / "a.png", *QUICK, "--seed", seed, "--output", tmp_path / "r.json") == 0
    zero, one = load(tmp_path / "r.json")
    assert (zero["seed"], one["seed"]) == (0, 1)
    assert zero["psnr"] != one["psnr"]


def test_partial_file_continues(method_records, photos, tmp_path):
    """Records that are there stay untouched, and the others are as in one go."""
    lines = method_records.read_text(encoding="utf-8").strip("[]\n").split(",\n")
    output = tmp_path / "r.json"
    output.write_text("[\n" + ",\n".join(lines[1:22:3]) + "\n]\n", encoding="utf-8")
    assert run("evaluate", photos, *METHOD_GRID, "--output", output) == 0
    assert set(lines[1:22:3]) < set(output.read_text(encoding="utf-8").strip("[]\n").split(",\n"))
    assert same(load(output)) == same(load(method_records))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux has them")
def test_killed_run_continues(method_records, photos, tmp_path):
    """A run with two workers is killed, and one with one worker gives the same records as a run in one go."""
    output = tmp_path / "r.json"
    with start("-m", "fastgs", "evaluate", photos, *METHOD_GRID, "--output", output, "--workers", 2) as process:
        wait_until(output.exists)
        workers = children(process.pid)
        process.kill()
    assert len(workers) >= 2
    before = output.read_text(encoding="utf-8").strip("[]\n").split(",\n")
    assert 1 <= len(before) < 24
    wait_until(lambda: not any(map(alive, workers)))  # they do not wait for ever

    assert run("evaluate", photos, *METHOD_GRID, "--output", output) == 0
    assert set(before) < set(output.read_text(encoding="utf-8").strip("[]\n").split(",\n"))
    assert same(load(output)) == same(load(method_records))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of threads")
def test_interrupted_run_keeps_its_records(photos, tmp_path, capfd):
    output = tmp_path / "r.json"
    arguments = ("--methods", OURS, "-k", "30", "--iterations", "1", "--seconds", "60,61,62", "--size", 48)
    with interruptible():
        when(output.exists, interrupt)
        code = run("evaluate", photos / "a.png", *arguments, "--output", output, "--workers", 2)
    assert (code, capfd.readouterr().err) == (130, "fastgs: interrupted\n")
    assert [record["iterations"] for record in load(output)] == [1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux has them")
def test_killed_worker_ends_the_run_with_one_line(photos, tmp_path, capfd):
    arguments = ("--methods", OURS, "-k", "30", "--iterations", "1", "--seconds", "60,61,62", "--size", 48)
    output = tmp_path / "r.json"

    def kill_workers():
        for child in children(os.getpid()):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)

    when(output.exists, kill_workers)
    assert run("evaluate", photos / "a.png", *arguments, "--output", output, "--workers", 2) == 1
    stderr = capfd.readouterr().err
    assert stderr.startswith("fastgs: error: a worker process was killed")
    assert stderr.count("\n") == 1
    assert len(load(output)) == 1


@pytest.mark.slow
def test_networks_do_not_depend_on_workers_or_threads(photos, tmp_path):
    """Convolutions differ in the last bits with the number of threads, and the fits would with them."""
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
            results.append(repeatable(records, MethodRecord))
    finally:
        torch.set_num_threads(before)
    assert len(results[0]) == 2
    assert results[0] == results[1] == results[2]


def test_existing_records_are_not_made_again(method_records, photos, tmp_path, monkeypatch, capsys):
    output = tmp_path / "r.json"
    shutil.copy(method_records, output)
    before = output.read_bytes()

    def fail(*arguments, **options):
        raise AssertionError("made again")

    monkeypatch.setattr(Method, "__call__", fail)
    # The same folder, spelled in another way.
    assert run("evaluate", f"{photos}/.", *METHOD_GRID, "--output", output) == 0
    assert output.read_bytes() == before
    assert capsys.readouterr().out == ""
    with pytest.raises(AssertionError, match="made again"):
        run("evaluate", photos, *METHOD_GRID, "--size", 47, "--output", output)


def test_new_tasks_and_changed_images_are_added(photos, tmp_path):
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
    assert [(record["method"], record["num_gaussians"]) for record in four] == cells
    assert four[3] == first
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    five = evaluate(OURS, "30")
    assert five[:4] == four
    assert five[4]["sha256"] != first["sha256"]


def test_pictures_asked_for_later_are_made(photos, tmp_path):
    output, pictures = tmp_path / "r.json", tmp_path / "pictures"
    arguments = ("evaluate", photos, *QUICK, "--output", output)
    assert run(*arguments) == 0
    without = load(output)
    assert run(*arguments, "--pictures", pictures) == 0
    assert same(load(output)) == same(without)
    assert all(Path(record["picture"]).parent == pictures for record in load(output))
    assert len(list(pictures.iterdir())) == 4


def test_progress_is_shown_on_a_terminal(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "160")
    assert run("evaluate", photos, *QUICK, "--output", tmp_path / "r.json") == 0
    said = capsys.readouterr()
    assert f"b.png: {OURS}, K = 30, 5 iterations: " in said.err
    assert " dB" in said.err
    assert "2 of 2" in said.err
    assert said.out.startswith(str(photos / "a.png"))
    assert said.out.count("\n") == 2
