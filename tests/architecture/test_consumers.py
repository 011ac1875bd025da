"""Rules of the package `consumers` that the import contracts do not state."""

from __future__ import annotations

import ast
from collections.abc import Callable

from tests.support.source_code import (
    modules_of,
    oversized,
    share_of_short_functions,
    unclear_docstrings,
)

MODULES = modules_of("consumers")
CHORES = [each for each in MODULES if each.name.startswith("chores.")]
GROUP_COMMANDS = {"XREADGROUP", "XACK", "XGROUP", "XAUTOCLAIM", "XPENDING", "XCLAIM"}
QUEUE_KEYS = {"ready", "leased", "stale"}


def users(is_use: Callable[[ast.AST], bool]) -> set[str]:
    """Return the names of the modules that have such a node."""
    return {each.name for each in MODULES if any(map(is_use, ast.walk(each.tree)))}


def classes() -> list[tuple[str, ast.ClassDef]]:
    """Return all classes with the names of their modules."""
    return [
        (each.name, node)
        for each in MODULES
        for node in ast.walk(each.tree)
        if isinstance(node, ast.ClassDef)
    ]


def test_functions_modules_and_folders_are_small() -> None:
    assert oversized(MODULES) == {}
    assert share_of_short_functions(MODULES) >= 0.9


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    assert unclear_docstrings([*MODULES, *modules_of("tests/consumers")]) == []


def test_classes_have_different_names() -> None:
    names = [node.name for _, node in classes()]
    assert len(names) == len(set(names))


def test_commands_on_groups_are_built_in_one_module() -> None:
    def is_command(node: ast.AST) -> bool:
        return isinstance(node, ast.Constant) and node.value in GROUP_COMMANDS

    assert users(is_command) == {"delivery.group_commands"}


def test_keys_of_the_queues_are_used_in_one_module() -> None:
    def is_key(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and node.attr in QUEUE_KEYS
            and ast.unparse(node.value) in {"keys", "self._keys"}
        )

    assert users(is_key) == {"delivery.ready"}


def test_only_the_base_of_chores_decides_what_is_due() -> None:
    assert {each.name for each in CHORES for name in each.functions if name.endswith(".due")} == {
        "chores.periodic"
    }


def test_only_elections_write_their_keys() -> None:
    assert users(lambda node: isinstance(node, ast.Constant) and node.value == "PX") == {
        "chores.election"
    }


def test_every_chore_is_periodic() -> None:
    bases = {
        node.name: [ast.unparse(base) for base in node.bases]
        for module, node in classes()
        if module.startswith("chores.")
        and {"run", "_work"}
        & {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    }
    assert bases.pop("PeriodicChore") == ["ABC"]
    assert set(bases) == {*"Sweep Retention Reaper Samples Promotions Heartbeat JobFigures".split()}
    assert all(each == ["PeriodicChore"] for each in bases.values())
