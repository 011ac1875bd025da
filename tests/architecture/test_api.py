"""Rules of the package `api`: sizes of functions, modules and folders, and who may use what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "api"
MODULES = sorted(ROOT.rglob("*.py"))

MAX_FUNCTION, MAX_MODULE, MAX_FOLDER = 40, 350, 12

ONLY_IN = {
    "granian": {"server"},
    "uvloop": {"server"},
    "jwt": {"access.auth", "access.token_keys"},
    "prometheus_client": {"metrics", "monitoring", "request_histogram"},
    "starlette.applications": {"app", "other_routes"},
    "projections.reading.all_tenants": {
        "operators.jobs",
        "operators.job_details",
        "operators.parameters",
    },
    "projections.reading.explain": {"operators.job_details"},
    "streams.connection": {"app", "live.subscriptions", "monitoring", "operators.gate"},
    "sql": {"jobs.database", "operators.database", "metrics"},
    "psycopg": {"jobs.database", "operators.database", "operators.gate", "operators.jobs",
                "operators.routes"},
}  # fmt: skip
"""The only modules that import a package, by the package's name."""

FROM_PROJECTIONS = ("projections.documents", "projections.reading")
"""All that the API may import of the projections."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of each function of a module."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{name_of(path)}.{node.name}", node.end_lineno - node.lineno + 1


def imports(path: Path) -> set[str]:
    """Return the names of all modules that a module imports."""
    found = set[str]()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def uses(path: Path, package: str) -> bool:
    return any(each == package or each.startswith(f"{package}.") for each in imports(path))


def test_functions_are_short() -> None:
    lines = dict(each for path in MODULES for each in functions(path))
    assert {name: number for name, number in lines.items() if number > MAX_FUNCTION} == {}
    assert sum(number < MAX_FUNCTION / 2 for number in lines.values()) >= 0.9 * len(lines)


def test_modules_and_folders_are_small() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: number for name, number in lines.items() if number > MAX_MODULE} == {}
    folders = {path.parent for path in MODULES} - {ROOT}
    modules = {folder.name: len(list(folder.glob("[!_]*.py"))) for folder in folders}
    assert {name: number for name, number in modules.items() if number > MAX_FOLDER} == {}


@pytest.mark.parametrize("package", ONLY_IN)
def test_package_is_used_in_its_modules_only(package: str) -> None:
    assert {name_of(path) for path in MODULES if uses(path, package)} == ONLY_IN[package]


def test_of_the_projections_only_readers_are_used() -> None:
    used = {each for path in MODULES for each in imports(path) if each.startswith("projections.")}
    assert {each for each in used if not each.startswith(FROM_PROJECTIONS)} == set()


def test_environment_is_read_by_the_settings_only() -> None:
    text = {name_of(path): path.read_text() for path in MODULES}
    assert [name for name, each in text.items() if "environ" in each or "getenv" in each] == []


def test_every_module_has_a_docstring() -> None:
    assert [name_of(path) for path in MODULES if not ast.get_docstring(tree_of(path))] == []
