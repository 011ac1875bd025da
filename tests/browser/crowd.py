"""The data of a busy deployment: 300 tenants, 20,000 jobs of a day, failures, dead letters.

Entries have ids of the past, so that timelines, silent jobs and lists look as after a day of work.
The same seed makes the same jobs, at times relative to now.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple

import redis

from consumers.round_trips import server_ms
from streams.keys import Keys

TENANTS, JOBS = 300, 20_000
DAY, MINUTE = 86_400_000, 60_000
TYPES = {"excel": 0.4, "video": 0.25, "report": 0.2, "mail": 0.15}
STEPS = {
    "excel": ["Reading rows", "Validating", "Saving"],
    "video": ["Downloading", "Encoding 1080p", "Encoding 720p", "Uploading"],
    "report": ["수집", "집계", "PDF 만들기"],
    "mail": ["Rendering", "Sending"],
}
ERRORS: dict[str, list[tuple[str | None, str]]] = {
    "excel": [("bad_row", "row 218: the column “price” is not a number"), ("too_large", "x" * 300)],
    "video": [("codec", "ffmpeg ended with status 1:\nInvalid data found when processing input")],
    "report": [("timeout", "집계 쿼리가 30초 안에 끝나지 않았습니다"), (None, "unexpected end")],
    "mail": [("smtp_550", "550 5.1.1 mailbox unavailable")],
}
LONG_TENANT = "a-tenant-with-a-name-of-sixty-four-characters-as-long-as-allowed"
STORY = "invoice-2041"
"""A job of the tenant `acme` with two attempts, and events after its end."""


class Entry(NamedTuple):
    """An entry of a tenant's stream."""

    tenant: str
    ms: int
    raw: bytes


def tenant_name(number: int) -> str:
    """Return the name of a tenant; a few have many jobs."""
    special = ("acme", "globex", LONG_TENANT)
    return special[number] if number < len(special) else f"tenant-{number:03}"


def entries(now: int, jobs: int = JOBS) -> list[Entry]:
    """Return the entries of that many jobs, and of dead letters to be, by tenant and time."""
    draw = random.Random(7)
    made = list(_story(now))
    for number in range(jobs):
        tenant = tenant_name(min(int(draw.expovariate(1 / 60)), TENANTS - 1))
        made += _job(draw, tenant, number, now)
    for number in range(TENANTS):
        made.append(
            _event(tenant_name(number), now - DAY, {"type": "queued", "id": f"first-{number}"})
        )
        made.append(
            _event(tenant_name(number), now - DAY + 900, {"type": "done", "id": f"first-{number}"})
        )
    made += _rejected(draw, now)
    return sorted(made)


def _job(draw: random.Random, tenant: str, number: int, now: int) -> Iterator[Entry]:
    (job_type,) = draw.choices(list(TYPES), list(TYPES.values()))
    age = draw.choice([draw.uniform(0, 60), draw.uniform(60, 1440)]) * MINUTE
    began, took = int(now - age), int(draw.lognormvariate(9.5, 1.2))
    id_ = f"{job_type}-{number:05}"
    labels = {"customer": f"c{draw.randrange(900)}"}
    end = draw.choices(["done", "failed", "cancelled", "processing", "queued"], [86, 9, 2, 2, 1])[0]
    if end in ("processing", "queued"):
        began = int(now - draw.expovariate(1 / 12) * MINUTE)
    if end not in ("processing", "queued") and began + took > now:
        took = max(1, now - began - 1)
    one: dict[str, Any] = {"id": id_}
    yield _event(tenant, began, {"type": "queued", "job_type": job_type, "labels": labels, **one})
    if end == "queued":
        return
    worker = f"{job_type}-worker-{draw.randrange(8)}"
    start = began + draw.randrange(50, 2_000)
    yield _event(tenant, start, {"type": "processing", "worker": worker, **one})
    names = STEPS[job_type]
    reached = draw.randrange(len(names)) if end == "processing" else len(names) - 1
    for index in range(reached + 1):
        at = start + int(took * (index + 0.2) / (len(names) + 1))
        step = {
            "step": f"step_{index + 1}",
            "step_name_display": names[index],
            "step_index": index + 1,
        }
        percent = round(100 * (index + 0.4) / len(names))
        more = {
            "step_total": len(names),
            "step_percent": draw.randrange(100),
            "percent": percent,
            "worker": worker,
        }
        left = {"remaining_seconds": draw.randrange(5, 900)}
        yield _event(tenant, min(at, now), {"type": "progress", **step, **more, **left, **one})
    if end == "processing":
        return
    last: dict[str, Any] = {"type": end, "worker": worker, **one}
    if end == "done":
        last["result"] = {"rows": number, "url": f"https://files.example/{id_}"}
    if end == "failed":
        code, error = draw.choice(ERRORS[job_type])
        last |= {"error": error, **({"code": code} if code else {})}
    yield _event(tenant, start + took, last)


