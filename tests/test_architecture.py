"""Rules that no single file can keep: imports flow down, and importing is light."""

import argparse
import ast
import re
from pathlib import Path

import fastgs
from fastgs.cli.console import Failures
from fastgs.cli.main import _parser

PACKAGE = Path(fastgs.__file__).parent

# Imports go to the same line or one further up. A new module takes its place here.
LAYERS = [
    {"io", "runtime", "nearest", "definition"},
    {"gaussians"},
    {"metrics", "render", "visualize", "data", "page"},
    {"initializers"},
    {"models", "fitting"},
    {"methods"},
    {"codec", "splats", "autoencoders", "predictor", "giant", "jobs"},
    {"training", "evaluation", "distributed"},
    {"cli"},
    {"__main__", ""},  # "": fastgs/__init__.py
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

LIGHTNING = {"lightning", "pytorch_lightning", "lightning_utilities"}


def modules():
    """Yield dotted name and syntax tree of every module; the tree includes imports inside functions."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = [part for part in path.relative_to(PACKAGE.parent).with_suffix("").parts if part != "__init__"]
        yield ".".join(parts), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree, places=True):
    """Yield the dotted names that a module imports; `from a import b` gives a.b, a module or a name in one.

    Args:
        tree: Syntax tree of the module.
        places: True to include what strings say to import, as those of registries do.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif places and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from place(node.value)


def place(text):
    """Yield the module or name that a string such as "fastgs.codec.fastgs:SCHEME" says to import, if it is one."""
    module, _, name = text.partition(":")
    if re.fullmatch(r"fastgs(\.\w+)+", module) and (PACKAGE.parent / f"{module.replace('.', '/')}.py").is_file():
        yield f"{module}.{name}".rstrip(".")


def part_of_house(name):
    """Return the file or folder directly under fastgs/ that a dotted name lies in; "" for fastgs/__init__.py."""
    part = [*name.split("."), ""][1]
    return part if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file() else ""


def test_imports_flow_down():
    for module, tree in modules():
        importer = part_of_house(module)
        assert importer in RANK, f"{module}: give it a line in LAYERS"
        for name in imports(tree):
            if name.split(".")[0] == "fastgs":
                imported = part_of_house(name)
                assert RANK[imported] <= RANK[importer], f"{module} imports {name}"


def check_cycles(arrows):
    """Fail if (importer, imported) pairs hold a cycle."""
    graph = {}
    for importer, imported in arrows:
        graph.setdefault(importer, set()).update({imported} - {importer})
    while graph:
        leaves = {name for name, targets in graph.items() if not targets & graph.keys()}
        assert leaves, f"a cycle among {sorted(graph)}"
        graph = {name: targets for name, targets in graph.items() if name not in leaves}


def test_no_cycles_of_rooms():
    """Folders and files count as one each, and those of one layer have none, either."""
    check_cycles(
        (part_of_house(module), part_of_house(name))
        for module, tree in modules()
        for name in imports(tree)
        if name.split(".")[0] == "fastgs"
    )


def test_no_cycles_of_modules():
    """Those of one folder have none, either, and imports count that are deferred or for types alone."""
    names = {module for module, _ in modules()}
    check_cycles(
        (module, name if name in names else name.rpartition(".")[0])
        for module, tree in modules()
        for name in imports(tree, places=False)
        if name.split(".")[0] == "fastgs"
    )


def test_heavy_libraries_stay_in_their_rooms():
    for module, tree in modules():
        libraries = {name.split(".")[0] for name in imports(tree)}
        if part_of_house(module) not in ("training", "data") and module != "fastgs.splats.datamodule":
            assert not libraries & LIGHTNING, f"{module} imports lightning"
        assert "gsplat" not in libraries, f"{module} imports gsplat"


def test_few_modules_are_loose():
    """The root of the package is the public API and what belongs to no single room."""
    assert len([path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")]) <= 6


def test_no_module_is_named_utils():
    names = {path.stem for path in PACKAGE.rglob("*")}
    assert not names & {"utils", "util", "misc", "helpers", "helper", "common"}


# Whose messages modules write that name options of `fastgs`: all those commands must have them.
SPEAKERS = {
    "cli.main": [""],
    **{
        f"cli.{name}": [name]
        for name in ("predict", "encode", "decode", "info", "view", "evaluate", "table", "download")
    },
    **{f"cli.splats_{name}": [f"splats {name}"] for name in ("make", "evaluate")},
    "cli.predicting": ["predict"],
    "cli.evaluating": ["evaluate"],
    "cli.viewing": ["view"],
    "cli.splats_making": ["splats make"],
    "cli.splats_evaluating": ["splats evaluate"],
    "cli.coding": ["encode", "decode"],
    "cli.tiling": ["predict"],
    "giant.source": ["predict"],
    "cli.images": ["predict", "encode"],
    "cli.processing": ["predict", "encode"],
    "data.fitted": ["predict", "encode"],
    "cli.workers": ["predict", "encode"],
    "cli.measuring": ["evaluate", "splats evaluate"],
    "methods.arguments": ["predict"],
    "splats.sources": ["splats make"],
    "data.fetch": ["download"],
    "data.div2k": ["download"],
    "evaluation.autoencoders.measure": ["splats evaluate"],
}
# Of other programs, or of no command by themselves: their callers name the options that they have.
SILENT = {"training", "io.version", "cli.console"}


def commands(parser, name=""):
    """Yield name and parser of the subcommands, those of subcommands included."""
    parser.declare()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part, below in action.choices.items():
                yield from commands(below, f"{name} {part}".strip())
    yield name, parser


def test_messages_name_options_that_the_command_has():
    parsers = dict(commands(_parser()))
    known = {name: set(parser._option_string_actions) for name, parser in parsers.items()}
    for module, tree in modules():
        name = module.removeprefix("fastgs.")
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and not name.startswith(tuple(SILENT)):
                for option in re.findall(r"(?<![\w`-])--[a-z][a-z-]+", re.sub(r"`[^`]*`|^div2k .*", "", node.value)):
                    speakers = SPEAKERS.get(name, ["of no command: add it to SPEAKERS"])
                    assert all(option in known.get(each, ()) for each in speakers), f"{module}: {option}, {speakers}"
    for name, parser in parsers.items():
        advice = re.findall(r"--[a-z-]+", Failures(parser).for_memory)
        assert set(advice) <= known[name] and bool(advice) == (name in HUNGRY), name


HUNGRY = {"predict", "encode", "decode", "evaluate", "splats make"}  # and can be told to take less memory
