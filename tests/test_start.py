"""Imports of commands and of `import fastgs`: nothing that is not used, and no torch for a help or to decode."""

import gc
import subprocess
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import python

import fastgs
from fastgs.cli.main import COMMANDS, main
from fastgs.codec import SCHEMES, Restoration, decode, decode_arrays, read_frame
from fastgs.codec.frame import write_frame
from fastgs.data.datasets import DATASETS
from fastgs.fitting.losses import LOSSES
from fastgs.initializers import INITIALIZERS
from fastgs.methods import METHODS
from fastgs.render.cpu_arrays import render as render_arrays
from fastgs.runtime.lazy import importing
from fastgs.runtime.registry import Registry

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(path.name for path in GOLDEN.glob("*.fgs") if not path.name.startswith("gaussianimage"))
SLOW_LIBRARIES = {"torch", "numba", "scipy", "matplotlib", "torchmetrics", "tifffile", "imagecodecs", "constriction"}
TRAINING = {"wandb", "lightning", "pytorch_lightning", "segmentation_models_pytorch", "timm", "torchvision", "gsplat"}


def run(code, *arguments) -> tuple[subprocess.CompletedProcess, set[str]]:
    """Run code in a process of its own; return what it left, and the libraries that it imported."""
    code += "\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = python("-c", code, *arguments)
    *_, names = done.stderr.splitlines()
    return done, {name.partition(".")[0] for name in names.split()}


def run_command(*arguments) -> tuple[subprocess.CompletedProcess, set[str]]:
    """Run the command as its entry point does; the exit code of the process is not that of the command."""
    return run("from fastgs.cli.main import main; print('exit code', main())", *arguments)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["nonsense"], ["splats"], ["download", "--help"]])
def test_the_command_itself_imports_not_even_numpy(arguments):
    _, imported = run_command(*arguments)
    assert not imported & (SLOW_LIBRARIES | TRAINING | {"numpy", "PIL"})


@pytest.mark.parametrize("command", [*COMMANDS, "splats make", "splats evaluate"])
def test_help_imports_neither_torch_nor_numba(command):
    done, imported = run_command(*command.split(), "--help")
    assert f"usage: fastgs {command}" in done.stdout
    assert not imported & (SLOW_LIBRARIES - {"constriction"} | TRAINING)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "photo.png", "--bogus"], "unknown option --bogus; fastgs predict --help lists all options"),
        (["encode", "photo.png", "--bbp", "0.2"], "unknown option --bbp; did you mean --bpp?"),
        (["--verison"], "unknown option --verison; did you mean --version?"),
        (["predict", "photo.png", "-k", "0"], "argument --num-gaussians: must be at least 1, got 0"),
        (["predict", "photo.png", "--init", "nowhere"], "argument --init: expected one of curvature, "),
        (["predict", "photo.png", "--loss", "l3"], "argument --loss: expected one of mse, "),
        (["predict", "photo.png", "--backend", "metal"], "argument --backend: expected one of auto, "),
        (["predict", "photo.png", "--background", "300,0,0", "--iterations", "-1"], "argument --"),
        (["encode", "photo.png", "-k", "9", "--scheme", "mp3", "-o", "a.fgs"], "argument --scheme: expected one of "),
        (
            ["evaluate", "kodak", "--methods", "best", "--output", "a.json"],
            "argument --methods: expected some of fastgs",
        ),
        (["splats", "make", "photos", "--workers", "0", "--output", "a"], "argument --workers: must be at least 1"),
        (["table", "missing.json"], "missing.json: cannot be read"),
        (["decode", "a.fgs", "-o", "a.png", "--scale", "0"], "argument --scale: must be more than 0 and finite, got 0"),
    ],
)
def test_wrong_arguments_are_found_without_torch(arguments, message):
    done, imported = run_command(*arguments)
    assert "exit code 2" in done.stdout and message in done.stderr
    assert not imported & {"torch", "numba"}


@pytest.mark.parametrize("name", FILES)
def test_info_imports_neither_torch_nor_numba(name):
    """To count bits by the learned model, its kernels have to run."""
    done, imported = run_command("info", GOLDEN / name)
    assert "exit code 0" in done.stdout and "bits per Gaussian" in done.stdout
    assert not imported & ({"torch"} if name == "learned.fgs" else {"torch", "numba", "scipy"})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("waves", []), ("rgba", ["--scale", "0.3"]), ("gray", ["--bits", "16"])])
def test_decode_imports_no_torch_and_writes_what_python_renders(name, options, tmp_path):
    source, output = GOLDEN / f"{name}.fgs", tmp_path / "out.png"
    done, imported = run_command("decode", source, "-o", output, *options)
    assert "exit code 0" in done.stdout, done.stderr
    assert not imported & ({"torch", "torchmetrics", "matplotlib"} | TRAINING)
    gaussians = decode(source.read_bytes())
    size = (27, 18)[::-1] if "--scale" in options else (None, None)
    picture = fastgs.render(gaussians, *size, antialias=True)
    again = tmp_path / "again.png"
    import_module("fastgs.io.writing").write_picture(
        again, picture, alpha=gaussians.alpha, bits=16 if "--bits" in options else 8
    )
    assert output.read_bytes() == again.read_bytes()


