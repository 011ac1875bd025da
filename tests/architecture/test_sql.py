"""Rules of the package `sql`: sizes, language, and who may use what."""

from __future__ import annotations

import ast

import pytest

from tests.support.packages import FOLDERS
from tests.support.source_code import (
    Module,
    modules_of,
    oversized,
    share_of_short_functions,
    statements_of_sql,
    unclear_docstrings,
    undocumented,
)

MODULES = modules_of("sql")
CONNECTORS = {"Connection", "AsyncConnection", "Session", "AsyncSession", "psycopg"}
"""Names whose attribute `connect` opens a connection to PostgreSQL."""
POOLS = {"ConnectionPool", "AsyncConnectionPool"}

ONLY_IN = {
    "psycopg_pool": {"sessions"},
    "os": {"url_options"},
    "threading": {"waits"},
    "structlog": {"migrate", "waits"},
}
"""The only modules that import a package, by the package's name."""

OF_THE_MACHINERY = {"indexes", "migrate", "session_settings", "sessions"}
"""Modules with statements of their own: about sessions and migrations, not about data."""


def opens_connections(module: Module) -> bool:
    """Return True if a module opens connections to PostgreSQL."""
    return any(
        isinstance(node, ast.Call)
        and (
            (
                isinstance(node.func, ast.Attribute)
                and node.func.attr == "connect"
                and ast.unparse(node.func.value).rpartition(".")[2] in CONNECTORS
            )
            or (
                isinstance(node.func, ast.Name) and node.func.id in POOLS and module.uses("psycopg")
            )
        )
        for node in ast.walk(module.tree)
    )


def test_functions_modules_and_folders_are_small() -> None:
    assert oversized(MODULES) == {}
    assert share_of_short_functions(MODULES) >= 0.9


def test_every_module_has_a_docstring() -> None:
    assert undocumented(MODULES) == []


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    assert unclear_docstrings([*MODULES, *modules_of("tests/sql")]) == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_package_is_used_in_its_modules_only(package: str) -> None:
    assert {each.name for each in MODULES if each.uses(package)} == ONLY_IN[package]


def test_only_sessions_open_connections() -> None:
    found = {
        f"{folder}.{each.name}"
        for folder in FOLDERS
        for each in modules_of(folder)
        if opens_connections(each)
    }
    assert found == {"sql.sessions"}


def test_statements_about_data_are_in_named_queries() -> None:
    assert {each.name for each in MODULES if statements_of_sql(each)} == OF_THE_MACHINERY
