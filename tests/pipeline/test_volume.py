"""Many events, many tenants, several consumers of each group: nothing lost, nothing twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import psycopg
import redis

from projections.decoding import Entry, decode
from projections.documents import Documents, write_documents
from projections.rows.columns import JOB_LISTS, state_of_row
from projections.state import JobState
from sql import queries
from streams.appender import EventAppender
from streams.entry_ids import EntryId
from streams.event_ids import new_event_id
from streams.keys import JobKey, Keys
from streams.kinds import KINDS
from tests.pipeline.conftest import Start
from tests.support.groups import settled
from tests.support.oracle import expected_state
from tests.support.thorough import examples
from tests.support.waiting import eventually

TENANTS, JOBS, EVENTS_A_JOB = 50, examples(2_000), 50


def _lifecycle(number: int, chance: random.Random) -> list[dict[str, object]]:
    """One job's events, most with several attempts, ends and late facts."""
    kind = "video" if number % 4 == 0 else "job"
    events: list[dict[str, object]] = []
    for _ in range(EVENTS_A_JOB):
        type_ = chance.choices(
            ["queued", "processing", "progress", "done", "failed", "cancelled"],
            [1, 2, 40, 1, 1, 1],
        )[0]
        event: dict[str, object] = {
            "type": type_,
            "kind": kind,
            "id": f"j{number}",
            "attempt": chance.choice([1, 1, 1, 2]),
            "event_id": new_event_id(),
        }
        if type_ == "progress":
            event |= {"step": chance.choice("abc"), "percent": chance.randint(-5, 120)}
        if type_ == "done":
            event |= {"result": {"n": number, "hls_path": f"/{number}.m3u8"}}
        if chance.random() < 0.1:
            event |= {"job_type": chance.choice(["excel", "omr"]), "labels": {"class": "3-1"}}
        events.append(event)
    return events


def test_many_thousand_shuffled_events_through_two_consumers_of_each_group(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    chance = random.Random(20_261)
    appends = [
        (f"t{number % TENANTS}", event)
        for number in range(JOBS)
        for event in _lifecycle(number, chance)
    ]
    appends += chance.sample(appends, len(appends) // 10)
    chance.shuffle(appends)
    for group in ("status", "rows"):
        for _ in range(2):
            start("consume", group, **servers)

    entry_ids = EventAppender(redis_client).append_many(appends)

    jobs = _expected(appends, entry_ids)
    assert len(jobs) == JOBS
    tenants = [f"t{number}" for number in range(TENANTS)]
    eventually(
        lambda: all(settled(redis_client, tenant, "status", "rows") for tenant in tenants),
        timeout=120,
    )
    _check_documents(redis_client, jobs)
    with psycopg.connect(servers["database_url"], autocommit=True) as connection:
        _check_rows(connection, jobs)
        _check_history(connection, appends)


def _expected(
    appends: list[tuple[str, dict[str, object]]], entry_ids: list[EntryId]
) -> dict[JobKey, JobState]:
    """Give what each job must be, by an oracle that shares nothing with the fold."""
    jobs: dict[JobKey, list[Entry]] = {}
    for (tenant, fields), entry_id in zip(appends, entry_ids, strict=True):
        entry = decode(tenant, entry_id, [b"event", json.dumps(fields).encode()])
        jobs.setdefault(entry.job, []).append(entry)
    return {job: expected_state(entries) for job, entries in jobs.items()}


def _check_documents(client: redis.Redis, jobs: dict[JobKey, JobState]) -> None:
    keys = Keys()
    for job, state in jobs.items():
        found: Any = client.mget([keys.status(job), keys.progress(job)])
        assert Documents(*found) == write_documents(KINDS[job.kind], state)
        assert (client.ttl(keys.status(job)) == -1) == state.state.ended


def _check_rows(connection: psycopg.Connection, jobs: dict[JobKey, JobState]) -> None:
    columns = [[job[part] for job in jobs] for part in range(3)]
    with connection.transaction():
        rows = connection.execute(queries("rows", JOB_LISTS)["lock_jobs"], columns).fetchall()
    assert {JobKey(*row[:3]): state_of_row(row) for *row, _place in rows} == jobs


def _check_history(
    connection: psycopg.Connection, appends: list[tuple[str, dict[str, object]]]
) -> None:
    held = Counter(
        connection.execute("SELECT tenant, kind, id, event_id FROM job_events").fetchall()
    )
    assert max(held.values()) == 1
    assert set(held) == {
        (tenant, event["kind"], event["id"], event["event_id"]) for tenant, event in appends
    }
