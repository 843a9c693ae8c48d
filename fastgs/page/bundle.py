"""Modules of JavaScript as one script, by a simple rule, so that pages work without a server and without a build step.

Each module becomes a function that returns its exports; modules come after those that they import. Modules write

    import { name, other as alias } from "./file.js";         paths begin with ./ or ../
    import * as everything from "./file.js";
    export function name() {}                        and likewise async function, function*, class, const, let
    export { name, other as alias };
    export { name } from "./file.js";

at the start of a line, and nothing else of the kind.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

_FROM = r'\s*from\s*"(\.\.?/[\w./-]+)";[^\S\n]*$'
_IMPORT = re.compile(r"^import\s*\{([^}]*)\}" + _FROM, re.MULTILINE)
_IMPORT_ALL = re.compile(r"^import\s*\*\s*as\s+([\w$]+)" + _FROM, re.MULTILINE)
_EXPORT_FROM = re.compile(r"^export\s*\{([^}]*)\}" + _FROM, re.MULTILINE)
_EXPORT_LIST = re.compile(r"^export\s*\{([^}]*)\};[^\S\n]*$", re.MULTILINE)
_EXPORT = re.compile(r"^export\s+((?:async\s+)?(?:function\s*\*?|class|const|let)\s+([\w$]+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)
# What would end or change the element that the script is in.
_FORBIDDEN = re.compile(r"</script|<!--|<script", re.IGNORECASE)


def bundle(entry: str, folder: Path) -> str:
    """Return one strict script of an entry module and all that it imports.

    Args:
        entry: Source of the entry module.
        folder: Folder of the modules.

    Raises:
        ValueError: A module is missing, modules import each other in a circle, or one breaks the rule of this file.
    """
    done: dict[str, str] = {}
    _add(entry, "entry", folder, done, [])
    text = '"use strict";\n(() => {\nconst modules = {};\n' + "".join(done.values()) + "})();\n"
    found = _FORBIDDEN.search(text)
    if found:
        raise ValueError(f"a script in {folder} holds {found[0]!r}, which cannot be in a page")
    return text


def _add(source: str, name: str, folder: Path, done: dict[str, str], above: list[str]) -> None:
    """Add a module behind those that it imports."""
    if name in above:
        raise ValueError(f"modules in {folder} import each other in a circle: {' -> '.join([*above, name])}")
    for pattern in (_IMPORT, _IMPORT_ALL, _EXPORT_FROM):
        for match in pattern.finditer(source):
            found = _resolve(match[2], name)
            if found not in done:
                _add(_read(folder / found), found, folder, done, [*above, name])
    done[name] = _wrap(source, name)


def _resolve(path: str, name: str) -> str:
    """Return the name of a module that another one imports: its path in the folder."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: a module of the page cannot be read ({error.strerror})") from error


def _wrap(source: str, name: str) -> str:
    """Return a module as a function that is called at once."""
    exported: list[str] = []

    def take(match: re.Match[str]) -> str:
        exported.append(match[2])
        return match[1]

    def take_list(match: re.Match[str]) -> str:
        exported.extend(f"{alias}: {known}" for known, alias in _names(match[1]))
        return ""

    def take_from(match: re.Match[str]) -> str:
        place = f'modules["{_resolve(match[2], name)}"]'
        exported.extend(f"{alias}: {place}.{known}" for known, alias in _names(match[1]))
        return ""

    def bring(match: re.Match[str]) -> str:
        names = ", ".join(known if known == alias else f"{known}: {alias}" for known, alias in _names(match[1]))
        return f'const {{ {names} }} = modules["{_resolve(match[2], name)}"];'

    def bring_all(match: re.Match[str]) -> str:
        return f'const {match[1]} = modules["{_resolve(match[2], name)}"];'

    body = _EXPORT_FROM.sub(take_from, source)
    body = _EXPORT_LIST.sub(take_list, body)
    body = _EXPORT.sub(take, _IMPORT_ALL.sub(bring_all, _IMPORT.sub(bring, body)))
    wrong = _OTHER.search(body)
    if wrong:
        raise ValueError(f"{name}: {wrong[0]!r} is not of a form that pages take; fastgs/page/bundle.py has them")
    return f'modules["{name}"] = (() => {{\n{body}\nreturn {{ {", ".join(exported)} }};\n}})();\n'


def _names(text: str) -> list[tuple[str, str]]:
    """Return the names between braces, each with its alias."""
    pairs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        known, _, alias = part.partition(" as ")
        pairs.append((known.strip(), (alias or known).strip()))
    return pairs
