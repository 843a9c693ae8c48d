"""The package as it is installed: a wheel has all modules and weights, and its types hold for those who use it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from networks import initializer
from processes import python

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the source tree"),
]

# Ten lines of a user, with the types that they expect.
SCRIPT = """
import torch

import fastgs

result: fastgs.Result = fastgs.Predictor.from_pretrained("base")("photo.png", num_gaussians=5_000, iterations=100)
gaussians: fastgs.Gaussians = result.gaussians
image: torch.Tensor = fastgs.render(gaussians, height=800, width=1200, backend="auto")
images: torch.Tensor = fastgs.render_batch([gaussians, gaussians])
gaussians.save("photo.safetensors")
history: list[tuple[int, float, float]] = [(step, seconds, psnr) for step, seconds, psnr in result.history]
print(fastgs.Gaussians.load("photo.safetensors").scales.shape, image.shape, max(history), f"{result.psnr:.2f} dB")
"""
MISTAKE = 'import fastgs\n\nfastgs.Predictor()("photo.png", num_gaussians="many")\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the wheel of a copy of the project, with other weights, into a new environment.

    The environment finds all other packages where this one has them.

    Returns:
        Its folder of packages, and its Python.
    """
    pytest.importorskip("setuptools", minversion="77")
    from fastgs.models.pretrained import save_weights

    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    shutil.copytree(ROOT / "fastgs", source / "fastgs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "viewer", source / "viewer", ignore=shutil.ignore_patterns("node_modules"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    save_weights(source / "checkpoints" / "small", initializer(), {"data": "noise"})
    for name in ("symbols.safetensors", "symbols.json"):
        shutil.copy(ROOT / "checkpoints" / name, source / "checkpoints")
    done = python("-c", f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})", cwd=source)
    assert done.returncode == 0, done.stderr
    venv.create(environment)
    interpreter = Path(venv.EnvBuilder().ensure_directories(environment).env_exe)
    (packages,) = environment.rglob("site-packages")
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return packages, interpreter


def run(*command, cwd):
    """Run a command without the paths that this process was told to find modules in."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    return subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_wheel_contains_modules_weights_and_viewer(installed, tmp_path):
    packages, interpreter = installed
    assert (packages / "fastgs" / "viewer" / "fgs.js").is_file()
    # Where the viewer looks for the weights that files of version 3 need.
    weights = packages / "fastgs" / "viewer" / ".." / "checkpoints" / "symbols.safetensors"
    assert weights.read_bytes() == (ROOT / "checkpoints" / "symbols.safetensors").read_bytes()
    shipped = {str(path.relative_to(packages)) for path in (packages / "fastgs").rglob("*.py")}
    assert shipped == {str(path.relative_to(ROOT)) for path in (ROOT / "fastgs").rglob("*.py")}
    code = "import fastgs, fastgs.models.pretrained as w; print(fastgs.__file__); w.load_weights('small')"
    done = run(interpreter, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(packages))


def test_types_of_an_installed_wheel_hold_for_its_users(installed, tmp_path):
    pytest.importorskip("mypy")
    _, interpreter = installed
    for name, text in (("script", SCRIPT), ("mistake", MISTAKE)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    if (ROOT / ".mypy_cache").exists():  # what `make lint` found out about torch
        shutil.copytree(ROOT / ".mypy_cache", tmp_path / "cache")
    where = ("--python-executable", interpreter, "--python-version", "3.10", "--cache-dir", "cache")
    checked = (sys.executable, "-m", "mypy", "--strict", *where)
    done = run(*checked, "script.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(*checked, "mistake.py", cwd=tmp_path)
    assert done.returncode == 1
    assert 'mistake.py:3: error: Argument "num_gaussians"' in done.stdout
