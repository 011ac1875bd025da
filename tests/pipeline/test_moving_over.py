"""Moving from one server to a cluster while workers append, as docs/scaling.md describes it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import psycopg
import pytest
import redis

from ops.devstack import EmbeddedRedis
from streams.appender import EventAppender
from streams.cluster import keys_of
from streams.connection import connect
from streams.entry_ids import EntryId
from streams.keys import JobKey
from streams.wire import ask
from tests.ops.test_cli import jobtrail
from tests.pipeline.conftest import Start
from tests.support.clusters import redis_cluster
from tests.support.servers import server_folder
from tests.support.waiting import ENDING, eventually

TENANTS = [f"tenant-{number}" for number in range(8)]
JOBS = 6
"""Jobs of each tenant that go on at once; each is moved in the middle."""
GROUPS = ("status", "rows")

Event = dict[str, Any]


def lifecycle(job_id: str) -> Iterator[Event]:
    """Yield the events of a job."""
    facts: list[Event] = [{"type": "queued", "job_type": "excel"}, {"type": "processing"}]
    facts += [{"type": "progress", "step": "s", "percent": 10 * part} for part in range(1, 9)]
    facts.append({"type": "done", "result": {"rows": 7}})
    for number, each in enumerate(facts):
        yield {**each, "id": job_id, "event_id": f"{job_id}:{number}"}


@pytest.mark.thorough
def test_move_to_a_cluster__loses_and_doubles_nothing(start: Start, database_url: str) -> None:
    with (
        server_folder() as folder,
        EmbeddedRedis(folder, persist=True) as old,
        redis_cluster(replicas=0) as new,
        connect(old.url) as old_client,
        connect(new.url) as new_client,
    ):
        urls = {"old": old.url, "new": new.url}
        consumers = {
            name: [
                start("consume", group, redis_url=url, database_url=database_url)
                for group in GROUPS
            ]
            for name, url in urls.items()
        }
        on_new = partial(jobtrail, redis_url=new.url, database_url=database_url)
        before, after = EventAppender(old_client), EventAppender(new_client)
        jobs = {
            (tenant, f"job-{number}"): lifecycle(f"job-{number}")
            for tenant in TENANTS
            for number in range(JOBS)
        }
        # Some jobs end before the move, some have not begun; a worker that is moved repeats the
        # last events, as after an append without an answer.
        for tenant in TENANTS:
            before.append_many((tenant, event) for event in lifecycle("ended-before"))
        for number, ((tenant, _), events) in enumerate(jobs.items()):
            sent = list(islice(events, number % 11))
            sent_before = before.append_many((tenant, event) for event in sent)
            # Entries of two servers are ordered by the clocks of these, in milliseconds: no worker
            # moves within one.
            eventually(partial(_is_over, sent_before), 5, "a later millisecond")
            if number == len(jobs) // 2:
                assert_done(on_new("replay", "status"))
            after.append_many((tenant, event) for event in [*sent[-3:], *islice(events, 2)])
        for (tenant, _), events in jobs.items():
            after.append_many((tenant, event) for event in events)

        wait_until_settled(old_client)
        for process in consumers["old"]:
            process.send_signal(signal.SIGTERM)
            assert process.wait(ENDING) == 0
        wait_until_settled(new_client)
        for words in (("replay", "status"), ("verify", "status"), ("verify", "rows")):
            assert_done(on_new(*words))

        names = [(tenant, "ended-before") for tenant in TENANTS] + list(jobs)
        for tenant, job_id in names:
            status = ask(
                new_client, "GET", keys_of(new_client).status(JobKey(tenant, "job", job_id))
            )
            assert status is not None
            assert b'"status":"DONE"' in status
    with psycopg.connect(database_url) as connection:
        history = connection.execute("SELECT tenant, id, event_id FROM job_events").fetchall()
        rows = connection.execute("SELECT tenant, id FROM jobs WHERE status = 'DONE'").fetchall()
    expected = {
        (tenant, job_id, event["event_id"])
        for tenant, job_id in names
        for event in lifecycle(job_id)
    }
    assert len(history) == len(expected)
    assert set(history) == expected
    assert sorted(rows) == sorted(names)


def _is_over(entries: Sequence[EntryId]) -> bool:
    """Return True if the millisecond of the last entry is over."""
    return not entries or time.time_ns() // 1_000_000 > entries[-1].ms


def assert_done(ran: Any) -> None:
    assert ran.returncode == 0, (ran.args, ran.stdout, ran.stderr)


def wait_until_settled(client: redis.Redis) -> None:
    """Wait until both groups have acknowledged all entries of all tenants."""
    for tenant in TENANTS:
        eventually(partial(is_settled, client, keys_of(client).stream(tenant)), 60, tenant)


def is_settled(client: redis.Redis, stream: str) -> bool:
    groups: Any = client.xinfo_groups(stream)
    found = {row["name"].decode(): row for row in groups}
    return found.keys() >= set(GROUPS) and all(
        row["pending"] == 0 and row["lag"] == 0 for row in found.values()
    )
