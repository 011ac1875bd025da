"""Consumers under servers that freeze, and on connections that are dead though both ends stand.

A consumer notices by itself, connects anew and goes on; nothing is lost, and nothing stored twice.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import psycopg
import pytest
import redis

from consumers import composition, metrics
from ops.devstack import EmbeddedPostgres
from projections.registry import rows
from sql import deadlines, sessions
from streams.appender import EventAppender
from streams.connection import connect
from streams.settings import Settings
from tests.support.groups import settled
from tests.support.processes import frozen
from tests.support.proxy import Proxy
from tests.support.servers import PostgresFactory
from tests.support.waiting import eventually

TENANT, JOBS = "1", 5
RECOVERY_SECONDS = 60.0
"""The time limit for recovery on a busy machine; a few seconds are usual."""


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(deadlines, "LIVENESS_SECONDS", 0.5)


@pytest.fixture(autouse=True)
def sessions_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what consumers opened: a process that ends does it for them."""
    opened: list[sessions.Session] = []
    connect_really = sessions.connect

    def remembered(*args: Any, **options: Any) -> sessions.Session:
        opened.append(connect_really(*args, **options))
        return opened[-1]

    monkeypatch.setattr(sessions, "connect", remembered)
    yield
    for session in opened:
        session.close()


@contextmanager
def consuming(group: str, redis_url: str, database_url: str) -> Iterator[None]:
    """Run a consumer in a thread."""
    settings = Settings(redis_url=redis_url, database_url=database_url, reclaim_idle_seconds=1)
    stop = threading.Event()
    with connect(redis_url, timeout=1.0) as client:
        consumer = composition.build(group, settings, client, "consumer-1")
        thread = threading.Thread(target=consumer.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(RECOVERY_SECONDS)
    assert not thread.is_alive()


def append(client: redis.Redis, type_: str) -> None:
    EventAppender(client).append_many(
        (TENANT, {"type": type_, "id": f"a{number}"}) for number in range(JOBS)
    )


def wait_until_settled(client: redis.Redis, group: str) -> None:
    eventually(lambda: settled(client, TENANT, group), RECOVERY_SECONDS, "all settled")


def stored(url: str) -> list[tuple[str, int]]:
    """Return each job's status, and the number of its events."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT status, (SELECT count(*) FROM job_events AS e WHERE e.id = jobs.id)"
            " FROM jobs ORDER BY id"
        ).fetchall()


def outages(group: str, server: str) -> float:
    return metrics.OUTAGES.labels(group, server)._value.get()  # type: ignore[no-any-return]


def test_postgres_frozen__consumer_gives_up_the_session_by_itself_and_goes_on(
    redis_url: str, redis_client: redis.Redis, own_postgres: PostgresFactory
) -> None:
    postgres = own_postgres()
    with consuming("rows", redis_url, postgres.url):
        append(redis_client, "processing")
        wait_until_settled(redis_client, "rows")
        before = outages("rows", "postgres")

        with frozen(postgres.pid):
            append(redis_client, "done")
            eventually(lambda: outages("rows", "postgres") > before, RECOVERY_SECONDS)

        wait_until_settled(redis_client, "rows")
    assert stored(postgres.url) == [("DONE", 2)] * JOBS
    assert redis_client.xlen(f"tenant:{TENANT}:dead") == 0


def test_locked_row__waited_for_longer_than_the_reclaim_time__batches_stay_with_their_consumer(
    redis_url: str,
    redis_client: redis.Redis,
    own_postgres: PostgresFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Renewed while the consumer waits in one statement, so that nobody delivers them again."""
    monkeypatch.setattr(rows, "ANSWER_SECONDS", 120.0)
    postgres = own_postgres()
    with consuming("rows", redis_url, postgres.url):
        append(redis_client, "processing")
        wait_until_settled(redis_client, "rows")
        with psycopg.connect(postgres.url) as holder:
            holder.execute("SELECT FROM jobs FOR UPDATE")
            append(redis_client, "done")
            idle = [0]

            def renewed_four_times() -> bool:
                idle.extend(row["time_since_delivered"] for row in pending_entries(redis_client))
                return sum(later < earlier for earlier, later in pairwise(idle)) >= 4

            # A consumer with a reclaim time of 1 s renews after each third of it.
            eventually(renewed_four_times, RECOVERY_SECONDS)
            assert [row["times_delivered"] for row in pending_entries(redis_client)] == [1]
        wait_until_settled(redis_client, "rows")
    assert stored(postgres.url) == [("DONE", 2)] * JOBS


def pending_entries(client: redis.Redis) -> list[dict[str, Any]]:
    """Return the first pending entry, if any."""
    found: Any = client.xpending_range(f"tenant:{TENANT}:events", "rows", "-", "+", 1)
    return list(found)


@pytest.mark.parametrize("moment", ["between two batches", "within a transaction"])
def test_half_open_connection_to_postgres__consumer_opens_another_and_goes_on(
    redis_url: str, redis_client: redis.Redis, own_postgres: PostgresFactory, moment: str
) -> None:
    postgres = own_postgres()
    with Proxy(postgres.port) as link:
        url = postgres.url.replace(f":{postgres.port}/", f":{link.port}/")
        with consuming("rows", redis_url, url):
            append(redis_client, "processing")
            wait_until_settled(redis_client, "rows")

            if moment == "between two batches":
                assert link.swallow()
                append(redis_client, "done")
            else:
                swallow_in_transaction(postgres, link, redis_client)

            wait_until_settled(redis_client, "rows")
    assert stored(postgres.url) == [("DONE", 2)] * JOBS
    assert redis_client.xlen(f"tenant:{TENANT}:dead") == 0


def swallow_in_transaction(postgres: EmbeddedPostgres, link: Proxy, client: redis.Redis) -> None:
    """Let the connection die while the server's session waits for locks, which it then gets."""
    with psycopg.connect(postgres.url) as holder:
        holder.execute("SELECT FROM jobs FOR UPDATE")
        append(client, "done")
        eventually(lambda: waits_for_lock(postgres.url), RECOVERY_SECONDS)
        assert link.swallow()


def waits_for_lock(url: str) -> bool:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE application_name = 'jobtrail-rows' AND wait_event_type = 'Lock'"
        ).fetchall()
    return bool(found)


@pytest.mark.parametrize("group", ["status", "rows"])
def test_half_open_connection_to_redis__consumer_opens_another_and_goes_on(
    redis_client: redis.Redis, redis_url: str, database_url: str, group: str
) -> None:
    port = redis_client.connection_pool.connection_kwargs["port"]
    with Proxy(port) as link:
        url = redis_url.replace(f":{port}/", f":{link.port}/")
        with consuming(group, url, database_url):
            append(redis_client, "processing")
            wait_until_settled(redis_client, group)

            assert link.swallow()
            append(redis_client, "done")

            wait_until_settled(redis_client, group)
    if group == "rows":
        assert stored(database_url) == [("DONE", 2)] * JOBS
    else:
        shown = [
            redis_client.get(f"tenant:{TENANT}:job:a{number}:status") for number in range(JOBS)
        ]
        assert all(b'"DONE"' in (document or b"") for document in shown)
    assert redis_client.xlen(f"tenant:{TENANT}:dead") == 0
