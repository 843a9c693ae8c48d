"""Shortens the messages of jsonargparse on wrong arguments and configurations, often a page, to one helpful line."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from pydoc import locate
from textwrap import shorten

from fastgs.nearest import did_you_mean

# Longest message in characters.
LONGEST = 280

_KEY = re.compile(r'\s*Parser key "([\w.]+)":\s*')
_UNION = re.compile(r"Does not validate against any of the Union subtypes\n *Subtypes: \[(.*)\]\n")
_REASON = re.compile(r"(?:^|\n) *- (.*(?:\n(?! *- | *Given value).*)*)")
_WITHIN = re.compile(r"Problem with given class_path '([\w.]+)':\s*([\s\S]*)")
_NO_CLASS = re.compile(
    r"(?:module '.*' has no attribute|No module named|Expected a dot import path string|Import path .*does not corresp)"
)
# Messages about names that do not exist.
_UNKNOWN = re.compile(
    r"(?:Option|Subcommand '\w+' does not accept option|Group '[\w.]+' does not accept option) '(?P<setting>[^']+)'.*"
    r"|unrecognized arguments: (?P<option>[^\s=]+)[\s\S]*"
)


def complaint(message: str, settings: Collection[str]) -> str:
    """Return a message of jsonargparse in one line.

    Args:
        message: Message of any length, from a parser of options or of the arguments of a class.
        settings: Full names of the settings that the parser has.
    """
    place = ""
    if key := _KEY.match(message):
        place, message = f"{key[1]}: ", message[key.end() :]
    union = _UNION.search(message)
    given = re.search(r"(?:Given value|Got value): (.*)", message)
    value = shorten(given[1], 60, placeholder=" ...") if given else ""
    reasons = [
        reason for reason in _REASON.findall(message) if not reason.startswith(("Does not v", "Expected a path"))
    ]
    within = [found for each in reasons if (found := _WITHIN.match(each))]
    wrong_class = next((each for each in reasons if _NO_CLASS.search(each)), None)
    if wrong_class:
        path = re.search(r"class_path '(.*)'", wrong_class)
        reason = _explain_class(path[1] if path else value, wrong_class, union[1] if union else "")
    elif within:
        class_path, reason = within[0].groups()
        place += f"{class_path}: "
        reason = _explain_plain(reason, settings, value)
    elif union:
        reason = _explain_kind(union[1], value)
    else:
        reason = _explain_plain(message, settings, value)
    return shorten(place + reason, LONGEST, placeholder=" ...")


def _explain_plain(message: str, settings: Collection[str], value: str) -> str:
    """Shorten a message that has no list of reasons."""
    if unknown := _UNKNOWN.match(message):
        return _explain_unknown(unknown["setting"] or unknown["option"], settings)
    if kind := re.match(r"Expected an? (.*?)(?:\. Got value: .*)?$", message):
        return _explain_kind(kind[1], value)
    if choice := re.match(r"argument .*: invalid choice: '(.*)' \(choose from (.*)\)", message):
        known = re.findall(r"\w+", choice[2])
        return f"there is no subcommand {choice[1]} but {', '.join(known)}{did_you_mean(choice[1], known)}"
    if group := re.match(r'Key "([\w.]+)\.\w+" not found in namespace', message):
        return f"{group[1]}: expected settings by name"
    if message.startswith("Unexpected config"):
        return "holds no settings by name"
    message = re.sub(r' *in "<unicode string>",', " in", message)
    return re.sub(r"(arguments are required: )\w+\.", r"\1", message)


def _explain_unknown(name: str, settings: Collection[str]) -> str:
    """Return the message on a setting, or with dashes an option, that does not exist."""
    dashes = "--" if name.startswith("--") else ""
    name = name.removeprefix("--")
    groups = {setting.split(".")[0] for setting in settings}
    group = name.split(".")[0]
    known = settings if group in groups else groups  # the group is misspelt, or what is in it
    name = name if group in groups else group
    near = did_you_mean(name, known, lambda setting: dashes + setting)
    return f"there is no {'option' if dashes else 'setting'} {dashes}{name}{near or '; --help says what there is'}"


def _explain_kind(kinds: str, value: str) -> str:
    """Return the message on a value that has none of the expected types, which are given as Python writes them."""
    choices = re.findall(r"'([^']+)'", "".join(re.findall(r"Literal\[(.*?)\]", kinds)))
    for pattern, replacement in (
        (r"<class '([\w.]+)'>", r"\1"),
        (r"typing\.Literal\[(.*?)\]", r"\1"),
        (r"(?<!')\b(?:\w+\.)+(?=\w)", ""),
        (r"\bNoneType\b", "null"),
    ):
        kinds = re.sub(pattern, replacement, kinds)
    first, _, last = kinds.rpartition(", ")
    listed = f"{first} or {last}" if first and "]" not in last else kinds
    return f"expected {listed}; got {value}{did_you_mean(value, choices)}"


def _explain_class(path: str, reason: str, kinds: str) -> str:
    """Return the message on a class that does not exist or is none of the expected ones."""
    known = {
        kind.__name__: _import_path(kind)
        for base in re.findall(r"(?:\w+\.)+\w+", kinds)
        for kind in _find_subclasses(base)
    }
    near = did_you_mean(path.rpartition(".")[2], known, known.__getitem__)
    if subclass := re.search(r"to a subclass of (\w+)", reason):
        return f"{path} is no {subclass[1]}{near}"
    return f"there is no class {path}{near}"


def _find_subclasses(base: str) -> Iterator[type]:
    """Yield the class of this path, and all classes derived from it that have been imported."""
    found = locate(base)
    left = [found] if isinstance(found, type) else []
    while left:
        kind = left.pop()
        left += type.__subclasses__(kind)
        if not kind.__name__.startswith("_"):
            yield kind


def _import_path(kind: type) -> str:
    """Return the shortest path from which the class can be imported, among imported packages."""
    parts = kind.__module__.split(".")
    packages = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    offering = (each for each in packages if getattr(sys.modules.get(each), kind.__name__, None) is kind)
    return f"{next(offering, kind.__module__)}.{kind.__name__}"
