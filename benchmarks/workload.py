"""The events of the benchmarks: the lives of many jobs at a time.

A *life* is queued, processing, seven times progress, done. In each tenant a job begins at every
tick, so that ten jobs are running at any time and their events alternate.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

import orjson
import redis

from streams.append_plan import FIELD, ready_marks
from streams.appender import GROUPS
from streams.event_ids import new_event_id
from streams.events import Progress
from streams.keys import Keys
from streams.wire import checked, round_trip

STEPS = ("queued", "processing", *["progress"] * 7, "done")
CHUNK = 1_000
KEYS = Keys()

Payload = tuple[str, bytes]
"""A tenant and the bytes of an event."""


def tenants(count: int) -> list[str]:
    """Return the names of the tenants."""
    return [f"t{number}" for number in range(count)]


def lives(
    names: Sequence[str], jobs: int, *, first: int = 0, steps: int = len(STEPS)
) -> Iterator[Payload]:
    """Yield the events of `jobs` jobs of each tenant, in the order in which workers append them."""
    for tick in range(first, first + jobs + steps - 1):
        started = range(max(first, tick - steps + 1), min(first + jobs, tick + 1))
        for tenant in names:
            for job in started:
                yield tenant, payload(job, tick - job)


def payload(job: int, step: int) -> bytes:
    """Return the bytes of one event, as the SDK writes them."""
    fields = {
        "v": 1,
        "kind": "job",
        "id": job_id(job),
        "attempt": 1,
        "event_id": new_event_id(),
        "at": datetime.fromtimestamp(time.time(), UTC),
        "worker": f"worker-{job % 8}",
        "type": STEPS[step],
        **_facts(job, step),
    }
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)


def progress_event(job: int) -> Progress:
    """Return an event as the SDK builds it."""
    return Progress(
        id=job_id(job),
        event_id=new_event_id(),
        at=datetime.now(UTC),
        worker="worker-1",
        step="sheet-4",
        percent=40,
        step_index=4,
        step_total=9,
    )


def job_id(job: int) -> str:
    """Return the id of a job."""
    return f"import-{job:07}"


def _facts(job: int, step: int) -> dict[str, object]:
    if step == 0:
        return {"job_type": "excel", "labels": {"source": "upload"}}
    if STEPS[step] == "progress":
        return {"step": f"sheet-{step}", "percent": step * 10, "step_index": step, "step_total": 9}
    return {"result": {"rows": job, "rejected": 0}} if STEPS[step] == "done" else {}


def fill(client: redis.Redis, events: Iterable[Payload]) -> int:
    """Append events unchanged, then add their tenants' ready marks; return the number of events."""
    remaining = iter(events)
    count, seen = 0, dict[str, None]()
    while chunk := list(islice(remaining, CHUNK)):
        commands = [("XADD", KEYS.stream(name), "*", FIELD, raw) for name, raw in chunk]
        checked(round_trip(client, commands))
        count += len(chunk)
        seen.update((name, None) for name, _ in chunk)
    marks = [command for name in seen for command in ready_marks(KEYS, GROUPS, name)]
    for at in range(0, len(marks), CHUNK):
        checked(round_trip(client, marks[at : at + CHUNK]))
    return count
