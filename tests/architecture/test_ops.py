"""Rules of the package `ops`: sizes, who may use what, and what commands import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from tests.support.source_code import (
    modules_of,
    oversized,
    share_of_short_functions,
    unclear_docstrings,
)

MODULES = modules_of("ops")
COMMANDS = [each for each in MODULES if each.name.startswith("commands.")]

MAX_COMMAND_MODULE = 100
GROUPS_OF_COMMANDS = {"commands.dead"}
"""Modules with more than three commands."""

MORE_THAN_A_DOZEN = {"commands"}
"""Folders with a module for each of many equal things, as their docstrings say."""

ONLY_IN = {
    "typer": {"cli", "errors", *(each.name for each in COMMANDS if each.uses("typer"))}
    | {"command_line.lazy_group"},
    "rich": {"printing", "progress_bar"},
    "fcntl": {"addresses", "devstack.data_dir", "devstack.postgres_server"},
    "subprocess": {"devstack.postgres_server", "processes.child", "processes.process_tree"},
    "multiprocessing": {"tasks.parallel"},
    "workers": {"tasks.demo", "tasks.roster_import", "tasks.video_encoding"},
    "consumers.composition": {"commands.consume"},
    "projections": {
        # The names of the registered projections.
        "commands.consume", "commands.lag", "commands.shared_options", "doctor.checks",
        "doctor.deployment", "operator_view", "tasks.up",
        "doctor.postgres_checks",
        *(f"tasks.replay.{name}" for name in (
            "entry_range reading recording replaced replay scope servers shares "
            "verification".split()
        )),
    },
}  # fmt: skip
"""The only modules that import a package, by the package's name."""

NOT_IMPORTED = {
    "append": {"psycopg", "prometheus_client", "structlog", "consumers", "projections"},
    "dead": {"psycopg", "prometheus_client", "structlog", "projections"},
    "lag": {"psycopg", "prometheus_client", "structlog", "projections"},
    "replay": {"consumers", "projections", "psycopg", "pydantic", "redis", "sql", "structlog"},
    "roster": {"workers", "psycopg", "structlog"},
    "status": {"consumers", "projections", "psycopg", "pydantic", "redis", "sql", "structlog"},
    "tail": {"psycopg", "prometheus_client", "structlog", "consumers", "projections"},
    "verify": {"consumers", "projections", "psycopg", "pydantic", "redis", "sql", "structlog"},
    "video": {"workers", "psycopg", "structlog"},
}
"""Packages that the module of a command must not import: most runs of a command are short."""


def test_functions_modules_and_folders_are_small() -> None:
    large = oversized(MODULES)
    assert {name for name in large if not name.endswith(tuple(MORE_THAN_A_DOZEN))} == set()
    assert share_of_short_functions(MODULES) >= 0.9


def test_command_modules_only_parse_and_print() -> None:
    sizes = {each.name: len(each.path.read_text().splitlines()) for each in COMMANDS}
    large = {name for name, size in sizes.items() if size > MAX_COMMAND_MODULE}
    assert large == GROUPS_OF_COMMANDS


@pytest.mark.parametrize("package", ONLY_IN)
def test_package_is_used_in_its_modules_only(package: str) -> None:
    assert {each.name for each in MODULES if each.uses(package)} == ONLY_IN[package]


def test_standard_output_and_error_are_written_by_printing_only() -> None:
    streams = {"sys.stdout", "sys.stderr"}
    using = {each.name for each in MODULES if each.attributes & streams}
    # The command line passes standard output to `printing`; a forked process flushes it.
    assert using == {"printing", "cli", "tasks.parallel"}


def test_doctor_checks_have_names_of_their_own() -> None:
    from ops.doctor.checks import CHECKS  # noqa: PLC0415 - imports much

    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)


def test_every_module_has_a_docstring() -> None:
    assert [each.name for each in MODULES if not ast.get_docstring(each.tree)] == []


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    assert unclear_docstrings(MODULES) == []


@pytest.mark.parametrize("command", NOT_IMPORTED)
def test_module_of_a_command_imports_nothing_needless(command: str) -> None:
    script = f"import json, sys, ops.cli, ops.commands.{command}; print(json.dumps([*sys.modules]))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert not set(json.loads(ran.stdout)) & NOT_IMPORTED[command]
