"""No product code outside `streams/kinds.py` treats one kind of jobs unlike another."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from streams.kinds import BUILT_IN
from tests.support.packages import FOLDERS, ROOT

ENTRIES = {name.upper() for name in BUILT_IN}
"""The names of the entries themselves, which only the table's module may use."""


def branches(source: str) -> Iterator[str]:
    """Yield each comparison of a kind with the name of one, and each use of an entry by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and _compares_kinds(node):
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.match_case) and _is_name_of_kind(node.pattern):
            yield f"case {ast.unparse(node.pattern)}"
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("kinds"):
            yield from (each.name for each in node.names if each.name in ENTRIES)


def _compares_kinds(node: ast.Compare) -> bool:
    sides = [node.left, *node.comparators]
    texts = [ast.unparse(side) for side in sides]
    names = [any(repr(name) in text for name in BUILT_IN) for text in texts]
    return any(names) and any("kind" in text.lower() for text in texts)


def _is_name_of_kind(pattern: ast.pattern) -> bool:
    return any(repr(name) == ast.unparse(pattern) for name in BUILT_IN)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_branch_on_a_kind(folder: str) -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / folder).rglob("*.py")
        if path != ROOT / "streams" / "kinds.py" and (lines := list(branches(path.read_text())))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "if job.kind == 'video': pass",
        "a = 1 if kind != 'job' else 2",
        "if kind.name in ('job', 'image'): pass",
        "from streams.kinds import VIDEO",
        "match job.kind:\n    case 'video': pass",
    ],
)
def test_a_branch_would_be_found(source: str) -> None:
    assert list(branches(source))
    assert not list(branches("if stream['codec_type'] == 'video': pass"))
