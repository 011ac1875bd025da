"""Entries that the history lacks: one scan finds the same ones as look-ups one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.decoding import Entry, decode
from projections.replay.events.missing_entries import identities
from projections.replay.events.sources import Sources
from projections.replay.events.stream_pages import StreamPage
from projections.rows.writer import JobRows
from sql import sessions
from streams.entry_ids import EntryId
from streams.events import InvalidEvent
from streams.keys import JobKey, Keys
from tests.support.strategies import logs
from tests.support.thorough import examples

KEYS = Keys()
NOW = 4_000_000_000_000
Tail = list[tuple[JobKey, EntryId, bytes]]


def raw(job: str = "a", **fields: Any) -> bytes:
    return json.dumps({"type": "progress", "id": job, **fields}).encode()


HELD = raw(event_id="e1")
ODD = {
    "held": HELD,
    "held, without an id of its own": raw(step="s"),
    "lacking": raw(event_id="e2"),
    "another job's event of the same id": raw("b", event_id="e1"),
    "an event id with a NUL": raw(event_id="e\0"),
    "a NUL in another field": raw(step="a\0"),
    "no JSON": b"{",
    "no job": b'{"type": "progress"}',
    "no event that is valid": raw(attempt=0),
    "bytes that are not UTF-8": b'{"type":"progress","id":"a","step":"\xff"}',
    "an id of bytes that are not UTF-8": b'{"type":"progress","id":"\xff"}',
    "an event id that is half of a surrogate pair, as bytes": (
        b'{"type":"progress","id":"a","event_id":"\xed\xa0\x80"}'
    ),
    "half of a surrogate pair": b'{"type":"progress","id":"a","event_id":"\\ud800"}',
    "an id that is not text": b'{"type":"progress","id":7}',
    "a very deep event": raw(extra={"a": 1}).replace(b"1", b"[" * 300 + b"]" * 300),
}


@pytest.fixture
def rows(database_url: str) -> Iterator[JobRows]:
    writer = JobRows(lambda: sessions.connect(database_url, "test"))
    yield writer
    writer.close()


@pytest.fixture
def tail(redis_client: redis.Redis, database_url: str) -> Callable[..., tuple[Tail, int]]:
    """Return a function for the tail's entries, and the number of entries that were skipped."""

    def read(*, plainly: bool = False) -> tuple[Tail, int]:
        with sessions.connect(database_url, "test") as connection:
            sources = Sources(redis_client, connection)
            if plainly:
                sources.read_on(["1", "2"])
            else:
                sources.read_streams()
            found = [
                (part.job, entry.entry_id, entry.raw)
                for part in sources.walk()
                for entry in part.tail
            ]
            return sorted(found), sources.skipped

    return read


def append(client: redis.Redis, tenant: str, entry_id: EntryId, event: bytes) -> None:
    client.xadd(KEYS.stream(tenant), {"event": event}, id=str(entry_id))


@pytest.mark.parametrize("where", [*ODD, "all of them"])
def test_read_logs__entry_of_any_form__kept_as_if_it_were_looked_up_by_its_key(
    redis_client: redis.Redis, rows: JobRows, tail: Callable[..., tuple[Tail, int]], where: str
) -> None:
    raws = list(ODD.values()) if where == "all of them" else [HELD, ODD[where]]
    for number, event in enumerate(raws):
        append(redis_client, "1", EntryId(NOW + number, number), event)
        if "held" in where or event == HELD:
            rows.apply([decode("1", EntryId(NOW + number, number), [b"event", event])])
    assert tail() == tail(plainly=True)


def test_read_logs__stream_that_was_created_again_and_repeats_entry_ids__its_events_are_kept(
    redis_client: redis.Redis, rows: JobRows, tail: Callable[..., tuple[Tail, int]]
) -> None:
    at = EntryId(NOW, 0)
    rows.apply([decode("1", at, [b"event", raw(event_id="before")])])
    append(redis_client, "1", at, raw(event_id="after"))
    found, _ = tail()
    assert found == [(JobKey("1", "job", "a"), at, raw(event_id="after"))]
    assert tail(plainly=True) == (found, 0)


def test_read_logs__all_is_held__nothing_is_read_a_second_time(
    redis_client: redis.Redis, rows: JobRows, tail: Callable[..., tuple[Tail, int]]
) -> None:
    for number in range(50):
        event = raw(f"a{number}", event_id=f"e{number}")
        append(redis_client, "1", EntryId(NOW + number, 0), event)
        rows.apply([decode("1", EntryId(NOW + number, 0), [b"event", event])])
    redis_client.config_resetstat()
    assert tail() == ([], 0)
    assert redis_client.info("commandstats")["cmdstat_xrange"]["calls"] == 1


@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_read_logs__any_streams_some_entries_of_which_are_held__as_looked_up_by_key(
    redis_client: redis.Redis,
    rows: JobRows,
    db: psycopg.Connection,
    tail: Callable[..., tuple[Tail, int]],
    data: st.DataObject,
) -> None:
    redis_client.flushall()
    db.execute("TRUNCATE jobs, job_events")
    for tenant in ("1", "2"):
        entries: list[Entry] = data.draw(logs(JobKey(tenant, "job", "a")))
        for each in sorted(entries, key=lambda entry: entry.entry_id):
            if each.entry_id > (0, 0):
                append(redis_client, tenant, each.entry_id, each.raw)
        held = data.draw(st.lists(st.sampled_from(entries), unique_by=id))
        if held:
            rows.apply(held)
    assert tail() == tail(plainly=True)


@given(st.binary(max_size=60) | st.sampled_from(list(ODD.values())))
def test_identities__of_any_bytes__those_of_the_event_or_none(event: bytes) -> None:
    found = identities("1", StreamPage([b"5-1"], [[b"event", event]]))
    try:
        entry = decode("1", EntryId(5, 1), [b"event", event])
    except InvalidEvent:
        return  # the history does not hold it under any identity
    key = (*entry.job, entry.event_id, 5, 1)
    assert found in (None, [key])


def test_identities__entries_that_cannot_be_stored__none() -> None:
    fine = [b"event", HELD]
    assert identities("1", StreamPage([b"5-1"], [fine])) is not None
    assert identities("no tenant", StreamPage([b"5-1"], [fine])) is None
    assert identities("1", StreamPage([b"5-1"], [[b"other", HELD]])) is None
    assert identities("1", StreamPage([b"%d-1" % 2**63], [fine])) is None
