"""Reading of all events from the history and the streams of real servers."""

from __future__ import annotations

import pytest
import redis

from projections.replay.events.sources import EntryRange, Sources
from projections.rows.writer import JobRows
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
