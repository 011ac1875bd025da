"""Reading of all events from the history and the streams of real servers."""

from __future__ import annotations

import psycopg
import pytest
import redis
from psycopg.sql import SQL

from projections.replay.events.sources import EntryRange, Sources
from projections.replay.job_arrays import job_arrays
from projections.rows.writer import JobRows
from sql import queries
from streams.keys import JobKey
from tests.support.job_tables import uuid7_at
from tests.support.replays import (
    KEYS,
    Connect,
    append,
    entry,
    ours,
)


def test_walk__history_and_stream__every_event_once_or_more_job_by_job(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    """Events are read from the stream if the history lacks them, and else from the history."""
    entries = ours()
    append(redis_client, *entries)
    rows.apply(entries[:2])
    redis_client.xtrim(KEYS.stream("1"), minid=str(entries[1].entry_id), approximate=False)
    redis_client.xadd(KEYS.stream("2"), {"event": b"no json"})
    sources.read_streams()
    parts = list(sources.walk())
    assert [part.job for part in parts] == [
        *(JobKey("1", "job", "a1"), JobKey("1", "job", "b:status")),
        JobKey("2", "job", "a1"),
    ]
    assert [each.entry_id for each in parts[0].held] == [each.entry_id for each in entries[:2]]
    assert parts[0].tail == [entries[2]]
    assert (sources.skipped, sources.count_events()) == (1, 5)
    assert tuple(sources.counts()) == (2, 3, 3)


def test_walk__after_a_job_or_of_a_tenant__the_rest(
    redis_client: redis.Redis, connect: Connect, sources: Sources
) -> None:
    append(redis_client, *ours())
    sources.read_streams()
    after = list(sources.walk(JobKey("1", "job", "a1")))
    assert [part.job.id for part in after] == ["b:status", "a1"]
    other = Sources(redis_client, connect(), tenant="2")
    other.read_streams()
    assert [part.job for part in other.walk()] == [JobKey("2", "job", "a1")]


def test_narrow__one_event_in_the_range__all_events_of_its_job(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    entries = ours()
    append(redis_client, *entries)
    rows.apply(entries[:1])
    sources.read_streams()
    sources.narrow(EntryRange(entries[1].entry_id, entries[1].entry_id))
    (part,) = sources.walk()
    assert part.held + part.tail == entries[:3]
    assert sources.count_events() == 3


def test_read_on__after_the_greatest_entry_id__nothing_more(
    redis_client: redis.Redis, sources: Sources
) -> None:
    """A producer may choose its own ids; those of one tenant stop no replay of the others."""
    greatest = "18446744073709551615-18446744073709551615"
    redis_client.xadd(KEYS.stream("1"), {"event": b'{"type":"done","id":"a"}'}, id=greatest)
    append(redis_client, entry("2", "1-0", "done"))
    sources.read_streams()
    sources.read_on(["1", "2"])
    assert [part.job.tenant for part in sources.walk()] == ["2"]
    assert sources.skipped == 1


@pytest.mark.parametrize("event_id", ["own", uuid7_at(0)], ids=["own", "uuid7"])
def test_narrow__event_that_was_appended_again_in_the_range__its_job(
    rows: JobRows, sources: Sources, event_id: str
) -> None:
    """However long after the first append, and in whichever order both were stored."""
    now, months = 1_790_000_000_000, 90 * 86_400_000
    log = [entry("1", f"{now + n * months}-0", "done", event_id=event_id) for n in range(2)]
    rows.apply(log[:1])
    rows.apply(log[1:])
    again = [each._replace(tenant="2") for each in log]
    rows.apply(again[1:])
    rows.apply(again[:1])
    for each in log:
        sources.narrow(EntryRange(each.entry_id, each.entry_id))
        assert [part.job.tenant for part in sources.walk()] == ["1", "2"]
        sources.commit()


def test_read_on__an_entry_appended_meanwhile__is_seen_inside_a_walk(
    redis_client: redis.Redis, sources: Sources
) -> None:
    entries = ours()
    append(redis_client, *entries[:2])
    sources.read_streams()
    for part in sources.walk():
        append(redis_client, entries[2])
        sources.read_on(["1"])
        assert sources.events_of([part.job])[part.job].tail == entries[:3]


FILL = """
INSERT INTO job_events
    (tenant, kind, id, event_id, day, entry_ms, entry_seq, type, attempt, at, event)
SELECT 't' || mod(n, 10), 'job', 'import-' || n, n, '2020-01-01', n, 0, 'queued', 1, now(),
       repeat('x', 200)
FROM generate_series(1, 30000) AS n
"""


@pytest.mark.parametrize("analysed", [True, False])
def test_jobs_without_events__history_of_any_statistics__each_looked_up_by_its_key(
    sources: Sources, db: psycopg.Connection, *, analysed: bool
) -> None:
    """The planner would rather read the whole history for each list of jobs."""
    db.execute("ALTER TABLE job_events_default SET (autovacuum_enabled = off)")
    db.execute(FILL)
    if analysed:
        db.execute("ANALYZE job_events")
    sources.read_streams()
    jobs = [JobKey(f"t{n % 10}", "job", f"import-{n}") for n in range(29_000, 30_100)]
    explain = SQL("EXPLAIN ") + SQL(queries("rebuild")["without_events"])
    plan = "\n".join(line for (line,) in sources.connection.execute(explain, job_arrays(jobs)))
    assert "Scan using" in plan
    assert "Seq Scan on job_events_default" not in plan
    found = sources.without_events(jobs)
    assert sorted(found) == sorted(job for job in jobs if int(job.id[7:]) > 30_000)
