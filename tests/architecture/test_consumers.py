"""Rules of the package `consumers` that the import contracts do not state."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "consumers"
MODULES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
GROUP_COMMANDS = {"XREADGROUP", "XACK", "XGROUP", "XAUTOCLAIM", "XPENDING", "XCLAIM"}
QUEUE_KEYS = {"ready", "leased", "stale"}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield the functions and methods of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def lines(node: ast.FunctionDef) -> int:
    """Return the number of lines of a function."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def statement_lines(node: ast.FunctionDef) -> int:
    """Return the number of lines of a function without its signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def users(is_use: Callable[[ast.AST], bool]) -> set[str]:
    """Return the modules that have such a node."""
    return {name for name, tree in MODULES.items() if any(map(is_use, ast.walk(tree)))}


def test_functions_are_short() -> None:
    sizes = {
        f"{name}:{each.name}": each for name, tree in MODULES.items() for each in functions(tree)
    }
    assert not {name for name, each in sizes.items() if lines(each) > 40}
    long = {name for name, each in sizes.items() if statement_lines(each) > 20}
    assert len(long) <= len(sizes) / 10, sorted(long)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_folders_have_at_most_a_dozen_modules() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    counts = {
        folder.name: sum(1 for each in folder.glob("*.py") if each.stem != "__init__")
        for folder in folders
    }
    assert max(counts.values()) <= 12, counts


def test_commands_on_groups_are_built_in_one_module() -> None:
    def is_command(node: ast.AST) -> bool:
        return isinstance(node, ast.Constant) and node.value in GROUP_COMMANDS

    assert users(is_command) == {"delivery/group_commands.py"}


def test_keys_of_the_queues_are_used_in_one_module() -> None:
    def is_key(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and node.attr in QUEUE_KEYS
            and ast.unparse(node.value) in {"keys", "self._keys"}
        )

    assert users(is_key) == {"delivery/ready.py"}


def test_only_the_base_of_chores_decides_what_is_due_and_who_is_elected() -> None:
    """No chore computes its own due time, and none writes the key of an election."""
    chores = {name: tree for name, tree in MODULES.items() if name.startswith("chores/")}
    defining = {
        name: {each.name for each in functions(tree) if each.name in {"due", "hold", "resign"}}
        for name, tree in chores.items()
    }
    assert {name: found for name, found in defining.items() if found} == {
        "chores/election.py": {"hold", "resign"},
        "chores/periodic.py": {"due"},
    }
    assert users(lambda node: isinstance(node, ast.Constant) and node.value == "PX") == {
        "chores/election.py"
    }


def test_every_chore_is_periodic() -> None:
    chores = {
        node.name: [ast.unparse(base) for base in node.bases]
        for name, tree in MODULES.items()
        if name.startswith("chores/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and {"run", "_work"} & {f.name for f in functions(node)}
    }
    assert {name for name, bases in chores.items() if bases == ["Periodic"]} == {
        *("Sweep", "Retention", "Reaper", "Samples", "Promotions", "Heartbeat")
    }
    assert {name for name, bases in chores.items() if bases != ["Periodic"]} == {"Periodic"}


def test_classes_have_different_names() -> None:
    names = [
        node.name
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    assert len(names) == len(set(names))
