"""Committed versions: they serve every Python and system, and no test is skipped on them that could run."""

import itertools
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from optional import kernels_obstacle
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILE = Path(__file__).parents[1] / "constraints.txt"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SYSTEMS = (("linux", "Linux", "posix"), ("darwin", "Darwin", "posix"), ("win32", "Windows", "nt"))


def read_pins() -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line]


def make_environment(python: str, platform: str, system: str, name: str) -> dict[str, str]:
    changed = {"python_version": python, "python_full_version": f"{python}.1", "implementation_version": f"{python}.1"}
    return default_environment() | changed | {"sys_platform": platform, "platform_system": system, "os_name": name}


def applies(requirement: Requirement, where: dict[str, str]) -> bool:
    return requirement.marker is None or any(
        requirement.marker.evaluate(where | {"extra": extra}) for extra in ("", "dev", "hdr", "anchors", "giant")
    )


@pytest.mark.parametrize(("python", "system"), list(itertools.product(PYTHONS, SYSTEMS)))
def test_every_requirement_has_one_allowed_version(python, system):
    where = make_environment(python, *system)
    chosen = {}
    for pin in read_pins():
        if applies(pin, where):
            assert pin.name not in chosen, f"{pin.name} has two versions"
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            chosen[canonicalize_name(pin.name)] = specifier.version
    for requirement in map(Requirement, requires("fastgs")):
        if applies(requirement, where):
            found = chosen.get(canonicalize_name(requirement.name))
            assert found and requirement.specifier.contains(found, prereleases=True), f"{requirement}: {found}"


def test_triton_interpreter_runs_with_committed_versions():
    """Triton's interpreter must run with the committed versions, as a skipped test does not count as passed."""
    where = default_environment()
    wanted = {
        pin.name: next(iter(pin.specifier)).version
        for pin in read_pins()
        if pin.name in ("triton", "torch", "numpy") and applies(pin, where)
    }
    try:
        here = {name: version(name).partition("+")[0] for name in wanted}
    except PackageNotFoundError as error:
        pytest.skip(f"{error} is not installed")
    if here != wanted or "triton" not in wanted:
        pytest.skip(f"other versions: {here}")
    assert kernels_obstacle() is None
