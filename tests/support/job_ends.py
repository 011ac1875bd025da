"""Jobs as readers see them, in tests whose events come from the workers of a task queue."""

from __future__ import annotations

import json
from typing import Any

import redis

from projections.decoding import decode
from projections.status.writer import StatusCache
from streams.entry_ids import of_reply
from tests.support.waiting import eventually

ENDS = frozenset({"DONE", "FAILED", "CANCELLED"})


class JobEnds:
    """Projects the events of tenant 7, and reads the status documents of its jobs."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def events(self, job: str) -> list[dict[str, Any]]:
        """Return the events of a job."""
        events = [json.loads(raw) for _, raw in self._entries()]
        return [event for event in events if event["id"] == job]

    def retried(self, job: str) -> list[str | None]:
        """Return the texts for operators of the events by which a job waits, first to last."""
        queued = [event for event in self.events(job) if event["type"] == "queued"]
        return [event.get("operator_detail") for event in queued]

    def status(self, job: str) -> dict[str, Any]:
        """Return the status document of a job, or an empty one."""
        StatusCache(self._client).apply(
            [decode("7", of_reply(at), [b"event", raw]) for at, raw in self._entries()]
        )
        raw: Any = self._client.get(f"tenant:7:job:{job}:status")
        status: dict[str, Any] = json.loads(raw or "{}")
        return status

    def reached(self, job: str, *words: str, attempt: int = 1) -> dict[str, Any]:
        """Wait until a job has one of some states, in this attempt or a later one."""

        def found() -> dict[str, Any] | None:
            status = self.status(job)
            there = status.get("status") in words and status["attempt"] >= attempt
            return status if there else None

        return eventually(found, 120, f"{' or '.join(words)} of {job}")

    def ended(self, job: str, attempt: int = 1) -> dict[str, Any]:
        """Wait for the end of a job."""
        return self.reached(job, *ENDS, attempt=attempt)

    def _entries(self) -> list[tuple[bytes, bytes]]:
        found: Any = self._client.xrange("tenant:7:events")
        return [(entry_id, fields[b"event"]) for entry_id, fields in found]
