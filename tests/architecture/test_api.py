"""Rules of the package `api`: sizes of functions, modules and folders, and who may use what."""

from __future__ import annotations

import pytest

from tests.support.source_code import modules_of, oversized, share_of_short_functions, undocumented

MODULES = modules_of("api")

ONLY_IN = {
    "granian": {"server"},
    "uvloop": {"server"},
    "jwt": {"access.auth", "access.token_keys"},
    "prometheus_client": {"metrics", "monitoring", "request_histogram"},
    "starlette.applications": {"app", "other_routes"},
    "projections.reading.all_tenants": {
        "operators.figures.issues",
        "operators.figures.jobs",
        "operators.figures.tenants",
        "operators.jobs",
        "operators.job_details",
        "operators.parameters",
        "operators.tenant_names",
        "spec.operations.operators",
    },
    "projections.reading.explain": {"operators.job_details"},
    "streams.connection": {"app", "live.subscriptions", "monitoring", "operators.gate"},
    "sql": {"jobs.database", "operators.actions.log", "operators.database", "metrics"},
    "psycopg": {"jobs.database", "operators.actions.log", "operators.database", "operators.gate",
                "operators.figures.jobs", "operators.jobs", "operators.tenant_names"},
}  # fmt: skip
"""The only modules that import a package, by the package's name."""

FROM_PROJECTIONS = ("projections.documents", "projections.reading")
"""All that the API may import of the projections."""


def test_functions_modules_and_folders_are_small() -> None:
    assert oversized(MODULES) == {}
    assert share_of_short_functions(MODULES) >= 0.9


@pytest.mark.parametrize("package", ONLY_IN)
def test_package_is_used_in_its_modules_only(package: str) -> None:
    assert {each.name for each in MODULES if each.uses(package)} == ONLY_IN[package]


def test_of_the_projections_only_readers_are_used() -> None:
    used = {name for each in MODULES for name in each.imports if name.startswith("projections.")}
    assert {each for each in used if not each.startswith(FROM_PROJECTIONS)} == set()


def test_environment_is_read_by_the_settings_only() -> None:
    text = {each.name: each.path.read_text() for each in MODULES}
    assert [name for name, each in text.items() if "environ" in each or "getenv" in each] == []


def test_every_module_has_a_docstring() -> None:
    assert undocumented(MODULES) == []