def _story(now: int) -> Iterator[Entry]:
    """Yield a job that failed, ran again, and whose first worker went on after its end."""
    began = now - 50 * MINUTE
    one = {"id": STORY}
    facts = {"job_type": "report", "labels": {"customer": "c8", "invoice": "2026-11-0002041"}}

    def progress(minute: float, index: int, percent: int, attempt: int = 1) -> Entry:
        name = STEPS["report"][index - 1]
        step = {
            "step": f"step_{index}",
            "step_name_display": name,
            "step_index": index,
            "step_total": 3,
        }
        facts = {"type": "progress", "percent": percent, "attempt": attempt, **step, **one}
        return _event("acme", began + int(minute * MINUTE), facts)

    yield _event("acme", began, {"type": "queued", **facts, **one})
    yield _event(
        "acme", began + 2 * MINUTE, {"type": "processing", "worker": "report-worker-1", **one}
    )
    yield progress(3, 1, 10)
    yield progress(9, 2, 45)
    failed = {
        "type": "failed",
        "error": "집계 쿼리가 30초 안에 끝나지 않았습니다",
        "code": "timeout",
    }
    yield _event("acme", began + 15 * MINUTE, {**failed, **one})
    yield _event(
        "acme",
        began + 20 * MINUTE,
        {"type": "processing", "attempt": 2, "worker": "report-worker-4", **one},
    )
    yield progress(21, 1, 15, 2)
    yield progress(26, 2, 55, 2)
    yield progress(33, 3, 90, 2)
    yield _event(
        "acme", began + 38 * MINUTE, {"type": "done", "attempt": 2, "result": {"pages": 214}, **one}
    )
    yield progress(40, 3, 95, 2)
    yield progress(41, 3, 97)
    for number in range(3):
        child = {"id": f"page-{number}", "labels": {"parent": STORY}, "job_type": "report"}
        yield _event("acme", began + 22 * MINUTE + number, {"type": "queued", **child})
        yield _event("acme", began + 30 * MINUTE + number, {"type": "done", "id": child["id"]})


def _rejected(draw: random.Random, now: int) -> Iterator[Entry]:
    """Yield entries that no consumer can apply, of a dozen tenants, for three reasons."""
    for number in range(180):
        (kind,) = draw.choices(range(3), [60, 30, 10])
        raw = (
            b'{"type": "done", "id": "export-%d' % number,
            json.dumps({"type": "finished", "id": f"mail-{number}", "job_type": "mail"}).encode(),
            json.dumps({"type": "failed", "id": f"v-{number}", "attempt": -1}).encode(),
        )[kind]
        at = now - int(draw.uniform(1, 300) * MINUTE)
        yield Entry(tenant_name(draw.randrange(12)), at, raw)


def _event(tenant: str, ms: int, event: dict[str, Any]) -> Entry:
    at = datetime.fromtimestamp(ms / 1000, UTC).isoformat()
    return Entry(tenant, ms, json.dumps({"at": at, **event}).encode())


def append(client: redis.Redis, jobs: int = JOBS) -> None:
    """Append everything, with that many jobs, and mark the tenants as ready."""
    keys = Keys()
    now = server_ms(client)
    _samples(client, keys, now)
    for tenant, group in groupby(entries(now, jobs), key=lambda each: each.tenant):
        pipeline = client.pipeline(transaction=False)
        for each in group:
            pipeline.xadd(keys.stream(tenant), {"event": each.raw}, id=f"{each.ms}-*")
        for name in ("status", "rows"):
            pipeline.zadd(f"jobtrail:ready:{name}", {tenant: now})
        pipeline.execute()


def _samples(client: redis.Redis, keys: Keys, now: int) -> None:
    """Write a day of samples, as consumers do, with one spike."""
    draw, applied = random.Random(3), 0
    for number in range(1440, 0, -1):
        applied += draw.randrange(1_500, 2_500)
        groups = {}
        for group in ("status", "rows"):
            waiting = 9_000 if number == 31 else draw.randrange(0, 40)
            oldest = 48_000 if number == 31 else draw.randrange(20, 900)
            groups[group] = {
                "waiting": waiting,
                "pending": draw.randrange(60),
                "oldest_ms": now - number * MINUTE - oldest,
                "applied": applied,
            }
        sampler = "one" if number > 40 else "two"
        client.rpush(
            keys.samples(),
            json.dumps({"at": now - number * MINUTE, "groups": groups, "sampler": sampler}),
        )
