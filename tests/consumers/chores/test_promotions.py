"""A failover of PostgreSQL to a copy that lagged: lost entries are restored from the streams."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from threading import Event

import psycopg
import pytest
import redis

from consumers.chores.promotions import Promotions
from consumers.composition import build
from ops.devstack import EmbeddedPostgres
from projections.registry.rows import ROWS
from projections.rows.writer import JobRows
from sql import sessions
from streams.appender import EventAppender
from streams.settings import Settings
from tests.support.servers import PostgresFactory, copy_folder, server_folder
from tests.support.waiting import eventually

HISTORY = "SELECT count(*) FROM job_events"


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(HISTORY).fetchone()
    return row[0] if row else 0


def is_promoted(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def consume(client: redis.Redis, url: str, events: int) -> None:
    """Append events of two tenants, and consume until the database has this number of events."""
    appender = EventAppender(client)
    before = count(url)
    for number in range(before, events):
        appender.append(f"t{number % 2}", {"type": "done", "id": f"j{number}"})
    settings = Settings(redis_url="redis://unused", database_url=url)
    rows, stop = JobRows(lambda: sessions.connect(url, "test")), Event()
    with pytest.MonkeyPatch.context() as patch, closing(rows):
        registered = replace(ROWS, writer=lambda _client, _settings: rows)
        patch.setattr("consumers.composition.find_projection", lambda _group: registered)
        consumer = build("rows", settings, client, "c1")
        eventually(lambda: consumer.turn(stop) >= 0 and count(url) == events, 30, "the rows")


def test_promoted_copy_that_lagged__lost_events_are_stored_again(
    redis_client: redis.Redis, own_postgres: PostgresFactory
) -> None:
    primary = own_postgres()
    consume(redis_client, primary.url, 10)
    primary.stop()
    with server_folder() as folder:
        copy_folder(primary.data_dir, folder)
        primary.start()
        consume(redis_client, primary.url, 25)
        primary.stop()
        # Recovery from an archive that has nothing more ends with a promotion to a new timeline.
        (folder / "cluster" / "recovery.signal").touch()
        with (folder / "cluster" / "postgresql.conf").open("a") as configuration:
            configuration.write("restore_command = 'false'\n")
        with EmbeddedPostgres(folder, fast=True) as promoted:
            eventually(lambda: is_promoted(promoted.url), 30, "the promotion")
            assert count(promoted.url) == 10
            rows = JobRows(lambda: sessions.connect(promoted.url, "test"))
            chore = Promotions(redis_client, rows, "rows")
            while chore.due():
                chore.run()
            assert count(promoted.url) == 25
            chore = Promotions(redis_client, rows, "rows")
            chore.run()
            assert not chore.due()  # it is known now: nothing is compared again
            rows.close()
