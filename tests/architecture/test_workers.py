"""Rules of the package `workers`: sizes, and who may use what."""

from __future__ import annotations

import ast

import pytest

from tests.support.source_code import (
    modules_of,
    oversized,
    share_of_short_functions,
    unclear_docstrings,
)

MODULES = modules_of("workers")

ONLY_IN = {
    "psycopg": {"roster.importer", "roster.store"},
    "sql": {"roster.store"},
    "sqlite3": {"roster.reader_process", "roster.xlsx.scratch"},
    "zipfile": {"roster.xlsx.package", "roster.xlsx.parts", "roster.xlsx.workbook"},
    "xml": {"roster.xlsx.markup"},
    "resource": {"confinement"},
    "fcntl": {"video.workspace"},
    "subprocess": {"roster.reader_client", "video.ffmpeg.process"},
    "streams.reporter": {"roster.importer"},
}
"""The only modules that import a package, by the package's name."""


def test_functions_modules_and_folders_are_small() -> None:
    assert oversized(MODULES) == {}
    assert share_of_short_functions(MODULES) >= 0.9


@pytest.mark.parametrize("package", ONLY_IN)
def test_package_is_used_in_its_modules_only(package: str) -> None:
    assert {each.name for each in MODULES if each.uses(package)} == ONLY_IN[package]


def test_every_module_has_a_docstring() -> None:
    assert [each.name for each in MODULES if not ast.get_docstring(each.tree)] == []


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    assert unclear_docstrings(MODULES) == []