def test_decode_of_a_restored_file_imports_no_torch(tmp_path):
    file, frame = tmp_path / "restored.fgs", read_frame((GOLDEN / "waves.fgs").read_bytes())
    file.write_bytes(write_frame(replace(frame, restoration=Restoration(1, (64, 64, 64)))))
    done, imported = run_command("decode", file, "-o", tmp_path / "out.png")
    assert "exit code 0" in done.stdout, done.stderr
    assert "torch" not in imported


def test_decode_of_a_cut_file_imports_no_torch(tmp_path):
    cut = tmp_path / "cut.fgs"
    cut.write_bytes((GOLDEN / "waves.fgs").read_bytes()[:-20])
    done, imported = run_command("decode", cut, "-o", tmp_path / "out.png", "--partial")
    assert "exit code 0" in done.stdout and Image.open(tmp_path / "out.png").size == (90, 60)
    assert "torch" not in imported


@pytest.mark.parametrize("name", [*FILES, "gaussianimage.fgs", "gaussianimage-plus.fgs"])
@pytest.mark.parametrize("size", [(None, None), (20, 30), (90, 61)])
def test_arrays_render_as_tensors_do(name, size):
    data = (GOLDEN / name).read_bytes()
    arrays, gaussians = decode_arrays(data), decode(data)
    assert (len(arrays), arrays.channels) == (len(gaussians), gaussians.channels)
    height, width = size[0] or arrays.height, size[1] or arrays.width
    for antialias in (False, True):
        wanted = fastgs.render(gaussians, height, width, antialias=antialias)
        found = render_arrays(arrays, height, width, antialias)
        assert np.array_equal(found, wanted.numpy())


def test_gaussians_and_arrays_turn_into_each_other():
    arrays = decode_arrays((GOLDEN / "rgba.fgs").read_bytes())
    gaussians = fastgs.Gaussians.from_arrays(arrays)
    again = gaussians.arrays()
    for name in ("means", "scales", "rotations", "colors"):
        assert np.array_equal(getattr(arrays, name), getattr(again, name))
    assert (again.height, again.width, again.blend, again.alpha) == (60, 90, "normalized", True)


def test_import_of_fastgs_is_light():
    _, imported = run("import fastgs; assert dir(fastgs) >= fastgs.__all__")
    assert not imported & (SLOW_LIBRARIES | TRAINING | {"numpy"})


@pytest.mark.slow
def test_names_of_fastgs_are_imported_when_they_are_used():
    code = """
import fastgs, fastgs.render
predictor = fastgs.Predictor()
import fastgs.render.cpu
assert fastgs.render.__name__ == "render" and callable(fastgs.render)  # not the folder of that name
from fastgs import Gaussians, Result, render_batch
assert predictor.init == "curvature"
try:
    fastgs.nothing
except AttributeError as error:
    assert str(error) == "module 'fastgs' has no attribute 'nothing'"
"""
    done, imported = run(code)
    assert done.returncode == 0, done.stderr
    assert "torch" in imported
    assert not imported & ({"matplotlib", "torchmetrics", "tifffile", "imagecodecs"} | TRAINING)


@pytest.mark.slow
def test_predict_imports_neither_the_compiler_of_torch_nor_torchmetrics(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (180, 180, 3), np.uint8)).save(tmp_path / "a.png")
    code = "from fastgs.cli.main import main; main(); import sys; assert 'torch._dynamo' not in sys.modules"
    arguments = ("predict", tmp_path / "a.png", "-k", 50, "--iterations", 12, "-o", tmp_path)
    done, imported = run(code, *arguments)
    assert done.returncode == 0, done.stderr
    assert not imported & ({"torchmetrics", "matplotlib", "sympy"} | TRAINING)


@pytest.mark.parametrize("registry", [INITIALIZERS, LOSSES, METHODS, SCHEMES, DATASETS], ids=lambda each: each.kind)
def test_every_entry_of_a_registry_can_be_imported(registry):
    assert all(registry[name] is registry[name] for name in registry)


def test_declared_entries_are_imported_when_they_are_asked_for():
    registry: Registry[object] = Registry("thing", {"one": 1})
    registry.declare("later", "fractions:Fraction")
    registry.declare("never", "no_such_module:thing")
    assert list(registry) == ["one", "later", "never"] and "never" in registry and len(registry) == 3
    registry.check("thing", "never")
    assert registry["later"] is import_module("fractions").Fraction
    with pytest.raises(ModuleNotFoundError):
        registry["never"]
    with pytest.raises(ValueError, match="thing: 'later' is registered already; choose another name"):
        registry.declare("later", "fractions:Fraction")


def test_importing_pauses_the_collector_and_keeps_only_what_is_new():
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() == frozen  # nothing was imported
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    code = "from fastgs.runtime.lazy import importing; import gc\nwith importing(): import decimal\n"
    done, _ = run(code + "assert gc.get_freeze_count() > 0 and gc.isenabled()")
    assert done.returncode == 0, done.stderr


def test_help_lists_all_commands(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name:<8}  " in text or f"    {name} " in text for name in COMMANDS)
