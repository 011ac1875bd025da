"""The judge finds what is amiss: each kind of harm, done by hand, is one violation."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest
import redis

from projections.decoding import decode
from projections.registry.rows import ROWS
from projections.registry.status import STATUS
from streams.entry_ids import EntryId
from streams.settings import Settings
from tests.chaos.checker import Verdict, check
from tests.chaos.producers import Acked, Sent

LOG = "tenant:t1:events"
AT = "2026-01-05T10:00:00+00:00"
FIRST, SECOND = (
    json.dumps({"type": type_, "kind": "job", "id": "a1", "at": AT, "event_id": type_}).encode()
    for type_ in ("processing", "done")
)
POISON = b"{poison"


@pytest.fixture
def judge(redis_client: redis.Redis, redis_url: str, database_url: str) -> Callable[[], Verdict]:
    """Everything is right: two events are projected, and both groups made one a dead letter."""
    settings = Settings(redis_url=redis_url, database_url=database_url)
    entries = []
    for raw, entry_id in ((FIRST, "1767607200000-1"), (SECOND, "1767607200000-2")):
        redis_client.xadd(LOG, {"event": raw}, id=entry_id)
        entries.append(decode("t1", EntryId.parse(entry_id), [b"event", raw]))
    redis_client.xadd(LOG, {"event": POISON}, id="1767607200000-3")
    for registered in (STATUS, ROWS):
        group, projection = registered.group, registered.writer(redis_client, settings)
        projection.apply(entries)
        if hasattr(projection, "close"):
            projection.close()
        redis_client.xgroup_create(LOG, group, "$")
        redis_client.xadd("tenant:t1:dead", {"group": group, "entry_id": "1767607200000-3"})
    sent = Sent(
        [
            Acked("t1", FIRST, "1767607200000-1"),
            Acked("t1", SECOND, "1767607200000-2"),
            Acked("t1", POISON, "1767607200000-3"),
        ],
        set(),
        {POISON},
        0,
    )
    return lambda: check(redis_client, database_url, sent, [])


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_nothing_amiss__no_violation(judge: Callable[[], Verdict]) -> None:
    assert judge().violations() == []


def test_entry_gone_from_the_log__lost(
    judge: Callable[[], Verdict], redis_client: redis.Redis
) -> None:
    redis_client.xdel(LOG, "1767607200000-1")
    assert len(judge().lost) == 1


def test_event_gone_from_the_history__lost(judge: Callable[[], Verdict], database_url: str) -> None:
    _execute(database_url, "DELETE FROM job_events WHERE type = 'done'")
    assert len(judge().lost) == 1


def test_event_under_two_days__twice(judge: Callable[[], Verdict], database_url: str) -> None:
    _execute(
        database_url,
        "INSERT INTO job_events SELECT tenant, kind, id, event_id, day - 100, entry_ms, entry_seq, "
        "type, attempt, at, event FROM job_events WHERE type = 'done'",
    )
    assert len(judge().twice) == 1


def test_document_or_row_of_another_state__differs(
    judge: Callable[[], Verdict], redis_client: redis.Redis, database_url: str
) -> None:
    redis_client.delete("tenant:t1:job:a1:status")
    _execute(database_url, "UPDATE jobs SET result = '{\"rows\":1}'")
    assert len(judge().differing) == 2


def test_delivery_not_acknowledged__pending(
    judge: Callable[[], Verdict], redis_client: redis.Redis
) -> None:
    redis_client.xadd(LOG, {"event": FIRST})
    redis_client.xreadgroup("rows", "somebody", {LOG: ">"})
    assert judge().pending == 1


def test_poison_that_is_a_dead_letter_twice_or_never(
    judge: Callable[[], Verdict], redis_client: redis.Redis
) -> None:
    redis_client.xadd("tenant:t1:dead", {"group": "rows", "entry_id": "1767607200000-3"})
    redis_client.xadd("tenant:t1:dead", {"group": "rows", "entry_id": "1767607200000-1"})
    assert len(judge().wrong_dead_letters) == 2
