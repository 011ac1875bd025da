"""Anything that can XADD is a worker."""

from __future__ import annotations

import json
from typing import Any

import httpx
import psycopg
import redis

from consumers.dead_letters.store import DeadLetterStore
from consumers.dead_letters.writer import HEAD_BYTES
from tests.pipeline.conftest import Start
from tests.support.groups import settled
from tests.support.waiting import eventually


def _add(client: redis.Redis, **event: Any) -> None:
    client.xadd("tenant:42:events", {"event": json.dumps(event)})


def _address(process: Any) -> str:
    line: str = process.stdout.readline().decode()
    assert line.startswith("api: "), line
    return line.removeprefix("api: ").strip()


def test_raw_entry_that_nobody_announced_is_projected_and_readable(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    for group in ("status", "rows"):
        start("consume", group, **servers)
    api = _address(start("api", **servers, auth="dev", api_port="0"))
    _add(redis_client, type="queued", id="warm-up")
    eventually(lambda: redis_client.get("tenant:42:job:warm-up:status"), what="consumers are up")

    _add(redis_client, type="processing", id="a1", job_type="omr")

    url, me = f"{api}/api/v1/jobs/a1/progress/", {"X-Tenant-ID": "42"}
    eventually(lambda: httpx.get(url, headers=me).status_code == 200)
    answer = httpx.get(url, headers=me).json()
    assert (answer["job_id"], answer["job_type"], answer["status"], answer["progress"]) == (
        *("a1", "omr", "PROCESSING"),
        None,
    )
    document = json.loads(redis_client.get("tenant:42:job:a1:status") or b"")
    assert document["status"] == "PROCESSING"
    assert document["job_type"] == "omr"
    assert document["attempt"] == 1
    assert 21_000 < redis_client.ttl("tenant:42:job:a1:status") <= 21_600
    with psycopg.connect(servers["database_url"], autocommit=True) as connection:
        row = eventually(
            lambda: connection.execute(
                "SELECT tenant, status, job_type FROM jobs WHERE id = 'a1'"
            ).fetchone()
        )
    assert row == ("42", "PROCESSING", "omr")

    _add(redis_client, type="done", id="a1", result={"rows": 3})

    eventually(lambda: httpx.get(url, headers=me).json()["status"] == "DONE")
    assert httpx.get(url, headers=me).json()["result"] == {"rows": 3}
    assert redis_client.ttl("tenant:42:job:a1:status") == -1


def test_bad_entries_reach_the_dead_letters_and_stop_nothing_behind_them(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    bad = {
        "not_json": b"{never closed",
        "unknown_type": b'{"type":"paused","id":"a1"}',
        "invalid_event": b'{"type":"progress","id":"a1","percent":"half"}',
        "too_large": b'{"type":"done","id":"a1","result":{"text":"' + b"x" * 2**21 + b'"}}',
        "unsupported_version": b'{"v":2,"type":"done","id":"a1"}',
    }
    for poison in bad.values():
        redis_client.xadd("tenant:42:events", {"event": poison})
    redis_client.xadd("tenant:42:events", {"event": b'{"type":"done","id":"../a1"}'})
    redis_client.xadd("tenant:42:events", {"another": b"field"})
    redis_client.xadd("tenant:not a tenant:events", {"event": b'{"type":"done","id":"a1"}'})
    _add(redis_client, type="done", id="behind")

    for group in ("status", "rows"):
        start("consume", group, **servers)

    eventually(lambda: redis_client.get("tenant:42:job:behind:status"), 60, "consumers are up")
    eventually(lambda: redis_client.xlen("tenant:not a tenant:dead") == 1)
    eventually(lambda: settled(redis_client, "42", "status", "rows"))
    letters = list(DeadLetterStore(redis_client).letters("42"))
    assert len(letters) == redis_client.xlen("tenant:42:dead") == len(bad) + 2
    found = {each.reason: each.event for each in letters if b"../a1" not in (each.event or b"")}
    large = bad.pop("too_large")
    assert found.pop("too_large") == large[:HEAD_BYTES]
    assert found == {**bad, "no_event_field": None}
    for letter in letters:
        assert sorted(letter.groups) == ["rows", "status"]
        assert {rejection.reason for rejection in letter.rejections} == {letter.reason}
        assert letter.detail
        assert letter.deliveries >= 1
