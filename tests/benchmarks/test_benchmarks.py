"""Programs in benchmarks/quality: photos that are missing, and the pages of the report."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastgs.codec.effort import DEFAULT_EFFORT

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.quality import report

    return report


@pytest.mark.parametrize("name", ["oracles", "quality", "starts"])
def test_missing_photos_end_with_one_line_and_leave_the_results(name, tmp_path, monkeypatch):
    results = FOLDER / "results" / f"{name}.json"
    before = results.read_bytes()
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path / "none")])
    monkeypatch.syspath_prepend(FOLDER.parent)
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(f"benchmarks.quality.{name}", run_name="__main__", alter_sys=False)
    # Python prints the message, and ends with exit code 1.
    assert stop.value.code.startswith(f"{name}.py: error: {tmp_path / 'none'}: ")
    assert "\n" not in stop.value.code
    assert results.read_bytes() == before


@pytest.mark.slow
def test_results_page_is_what_the_report_writes(report, tmp_path, monkeypatch):
    page, readme, assets = tmp_path / "benchmarks" / "RESULTS.md", tmp_path / "README.md", tmp_path / "assets"
    networks = tmp_path / "docs" / "concepts" / "networks.md"
    jobs = tmp_path / "docs" / "guides" / "jobs.md"
    page.parent.mkdir()
    for copy, original in ((networks, report.NETWORKS), (jobs, report.JOBS)):
        copy.parent.mkdir(parents=True)
        copy.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    assets.mkdir()
    page.write_text(report.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    readme.write_text(f"# Title\n\n{report.START}\nold\n{report.END}\n\nMore.\n", encoding="utf-8")
    before = [each.read_text(encoding="utf-8") for each in (networks, jobs)]
    places = {"ROOT": tmp_path, "PAGE": page, "README": readme, "NETWORKS": networks, "JOBS": jobs}
    for name, path in places.items():
        monkeypatch.setattr(report, name, path)
    report.main()
    assert page.read_text(encoding="utf-8") == (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    assert [each.read_text(encoding="utf-8") for each in (networks, jobs)] == before
    assert sorted(path.name for path in assets.iterdir()) == [
        "methods.png",
        "published-512.svg",
        "published-full.svg",
        "rates.png",
        "starts.png",
    ]
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# Title\n\n{report.START}\nPSNR in dB after 1,000 iterations, ")
    assert text.endswith(f" |\n{report.END}\n\nMore.\n")
    assert 3 <= text.count("\n| ") - 1 <= 8


def test_page_without_markers_is_refused(report, tmp_path):
    path = tmp_path / "README.md"
    path.write_text("# Title\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"README.md: lacks the lines <!-- results"):
        report.write(path, ["new\n"])
    assert path.read_text(encoding="utf-8") == "# Title\n"


@pytest.mark.slow
def test_ablations_run_to_their_end(report, tmp_path, monkeypatch):
    from benchmarks import environment
    from benchmarks.quality import ablations

    photo = FOLDER.parent / "assets" / "coffee.png"
    options = ("--num-gaussians", "200", "--iterations", "0", "2", "--size", "64")
    monkeypatch.setattr(environment, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["ablations.py", str(photo), *options])
    ablations.main()
    records = json.loads((tmp_path / "ablations.json").read_text(encoding="utf-8"))["records"]
    assert [record["variant"] for record in records] == list(ablations.PARTS)
    scores = {record["variant"]: record["psnr_init"] for record in records}
    assert len(set(scores.values())) == len(scores)


def test_startup_measures_commands_in_units_of_imports(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.speed import startup

    commands = {startup.NUMPY: ["-c", "pass"], startup.TORCH: ["-c", "pass"], "fastgs decode": ["-c", "pass"]}
    seconds = startup.measure(commands, repeats=2)
    assert list(seconds) == list(commands) and min(seconds.values()) > 0
    *_, record = startup.make_records({startup.NUMPY: 0.1, startup.TORCH: 2.0, "fastgs decode": 1.0})
    assert record["ratios"] == {startup.NUMPY: 10.0, startup.TORCH: 0.5} and record["met"]


@pytest.mark.slow
def test_workers_on_a_folder_are_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.speed import folders
    from fastgs.cli.main import main

    def run_here(command, **_):
        assert command[:3] == [sys.executable, "-m", "fastgs"]
        workers = command.index("--workers") + 1
        asked.append(command[workers])
        assert main([*command[3:workers], "1", *command[workers + 1 :]]) == 0  # processes take seconds to start

    asked = []
    monkeypatch.setattr(folders, "subprocess", SimpleNamespace(run=run_here))
    for name, value in {"COUNT": 4, "SIDE": 32, "NUM_GAUSSIANS": 20, "ITERATIONS": 1}.items():
        monkeypatch.setattr(folders, name, value)
    output = tmp_path / "folders.json"
    monkeypatch.setattr(sys, "argv", ["folders.py", "--sides", "32", "--repeats", "1", "--output", str(output)])
    folders.main()
    (record,) = json.loads(output.read_text(encoding="utf-8"))["records"]
    assert (record["side"], record["photos"], record["num_gaussians"]) == (32, 4, 20)
    assert (record["workers"], record["same_files"]) == (2, True)
    assert record["ratio"] > 0 and record["met"] == (record["ratio"] <= folders.GOAL)
    monkeypatch.setattr(folders, "USUAL_SIDE", 32)
    usual = folders.measure_usual(workers=2, repeats=1)
    assert (usual["side"], usual["photos"], usual["num_gaussians"], usual["same_files"]) == (32, 4, None, True)
    assert asked == 4 * ["2", "1", "1"]


def test_smaller_crops_have_as_many_pixels_and_gaussians(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.speed import folders
    from fastgs.io.images import load_image

    assert [folders.scale(side) for side in folders.SIDES] == [(384, 250), (96, 1000), (43, 2250), (24, 4000)]
    paths = folders.cut_photos(tmp_path, 7, 48)
    images = [load_image(path) for path in paths]
    assert len({path.name for path in paths}) == 7 and {tuple(image.shape) for image in images} == {(3, 48, 48)}
    assert all(not one.equal(other) for number, one in enumerate(images) for other in images[:number])


def test_photos_smaller_than_crops_are_one_line(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.environment import run
    from benchmarks.speed import million

    output = tmp_path / "million.json"
    monkeypatch.setattr(sys, "argv", ["million.py", "--output", str(output)])  # the sample has 400 rows
    with pytest.raises(
        SystemExit, match=r"^million\.py: error: photos: crops have 512 pixels a side, and one photo only"
    ):
        run(million.main)
    assert not output.exists()


@pytest.mark.slow
def test_throughput_is_measured_and_told(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.quality import throughput_tables
    from benchmarks.speed import million, throughput
    from fastgs.cli.main import main

    def run_command(name, images, options, output):
        options = ["1" if each == "2" else each for each in options]  # processes take seconds to start
        listed = tmp_path / "list.txt"
        listed.write_text("\n".join(map(str, images)), encoding="utf-8")
        assert main([name, "--from", str(listed), "--output", str(output), *options]) == 0
        return throughput.Times(float(len(images)), float(len(images)))

    def measure(program, *options):
        monkeypatch.setattr(program, "run_command", run_command)
        output = tmp_path / "found.json"
        monkeypatch.setattr(sys, "argv", ["program.py", *options, "--output", str(output)])
        program.main()
        return json.loads(output.read_text(encoding="utf-8"))

    monkeypatch.setattr(throughput, "time_processes", lambda images: throughput.Times(1.0, 1.0))
    small = {"SIDE": 24, "NUM_GAUSSIANS": 10, "ITERATIONS": 2, "BATCH": 10, "FEW": 2, "SIDES": (16,)}
    for name, value in small.items():
        monkeypatch.setattr(throughput, name, value)
    content = measure(throughput, "--images", "6", "--repeats", "1")
    ratios = {record["way"]: record["ratio"] for record in content["records"]}
    firsts = ["Predictor, one by one", "Predictor, 16 x 16, one by one", "fastgs predict --workers 1 --batch 1"]
    assert len(ratios) == 9 and [ratios[name] for name in firsts] == [1.0, 1.0, 1.0]
    assert "| fastgs predict --workers 2 | 1 | 1.00 | 1000.0 | – |" in throughput_tables.small_table(content).markdown()
    for name, value in {"SIDE": 64, "NUM_GAUSSIANS": 50, "ITERATIONS": 2, "IMAGES": 2}.items():
        monkeypatch.setattr(million, name, value)
    table, limits = throughput_tables.million_blocks(measure(million))
    assert "| its .fgs |" in table and " | 1.0 core seconds | 278 core hours: 4 hours on 64 cores |" in table
    assert "MB a second" in limits


@pytest.mark.slow
def test_cost_of_relocation_is_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.speed import relocation

    photo, output = FOLDER.parent / "assets" / "coffee.png", tmp_path / "cost.json"
    options = ("--num-gaussians", "60", "90", "--iterations", "60", "--rounds", "2", "--size", "48")
    monkeypatch.setattr(sys, "argv", ["relocation.py", str(photo), *options, "--output", str(output)])
    relocation.main()
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["settings"] == {"iterations": 60, "rounds": 2, "size": 48, "photo": "coffee.png"}
    records = content["records"]
    assert [record["num_gaussians"] for record in records] == [60, 90]
    for record in records:
        assert record["events"] == 3
        assert record["ratio"] > 0.5
        assert record["relocated_psnr"] > 15


@pytest.mark.slow
def test_time_of_networks_is_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.speed import networks

    photo, output = FOLDER.parent / "assets" / "coffee.png", tmp_path / "networks.json"
    options = ("--num-gaussians", "60", "--rounds", "1", "--size", "48")
    monkeypatch.setattr(sys, "argv", ["networks.py", str(photo), *options, "--output", str(output)])
    networks.main()
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["settings"] == {"weights": "base", "rounds": 1, "size": 48, "photo": "coffee.png"}
    records = content["records"]
    kinds = [(record["precision"], record["way"]) for record in records]
    assert kinds == [(precision, way) for precision in ("float32", "bfloat16") for way in ("dense", "fast")]
    assert all(record["least_seconds"] > 0 and record["psnr"] > 15 for record in records)


@pytest.mark.slow
def test_efforts_are_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from benchmarks.speed import encoding

    photo, output = FOLDER.parent / "assets" / "coffee.png", tmp_path / "efforts.json"
    options = ("--bpp", "2", "1", "--efforts", str(DEFAULT_EFFORT), "1", "--size", "48")
    monkeypatch.setattr(sys, "argv", ["encoding.py", str(photo), *options, "--output", str(output)])
    encoding.main()
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["settings"] == {"photos": ["coffee.png"], "size": 48, "reference": DEFAULT_EFFORT}
    records = content["records"]
    assert [(record["bpp"], record["effort"]) for record in records] == [
        *((1, 1), (1, DEFAULT_EFFORT)),
        *((2, 1), (2, DEFAULT_EFFORT)),
    ]
    usual = {record["bpp"]: record["cpu_seconds"] for record in records if record["effort"] == DEFAULT_EFFORT}
    for record in records:
        assert 0.97 * record["target_bytes"] <= record["bytes"] <= record["target_bytes"]
        assert record["psnr"] <= record["psnr_at_target"] < record["psnr"] + 0.3
        assert record["cpu_seconds"] > 0
        assert record["time_ratio"] == pytest.approx(record["cpu_seconds"] / usual[record["bpp"]], abs=1e-3)
