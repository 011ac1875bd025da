from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from consumers.chores.reaper import Reaper
from consumers.delivery.groups import ConsumerGroup
from projections.decoding import decode
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql import sessions
from streams.appender import EventAppender
from streams.wire import ask
from tests.support.groups import entries
from tests.support.waiting import eventually


class Setting:
    """A stream, its projections, and a reaper of jobs without an event for a minute."""

    def __init__(self, client: redis.Redis, database_url: str) -> None:
        self.client = client
        self.url = database_url
        self.rows = JobRows(self.connect)
        self.group = ConsumerGroup(client, "rows", "me")
        self.reaper = Reaper(client, self.connect, "me", stalled_after_seconds=60)

    def connect(self) -> sessions.Session:
        return sessions.connect(self.url, "test")

    def add(self, event: bytes, seconds_ago: float) -> None:
        ms = int((time.time() - seconds_ago) * 1000)
        self.client.xadd("tenant:42:events", {"event": event}, id=f"{ms}-0")

    def project(self) -> None:
        deliveries = self.group.read(["42"], 100)
        self.rows.apply([decode(one.tenant, one.entry_id, one.fields) for one in deliveries])
        self.group.acknowledge(deliveries)

    def last(self) -> bytes:
        return entries(self.client, "tenant:42:events")[-1]["event"]

    def status(self) -> str | None:
        with self.connect() as connection:
            row = connection.execute("SELECT status FROM jobs WHERE id = 'a1'").fetchone()
            return None if row is None else str(row[0])


@pytest.fixture
def setting(redis_client: redis.Redis, database_url: str) -> Iterator[Setting]:
    setting = Setting(redis_client, database_url)
    yield setting
    setting.rows.close()


PROCESSING = b'{"type":"processing","id":"a1","attempt":3}'


def test_silent_job_is_said_to_have_failed(setting: Setting) -> None:
    setting.add(PROCESSING, seconds_ago=61)
    setting.project()
    setting.reaper.run()
    assert b'"code":"stalled"' in setting.last()
    setting.project()
    assert setting.status() == "FAILED"


@pytest.mark.parametrize("delivered", [False, True])
def test_stream_that_takes_no_entry__keeps_no_other_tenants_jobs_from_ending(
    setting: Setting, *, delivered: bool
) -> None:
    """Also if the greatest id was delivered, after which Redis begins no range."""
    spent = f"{2**64 - 1}-{2**64 - 1}"
    for tenant in ("1", "43"):
        ms = int((time.time() - 61) * 1000)
        setting.client.xadd(f"tenant:{tenant}:events", {"event": PROCESSING}, id=f"{ms}-0")
        deliveries = setting.group.read([tenant], 100)
        setting.rows.apply([decode(one.tenant, one.entry_id, one.fields) for one in deliveries])
        setting.group.acknowledge(deliveries)
    ask(setting.client, "XSETID", "tenant:1:events", spent)
    if delivered:
        setting.client.xgroup_setid("tenant:1:events", "rows", spent)
    setting.reaper.run()
    assert setting.client.xlen("tenant:1:events") == 1
    assert b'"code":"stalled"' in entries(setting.client, "tenant:43:events")[-1]["event"]


def silent(setting: Setting, tenant: str, *seconds_ago: float) -> None:
    """Make a silent job of a tenant for each age."""
    for number, seconds in enumerate(seconds_ago):
        ms = int((time.time() - seconds) * 1000)
        event = b'{"type":"processing","id":"a%d"}' % number
        setting.client.xadd(f"tenant:{tenant}:events", {"event": event}, id=f"{ms}-{number}")
    deliveries = setting.group.read([tenant], 100)
    setting.rows.apply([decode(one.tenant, one.entry_id, one.fields) for one in deliveries])
    setting.group.acknowledge(deliveries)


def ends(setting: Setting, tenant: str) -> int:
    found = entries(setting.client, f"tenant:{tenant}:events")
    return sum(b'"code":"stalled"' in each["event"] for each in found)


def test_tenant_with_very_many_silent_jobs__keeps_no_other_waiting(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.chores.reaper.MAX_JOBS", 4)
    silent(setting, "huge", *(900.0 - number for number in range(20)))
    silent(setting, "small", 70, 69)
    silent(setting, "tiny", 61)
    setting.reaper.run()
    ended = {tenant: ends(setting, tenant) for tenant in ("tiny", "small", "huge")}
    assert sum(ended.values()) == 4
    assert min(ended.values()) == 1


def test_tenants_whose_jobs_cannot_be_ended__are_not_first_in_every_run(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.chores.reaper.MAX_JOBS", 1)
    for tenant in ("1", "2"):
        silent(setting, tenant, 900)
        spent = f"{2**64 - 1}-{2**64 - 1}"
        ask(setting.client, "XSETID", f"tenant:{tenant}:events", spent)
    silent(setting, "43", 61)

    def ended() -> bool:
        setting.client.delete("jobtrail:reaper")
        setting.reaper.run()
        return ends(setting, "43") == 1

    eventually(ended, what="its turn")


def test_job_heard_of_in_time_is_left_alone(setting: Setting) -> None:
    setting.add(PROCESSING, seconds_ago=120)
    setting.add(b'{"type":"progress","id":"a1","attempt":3,"percent":1}', seconds_ago=30)
    setting.project()
    setting.reaper.run()
    assert b"stalled" not in setting.last()


def test_job_whose_row_is_behind_its_stream_is_left_alone(setting: Setting) -> None:
    setting.add(PROCESSING, seconds_ago=120)
    setting.project()
    setting.add(b'{"type":"progress","id":"a1","attempt":3,"percent":1}', seconds_ago=1)
    setting.reaper.run()
    assert b"stalled" not in setting.last()


def test_slow_worker_that_says_done_wins(setting: Setting) -> None:
    setting.add(PROCESSING, seconds_ago=120)
    setting.project()
    setting.reaper.run()
    EventAppender(setting.client).append("42", {"type": "done", "id": "a1", "attempt": 3})
    setting.project()
    assert setting.status() == "DONE"


def test_two_reapers_say_it_once_in_the_history(setting: Setting) -> None:
    setting.add(PROCESSING, seconds_ago=120)
    setting.project()
    for _ in range(2):
        setting.reaper.run()
        setting.client.delete("jobtrail:reaper")
    setting.project()
    with setting.connect() as connection:
        count = connection.execute("SELECT count(*) FROM job_events WHERE type = 'failed'")
        assert count.fetchone() == (1,)


def test_elected_one_looks_and_the_others_do_not(setting: Setting) -> None:
    setting.client.set("jobtrail:reaper", "somebody else")
    setting.add(PROCESSING, seconds_ago=120)
    setting.project()
    setting.reaper.run()
    assert b"stalled" not in setting.last()


def test_documents_of_a_stalled_job_tell_when_it_was_last_heard_of(
    redis_client: redis.Redis,
) -> None:
    raw = b'{"type":"processing","id":"a1","at":"2026-01-01T00:00:00Z"}'
    redis_client.xadd("tenant:42:events", {"event": raw}, id="5-1")
    (one,) = ConsumerGroup(redis_client, "status", "me").read(["42"], 10)
    StatusCache(redis_client).apply([decode(one.tenant, one.entry_id, one.fields)])
    assert b'"updated_at":"2026-01-01T00:00:00Z"' in (
        redis_client.get("tenant:42:job:a1:status") or b""
    )
