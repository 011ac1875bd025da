"""Producers that give one event id to several events: seen from outside, nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import httpx
import redis

from streams.event_ids import new_event_id
from tests.pipeline.conftest import Start
from tests.support.groups import settled
from tests.support.waiting import ENDING, eventually

JOBS: dict[str, tuple[str, list[tuple[dict[str, Any], str]]]] = {
    "ends": (
        "same",
        [({"type": "processing"}, "PROCESSING"), ({"type": "done", "result": {}}, "DONE")],
    ),
    "reopened": (
        new_event_id(),
        [
            ({"type": "failed", "error": "e"}, "FAILED"),
            ({"type": "queued", "attempt": 2}, "PENDING"),
            ({"type": "progress", "attempt": 2, "percent": 10}, "PROCESSING"),
            ({"type": "progress", "attempt": 2, "percent": 20}, "PROCESSING"),
        ],
    ),
    "told-late": (
        "1-0",
        [
            ({"type": "done", "result": {"n": 1}}, "DONE"),
            ({"type": "queued", "job_type": "omr", "labels": {"a": "x"}}, "DONE"),
            ({"type": "done", "result": {"n": 2}}, "DONE"),
        ],
    ),
}
"""By job: the event id of all its events, and each event with the status after it."""


def test_one_event_id_on_all_events_of_a_job__every_reading_agrees_and_so_do_rebuilds(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    for group in ("status", "rows"):
        start("consume", group, **servers)
    process = start("api", **servers, auth="dev", api_port="0")
    assert process.stdout is not None
    url = process.stdout.readline().decode().removeprefix("api: ").strip()

    def run(*words: str) -> str:
        done = start(*words, **servers)
        printed = done.communicate(timeout=ENDING)[0].decode()
        assert done.returncode == 0, printed
        return printed

    def answers() -> list[Any]:
        paths = [f"jobs/{job}/{end}" for job in JOBS for end in ("", "progress/", "history/")]
        paths += [f"ops/jobs/42/job/{job}/" for job in JOBS]
        found = [client.get(f"/api/v1/{path}") for path in paths]
        assert {each.status_code for each in found} == {200}
        documents = [redis_client.get(f"tenant:42:job:{job}:status") for job in JOBS]
        return [*(each.json() for each in found), *documents]

    with httpx.Client(base_url=url, headers={"x-tenant-id": "42"}, timeout=ENDING) as client:
        append_all(redis_client, client)
        before = answers()
        for job, (event_id, events) in JOBS.items():
            items = client.get(f"/api/v1/jobs/{job}/history/").json()["items"]
            assert [each["type"] for each in items] == [fields["type"] for fields, _ in events]
            assert {each["event_id"] for each in items} == {event_id}
            explained = client.get(f"/api/v1/ops/jobs/42/job/{job}/").json()["explanation"]
            assert explained["matches_row"] is True
        first = client.get("/api/v1/jobs/ends/history/?limit=1").json()
        rest = client.get(f"/api/v1/jobs/ends/history/?cursor={first['next_cursor']}").json()
        assert [each["type"] for each in rest["items"]] == ["done"]
        for trimmed in (False, True):
            if trimmed:
                redis_client.xtrim("tenant:42:events", maxlen=0, approximate=False)
            for projection in ("status", "rows"):
                assert run("verify", projection) == "verified 3 jobs\n"
                run("replay", projection, "--reset")
                assert run("verify", projection) == "verified 3 jobs\n"
            assert answers() == before


def append_all(redis_client: redis.Redis, client: httpx.Client) -> None:
    """Append each event twice, as by a producer that tries again, and see what is served."""
    for job, (event_id, events) in JOBS.items():
        for fields, word in [each for each in events for _ in range(2)]:
            raw = json.dumps({"id": job, "event_id": event_id, **fields})
            redis_client.xadd("tenant:42:events", {"event": raw})
            eventually(lambda: settled(redis_client, "42", "status", "rows"), what="settled")
            assert client.get(f"/api/v1/jobs/{job}/progress/").json()["status"] == word
            assert client.get(f"/api/v1/jobs/{job}/").json()["status"] == word
