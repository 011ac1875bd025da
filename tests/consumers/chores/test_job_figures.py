"""Samples and heartbeats that tell of silent jobs and of an unavailable PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import redis

from api.operators.jobs import STALLED_AFTER_SECONDS
from consumers.chores.activity import Tally
from consumers.chores.heartbeat import Heartbeat
from consumers.chores.job_figures import SILENT_AFTER_SECONDS, JobFigures
from consumers.chores.samples import Samples
from consumers.round_trips import server_ms
from projections.decoding import decode
from projections.rows.writer import JobRows
from sql import sessions
from streams.entry_ids import EntryId
from streams.keys import Keys

KEYS = Keys()


def latest(client: redis.Redis) -> Any:
    """Take a sample, and return what it says of PostgreSQL."""
    client.delete(KEYS.sampler())
    Samples(client, "sampler").run()
    found = json.loads(client.lrange(KEYS.samples(), -1, -1)[0])
    return found["silent"], found["database_away"]


def test_samples_know_silent_jobs_and_an_unavailable_database(
    redis_client: redis.Redis, database_url: str
) -> None:
    now = server_ms(redis_client)
    rows = JobRows(lambda: sessions.connect(database_url, "test"))
    for job_id, age in (("silent-1", SILENT_AFTER_SECONDS * 1000 + 5_000), ("heard-1", 1_000)):
        event = json.dumps({"type": "processing", "id": job_id}).encode()
        rows.apply([decode("acme", EntryId(now - age, 0), [b"event", event])])
    rows.close()
    assert latest(redis_client) == (None, False)

    def figures(url: str) -> JobFigures:
        redis_client.delete(KEYS.job_figures())
        return JobFigures(redis_client, lambda: psycopg.connect(url, autocommit=True), "c1")

    figures(database_url).run()
    assert latest(redis_client) == (1, False)
    figures("postgresql://127.0.0.1:1/none").run()
    assert latest(redis_client) == (None, True)
    figures(database_url).run()
    assert latest(redis_client) == (1, False)


def test_a_server_that_is_only_slow_is_not_unavailable(
    redis_client: redis.Redis, database_url: str
) -> None:
    def impatient() -> psycopg.Connection:
        options = "-c lock_timeout=50 -c statement_timeout=500"
        return psycopg.connect(database_url, autocommit=True, options=options)

    with psycopg.connect(database_url) as holder:
        holder.execute("LOCK TABLE job_figure_changes, jobs IN ACCESS EXCLUSIVE MODE")
        JobFigures(redis_client, impatient, "c1").run()
        assert latest(redis_client) == (None, False)


def test_a_consumer_that_waits_for_postgresql_is_alive_and_says_so(
    redis_client: redis.Redis,
) -> None:
    beat = Heartbeat(redis_client, "rows", "c1", Tally())
    beat.run()
    assert latest(redis_client) == (None, False)
    beat.while_waiting("postgres", ["acme"])
    assert latest(redis_client) == (None, True)
    beat.while_waiting(None, [])
    assert latest(redis_client) == (None, True)
    beat.run()
    assert latest(redis_client) == (None, False)


def test_entries_that_wait_with_a_consumer_are_late_though_no_queue_has_them(
    redis_client: redis.Redis,
) -> None:
    stream = KEYS.stream("acme")
    old = f"{server_ms(redis_client) - 40_000}-0"
    redis_client.xgroup_create(stream, "rows", "0", mkstream=True)
    redis_client.xadd(stream, {"event": b'{"type":"done","id":"a1"}'}, id=old)
    redis_client.xreadgroup("rows", "c1", {stream: ">"})
    redis_client.sadd(KEYS.groups(), "rows")

    def late() -> list[Any]:
        latest(redis_client)
        figures = json.loads(redis_client.lrange(KEYS.samples(), -1, -1)[0])["groups"]["rows"]
        return [figures["pending"], figures["behind"], figures["furthest"]]

    beat = Heartbeat(redis_client, "rows", "c1", Tally())
    beat.while_waiting("postgres", ["acme", "not a tenant"])
    assert late() == [1, 1, "acme"]


def test_jobs_are_silent_after_the_same_time_as_in_the_console() -> None:
    assert SILENT_AFTER_SECONDS == STALLED_AFTER_SECONDS
