from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date

import psycopg
import pytest

from projections.history.partitions import partition_statements
from projections.history.retention import drop_before

ADD = (
    "INSERT INTO job_events (tenant, kind, id, event_id, day, entry_ms, entry_seq, type, attempt,"
    " at, event) VALUES ('42', 'job', 'a1', %s, %s, 1, 0, 'done', 1, now(), '{}')"
)


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection]:
    """A history of two weeks and a day that lies in none."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for monday in (date(2026, 3, 2), date(2026, 3, 9)):
            for statement in partition_statements(f"job_events_{monday:%Y%m%d}", monday):
                connection.execute(statement)
        for day in ("2026-02-01", "2026-03-03", "2026-03-10"):
            connection.execute(ADD, (day, day))
        yield connection


def days(connection: psycopg.Connection) -> list[str]:
    return [str(day) for (day,) in connection.execute("SELECT day FROM job_events ORDER BY 1")]


def test_partitions_wholly_older_go_and_others_stay(db: psycopg.Connection) -> None:
    db.execute("SET datestyle = 'German'")
    assert drop_before(db, date(2026, 3, 11)) == ["job_events_20260302"]
    assert days(db) == ["2026-03-10"]


def test_partition_with_a_day_that_is_kept_stays(db: psycopg.Connection) -> None:
    assert drop_before(db, date(2026, 3, 8)) == []
    assert days(db) == ["2026-03-03", "2026-03-10"]


def test_partition_in_use_is_left_and_blocks_no_writer(
    db: psycopg.Connection, database_url: str
) -> None:
    with psycopg.connect(database_url) as reader, psycopg.connect(database_url) as writer:
        reader.execute("SELECT count(*) FROM job_events")
        assert drop_before(db, date(2026, 3, 9)) == []
        writer.execute("SET lock_timeout = '1s'")
        dropping = threading.Thread(target=drop_before, args=(db, date(2026, 3, 9)))
        dropping.start()
        written = 0
        while dropping.is_alive():
            writer.execute(ADD, (f"late{written}", "2026-03-03"))
            writer.commit()
            written += 1
        assert written > 0
    assert drop_before(db, date(2026, 3, 9)) == ["job_events_20260302"]
