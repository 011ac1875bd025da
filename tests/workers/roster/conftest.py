"""Imports against real servers; whole processes come from the pipeline's fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
import redis

from streams.appender import EventAppender
from streams.reporter import Reporter
from tests.pipeline.conftest import servers, start
from workers.roster.importer import Job, import_roster

__all__ = ["servers", "start"]


class Importing(Protocol):
    """Return a function that imports a workbook in this process and returns the result."""

    def __call__(
        self, path: Path, *, tenant: str = "1", job_id: str = "a1", **words: Any
    ) -> dict[str, Any]: ...


@pytest.fixture
def reporter(redis_client: redis.Redis) -> Reporter:
    return Reporter(EventAppender(redis_client), durable_ends=False)


@pytest.fixture
def importing(reporter: Reporter, database_url: str) -> Importing:
    def run(path: Path, *, tenant: str = "1", job_id: str = "a1", **words: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "password": "0000",
            "database_url": database_url,
            "reporter": reporter,
        }
        return import_roster(Job(path, tenant, job_id), **given | words)

    return run


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of the owner that sees all tenants."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection
