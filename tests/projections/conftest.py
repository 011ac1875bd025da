"""Writers of the tables of jobs, and a reader of them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from projections.rows.writer import JobRows
from sql import sessions
from tests.support.job_tables import Writer


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    """Makes writers, each on a connection of its own."""
    made: list[JobRows] = []

    def make() -> JobRows:
        made.append(JobRows(lambda: sessions.connect(database_url, "test")))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def rows(writer: Writer) -> JobRows:
    """One writer."""
    return writer()


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection]:
    """A reader's connection."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection
