"""Attempts of jobs: which one is the next, and which ones this process knows to have ended.

A reporter remembers the attempts that it reported. The next attempt is also read from Redis: from
the job's status document, which the consumers write a moment later, and from the newest entries of
the tenant's stream. Used by `streams.integrations.async_task_reports`, `streams.recording` and
`streams.reporting.base`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Any, NamedTuple

import orjson
import redis

from ..keys import JobKey, Keys
from ..kinds import State, find_kind
from ..wire import ask

REMEMBERED = 10_000
ENTRIES = 500
"""Newest entries of a stream that are searched."""


class Known(NamedTuple):
    """The highest attempt that is known of a job."""

    attempt: int
    state: str
    """The type of one of its events, or its state."""


class Attempts:
    """The attempts that one reporter reported; safe to share between threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[JobKey, Known] = OrderedDict()
        self._lock = Lock()

    def reset(self) -> None:
        """Make a new lock in a forked process, whose copy may be held forever."""
        self._lock = Lock()

    def record(self, job: JobKey, attempt: int, state: str) -> None:
        """Remember an event of an attempt."""
        with self._lock:
            known = self._known.get(job)
            if known is None or attempt >= known.attempt:
                self._known[job] = Known(attempt, state)
                self._known.move_to_end(job)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)

    def known(self, job: JobKey) -> Known | None:
        """Return the highest attempt that was reported of a job."""
        with self._lock:
            return self._known.get(job)

    def ended(self, job: JobKey, attempt: int) -> str | None:
        """Return why events of an attempt change nothing, as far as is known here, or None."""
        known = self.known(job)
        if known is None:
            return None
        advice = "report the next one with attempt='next' or a higher number"
        if known.attempt > attempt:
            return f"attempt {known.attempt} was reported before: {advice}"
        if known.attempt == attempt and known.state in (State.DONE, State.FAILED, State.CANCELLED):
            return f"it has ended as {known.state}: {advice}"
        return None


def next_attempt(known: Iterable[Known]) -> int:
    """Return the attempt after the last one; an attempt that was only queued is the next itself."""
    states: dict[int, set[str]] = {}
    for attempt, state in known:
        states.setdefault(attempt, set()).add(state)
    if not states:
        return 1
    last = max(states)
    return last if states[last] == {State.QUEUED} else last + 1


def read_attempts(client: redis.Redis, keys: Keys, job: JobKey) -> list[Known]:
    """Return the attempts of a job that Redis knows.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses this user to read.
    """
    document = ask(client, "GET", keys.status(job))
    entries = ask(client, "XREVRANGE", keys.stream(job.tenant), "+", "-", "COUNT", ENTRIES)
    return [*_of_document(document, job), *_of_entries(entries, job)]


def _of_document(raw: bytes | None, job: JobKey) -> Iterator[Known]:
    fields, kind = _fields(raw), find_kind(job.kind)
    attempt = fields.get("attempt", 1)
    if kind is None or not fields or not isinstance(attempt, int):
        return
    try:
        yield Known(attempt, kind.state_of(str(fields.get("status"))))
    except ValueError:  # written by hand
        yield Known(attempt, State.PROCESSING)


def _of_entries(entries: Any, job: JobKey) -> Iterator[Known]:
    named = job.id.encode()
    for _, pairs in entries:
        raw = pairs[1] if len(pairs) == 2 else b""
        if named not in raw:
            continue
        fields = _fields(raw)
        attempt = fields.get("attempt", 1)
        found = JobKey(job.tenant, fields.get("kind", "job"), str(fields.get("id")))
        if found == job and isinstance(attempt, int):
            yield Known(attempt, str(fields.get("type")))


def _fields(raw: bytes | None) -> dict[str, Any]:
    """Return the JSON object in bytes, or an empty one."""
    try:
        found = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
