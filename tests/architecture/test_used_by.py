"""The sentence "Used by …" in the docstrings of modules, compared with what really imports them.

A name stands for the module, or for the package with all that is in it. A named module must import
this one, and all modules that import this one must be named. Of a sentence with one of the words
"all", "every" and "modules", only the names are checked.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from ops.commands import COMMANDS
from tests.support.source_code import ROOT

PACKAGES = ("api", "consumers", "ops", "projections", "sql", "streams", "workers")
_SENTENCE = re.compile(r"\bUsed by ((?:`[^`]*`|[^`.])+)\.")
_IN_GENERAL = re.compile(r"\b(?:all|every|modules)\b")


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of each module."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    paths += ROOT.glob("*.py")
    return {_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


@cache
def packages() -> frozenset[str]:
    """Return the names of all packages."""
    return frozenset(
        _name(path) for each in PACKAGES for path in (ROOT / each).rglob("__init__.py")
    )


@cache
def importers() -> dict[str, set[str]]:
    """Return the modules that import each module; `ops.cli` imports commands by their names."""
    found = defaultdict[str, set[str]](set)
    for entry in COMMANDS.values():
        found[entry.module].add("ops.cli")
    for name, tree in trees().items():
        for node in ast.walk(tree):
            for used in _imported(name, node):
                if used in trees() and used != name:
                    found[used].add(name)
    return found


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(name: str, node: ast.AST) -> list[str]:
    """Return the modules that a node imports, or names in a string, for a later import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = name.split(".") + ([""] if name in packages() else [])
            base = ".".join([*parts[: -node.level], *filter(None, [node.module])])
        names = [f"{base}.{alias.name}" for alias in node.names]
        return [each if each in trees() else base for each in names]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value] if "." in node.value else []
    return []


def _sentence(tree: ast.Module) -> str | None:
    found = _SENTENCE.search(" ".join((ast.get_docstring(tree) or "").split()))
    return found[1] if found else None


def _named(sentence: str) -> list[str]:
    quoted = re.findall(r"`([^`]+)`", sentence)
    names = [each.removesuffix(".py").replace("/", ".") for each in quoted]
    return [each for each in names if each in trees()]


def _is_part(name: str, of: str) -> bool:
    return name == of or name.startswith(f"{of}.")


def _users(name: str) -> set[str]:
    """Return the importers of a module, or those of all modules of a package outside it."""
    if name not in packages():
        return importers()[name]
    used = [importers()[each] for each in trees() if _is_part(each, name)]
    return {each for each in set().union(*used) if not _is_part(each, name)}


def test_modules_that_are_said_to_use_another_import_it() -> None:
    wrong = [
        (name, user)
        for name, tree in trees().items()
        for user in _named(_sentence(tree) or "")
        if not any(_is_part(each, user) for each in _users(name))
    ]
    assert wrong == []


def test_lists_of_the_modules_that_use_another_are_complete() -> None:
    missing = [
        (name, user)
        for name, tree in trees().items()
        if (sentence := _sentence(tree)) and _named(sentence) and not _IN_GENERAL.search(sentence)
        for user in sorted(importers()[name])
        if not _is_part(user, name) and not any(_is_part(user, each) for each in _named(sentence))
    ]
    assert missing == []


def test_every_module_that_another_imports_names_its_users() -> None:
    silent = [
        name
        for name, tree in trees().items()
        if name not in packages() and "." in name and importers()[name] and not _sentence(tree)
    ]
    assert silent == []
