"""One event id on several events of a job: each is kept, and all readings of them agree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from consumers.dead_letters.store import with_event_id
from projections.decoding import Entry, decode
from projections.event_identity import event_id_of, other_identity
from projections.replay.events.sources import Sources
from projections.rows.writer import JobRows
from sql import sessions
from streams.entry_ids import EntryId
from streams.keys import JobKey
from tests.support.job_tables import ONE, Writer, event, states, uuid7_at
from tests.support.oracle import expected_state
from tests.support.strategies import deliveries

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
NOW = int(NOON.timestamp() * 1_000)
DAY_MS = 86_400_000
IDS = ["own", "own#", uuid7_at(NOW), uuid7_at(1), f"{NOW}-0", f"{NOW}-1", None]
Stored = tuple[Any, ...]
fresh = count()


@st.composite
def misused(draw: st.DrawFn, job: JobKey) -> list[Entry]:
    """Entries of a job whose event ids, events and entry ids meet in many ways."""
    places = st.tuples(st.sampled_from([NOW, NOW, NOW + 1, NOW - 3 * DAY_MS]), st.integers(0, 3))
    entries = []
    for ms, seq in draw(st.lists(places, min_size=2, max_size=9, unique=True)):
        fields: dict[str, Any] = {
            "type": draw(st.sampled_from(["queued", "progress", "progress", "failed", "done"])),
            "id": job.id,
            "attempt": draw(st.integers(1, 2)),
        }
        if draw(st.booleans()):
            fields["labels"] = {"a": draw(st.sampled_from("xy"))}
        raw = json.dumps(fields).encode()
        event_id = draw(st.sampled_from(IDS))
        raw = raw if event_id is None else with_event_id(raw, event_id)
        entries.append(decode(job.tenant, EntryId(ms, seq), [b"event", raw]))
    return entries


def stored(connection: psycopg.Connection, tenant: str) -> list[Stored]:
    return connection.execute(
        "SELECT event_id, day, entry_ms, entry_seq, event, last_ms, last_seq, landings"
        " FROM job_events WHERE tenant = %s ORDER BY entry_ms, entry_seq",
        (tenant,),
    ).fetchall()


def replayed(job: JobKey, history: Sequence[Stored]) -> list[Entry]:
    """Return the entries that a replay takes out of the history."""
    return [
        decode(job.tenant, EntryId(ms, seq), [b"event", text.encode()])
        for _, _, first_ms, first_seq, text, last_ms, last_seq, _ in history
        for ms, seq in [(first_ms, first_seq), (last_ms, last_seq)]
        if ms is not None
    ]


def distinct(entries: Sequence[Entry]) -> set[tuple[str, str]]:
    """Return the events that the entries are: an event id and what else is said."""
    events = set()
    for entry in entries:
        fields = json.loads(entry.raw)
        fields.pop("event_id", None)
        events.add((entry.event_id, json.dumps(fields)))
    return events


def check(connection: psycopg.Connection, job: JobKey, entries: Sequence[Entry]) -> None:
    """Rows are the fold of all entries, so is the history, and it holds each event once."""
    state, history = expected_state(entries), stored(connection, job.tenant)
    assert states(connection, job.tenant) == {job: state}
    assert expected_state(replayed(job, history)) == state
    said = distinct(entries)
    assert len(history) == len(said)
    assert {event_id_of(row[0]) for row in history} == {event_id for event_id, _ in said}
    raws = {(entry.entry_id, entry.raw.decode()) for entry in entries}
    assert {(EntryId(row[2], row[3]), row[4]) for row in history} <= raws


@pytest.fixture
def ways(writer: Writer) -> dict[str, list[JobRows]]:
    """Writers that copy, writers that look events up, and two that take turns."""
    quick, plain = writer(), writer()
    return {"quick": [quick], "plain": [plain], "mixed": [quick, plain]}


@given(st.data())
@settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_event_ids_misused__any_batches_and_ways__each_event_once_and_nothing_lost(
    ways: dict[str, list[JobRows]], db: psycopg.Connection, data: st.DataObject
) -> None:
    number = next(fresh)
    entries = data.draw(misused(ONE))
    batches = data.draw(deliveries(entries))
    found = []
    for way, writers in ways.items():
        job = ONE._replace(tenant=f"{way}{number}")
        for at, batch in enumerate([*batches, entries]):
            rows = writers[at % len(writers)]
            rows._history._plain_batches = 0 if rows is ways["quick"][0] else 1
            rows.apply(of_tenant(batch, job.tenant))
        check(db, job, of_tenant(entries, job.tenant))
        found.append(stored(db, job.tenant))
        writers[0].apply(of_tenant(entries, job.tenant))
        assert stored(db, job.tenant) == found[-1]
    assert found[0] == found[1] == found[2]


def test_event_whose_id_another_event_has__with_and_without_the_id_of_a_requeue__is_one(
    ways: dict[str, list[JobRows]], db: psycopg.Connection
) -> None:
    """Its first entry has no event id, and its second entry has that of a requeue."""
    first, other = b'{"type":"queued","id":"a1"}', b'{"type":"queued","id":"a1","attempt":2}'
    entries = [
        decode(ONE.tenant, EntryId(ms, 0), [b"event", raw])
        for ms, raw in (
            (NOW - 3 * DAY_MS, with_event_id(other, f"{NOW}-0")),
            (NOW, first),
            (NOW + 1, with_event_id(b" ".join((first, b"")), f"{NOW}-0")),
        )
    ]
    for way, writers in ways.items():
        job = ONE._replace(tenant=way)
        for batch in (entries, entries[:2], entries[2:], entries):
            writers[0].apply(of_tenant(batch, way))
            check(db, job, of_tenant(entries, way))


def of_tenant(entries: Sequence[Entry], tenant: str) -> list[Entry]:
    return [entry._replace(tenant=tenant) for entry in entries]


BIGGEST, AT = 2**63 - 1, NOON.isoformat()


@pytest.mark.parametrize("ms", [NOW, BIGGEST - 1])
def test_other_event_under_one_id__held_by_history_and_not_in_the_tail(
    rows: JobRows, db: psycopg.Connection, database_url: str, redis_client: redis.Redis, ms: int
) -> None:
    """Also where entry ids are near the greatest that the history can hold."""
    log = [
        event(f"{ms}-{BIGGEST - 3}", "done", event_id="e1", at=AT, result={"한": 1}),
        event(f"{ms}-{BIGGEST - 2}", "queued", event_id="e1", at=AT, attempt=2, worker="é"),
        event(f"{ms}-{BIGGEST - 1}", "progress", event_id="e1", at=AT, attempt=2),
        event(f"{ms}-{BIGGEST}", "progress", event_id="e1", at=AT, attempt=2),
    ]
    for entry in log:
        fields: Any = {"event": entry.raw}
        redis_client.xadd("tenant:42:events", fields, id=str(entry.entry_id))
    rows.apply(log)
    check(db, ONE, log)
    assert [row[7] for row in stored(db, "42")] == [1, 1, 2]
    assert rows.restore(log) == 0
    with sessions.connect(database_url, "test") as connection:
        sources = Sources(redis_client, connection)
        sources.read_streams()
        assert sources.counts() == (3, 0, 1)


def test_requeued_dead_letter__is_the_event_that_the_history_holds(
    rows: JobRows, db: psycopg.Connection
) -> None:
    raws = [b'{"type":"done","id":"a1"}', b'{"type":"done","id":"a1" }\n']
    for seq, raw in enumerate(raws):
        again = with_event_id(raw, f"{NOW}-{seq}")
        for entry_id, each in [(EntryId(NOW, seq), raw), (EntryId(NOW + 1, seq), again)] * 2:
            rows.apply([decode("42", entry_id, [b"event", each])])
    assert [(row[0], row[7]) for row in stored(db, "42")] == [(f"{NOW}-0", 2), (f"{NOW}-1", 2)]


def test_many_events_under_one_id_in_a_batch__each_kept(
    rows: JobRows, db: psycopg.Connection
) -> None:
    log = [event(f"{NOW}-{n}", "progress", percent=n % 50, event_id="a1") for n in range(500)]
    with capture_logs() as logs:
        rows.apply(log)
    warned = [each for each in logs if each["event"] == "event_id_of_another_event"]
    assert [(each["count"], each["example"]) for each in warned] == [(490, (*ONE, "a1"))]
    rows.apply(log[::-1])
    assert len(stored(db, "42")) == 50
    assert states(db)[ONE] == expected_state(log)


@given(st.text(min_size=1, max_size=200), st.text())
def test_identity__longer_than_any_event_id_and_read_back(event_id: str, text: str) -> None:
    text = text.encode(errors="replace").decode()
    assert len(other_identity(event_id, text)) > 200
    assert event_id_of(other_identity(event_id, text)) == event_id
    assert event_id_of(event_id) == event_id
