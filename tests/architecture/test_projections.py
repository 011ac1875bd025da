"""Rules of the package `projections`: sizes, language, and who may use what."""

from __future__ import annotations

import ast

import pytest

from tests.support.source_code import (
    modules_of,
    oversized,
    share_of_short_functions,
    statements_of_sql,
    unclear_docstrings,
    undocumented,
)

MODULES = modules_of("projections")
TESTS = modules_of("tests/projections")

ONLY_IN = {
    "msgspec": {"decoding", "progress_fields", "replay.events.missing_entries"},
    "orjson": {"documents", "replay.reset.kept_documents"},
    "streams.wire": {
        "reading.documents", "reading.feed", "reading.settled", "replay.events.stream_pages",
        "replay.served.documents", "replay.tenant_shares", "status.store",
    },
    "projections.rows.columns": {
        "replay.replaced_states", "replay.reset.rows", "replay.served.rows", "rows.writer",
    },
    "projections.status.store": {
        "replay.reset.documents", "status.document_writes", "status.writer",
    },
}  # fmt: skip
"""The only modules that import a package, by the package's name."""

NOT_IMPORTED = (
    "os", "prometheus_client", "psycopg_pool", "streams.connection", "streams.settings",
    "threading",
)  # fmt: skip
"""Packages that only the registry may import: callers of the other rooms connect and configure."""


def names_of(names: set[str], room: str) -> set[str]:
    """Return the names of modules outside a room."""
    return {name for name in names if not name.startswith(f"{room}.")}


def test_functions_modules_and_folders_are_small() -> None:
    assert oversized(MODULES) == {}
    assert share_of_short_functions(MODULES) >= 0.9


def test_classes_have_different_names() -> None:
    names = [
        node.name
        for each in MODULES
        for node in ast.walk(each.tree)
        if isinstance(node, ast.ClassDef)
    ]
    assert len(names) == len(set(names))


def test_every_module_has_a_docstring() -> None:
    assert undocumented(MODULES) == []


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    assert unclear_docstrings([*MODULES, *TESTS]) == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_package_is_used_in_its_modules_only(package: str) -> None:
    assert {each.name for each in MODULES if each.uses(package)} == ONLY_IN[package]


@pytest.mark.parametrize("package", NOT_IMPORTED)
def test_projections_are_given_their_connections(package: str) -> None:
    assert names_of({each.name for each in MODULES if each.uses(package)}, "registry") == set()


def test_statements_are_in_named_queries() -> None:
    assert {each.name: found for each in MODULES if (found := statements_of_sql(each))} == {}


def test_only_the_fold_makes_states_of_events() -> None:
    """Other modules read states that were stored; only the fold decides what events mean."""
    made = {
        each.name
        for each in MODULES
        for node in ast.walk(each.tree)
        if isinstance(node, ast.Call)
        and ("JobState" in {ast.unparse(part) for part in [node.func, *node.args[:1]]})
    }
    assert made == {"documents", "fold"}
