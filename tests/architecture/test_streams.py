"""Rules of the package `streams`: sizes, and what only one of its modules may do."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.packages import FOLDERS, ROOT

STREAMS = ROOT / "streams"
MODULES = sorted(STREAMS.rglob("*.py"))
MAX_FUNCTION, MAX_MODULE = 40, 350
KEY_PREFIXES = ("tenant:", "jobtrail:")
CLIENTS = {"Redis", "ConnectionPool", "from_url", "from_pool", "StrictRedis"}


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def product() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_functions_and_modules_are_short() -> None:
    lines = {
        f"{path.relative_to(STREAMS)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in MODULES
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: number for name, number in lines.items() if number > MAX_FUNCTION} == {}
    assert sum(number <= MAX_FUNCTION / 2 for number in lines.values()) >= 0.9 * len(lines)
    modules = {path.name: len(path.read_text().splitlines()) for path in MODULES}
    assert {name: number for name, number in modules.items() if number > MAX_MODULE} == {}


def test_only_keys_builds_names_of_keys() -> None:
    found = {
        (str(path.relative_to(ROOT)), node.value)
        for path in product()
        if path != STREAMS / "keys.py"
        for node in nodes(path)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(KEY_PREFIXES)
        and " " not in node.value  # a message
    }
    assert found == set()


def test_only_connection_makes_clients_of_redis() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in product()
        if path != STREAMS / "connection.py"
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLIENTS
        and ast.unparse(node.func).startswith("redis.")
    }
    assert found == set()


def test_modules_import_each_other_relatively() -> None:
    """The worker's package has another import name."""
    found = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for node in nodes(path)
        if (isinstance(node, ast.ImportFrom) and not node.level and node.module == "streams")
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("streams."))
        or (isinstance(node, ast.Import) and any(a.name.startswith("streams") for a in node.names))
    }
    assert found == set()


def test_the_workers_package_requires_no_more_than_the_service() -> None:
    """Both have the same lowest versions of what both require."""
    of_worker, of_service = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        for folder in (STREAMS, ROOT)
    )
    assert set(of_worker["dependencies"]) <= set(of_service["dependencies"])
    assert set(of_worker["optional-dependencies"]["otel"]) <= set(
        of_service["optional-dependencies"]["otel"]
    )
