"""The load: events of random lifecycles, some sent twice, some raw, a few that are poison.

Everything comes from a seed but the times. Each job belongs to one producer, whose clock may be
wrong; a repeated event comes before the job's next one, as a retry does.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import orjson

ACTIVE = 40
"""Jobs that a producer has in work at once."""

How = Literal["sdk", "raw", "poison"]


class Item(NamedTuple):
    """One thing to send; its bytes are unique save where it is sent again on purpose."""

    how: How
    tenant: str
    raw: bytes
    fields: dict[str, Any]
    field: str = "event"


class Workload:
    """One producer's endless items.

    Args:
        skew: seconds that the producer's clock is ahead.
    """

    def __init__(self, seed: str, name: str, tenants: list[str], skew: float) -> None:
        self._chance = random.Random(seed)
        self._name = name
        self._tenants = tenants
        self._skew = skew
        self._serial = itertools.count(1)

    def items(self) -> Iterator[Item]:
        """Give items for ever."""
        active = [self._job() for _ in range(ACTIVE)]
        while True:
            number = self._chance.randrange(ACTIVE)
            item = next(active[number], None)
            if item is None:
                active[number] = self._job()
                continue
            yield item
            if item.how == "sdk" and self._chance.random() < 0.03:
                yield item

    def _job(self) -> Iterator[Item]:
        """Give one job's items, in the order in which they are sent."""
        number = next(self._serial)
        kind = self._chance.choice(["job", "job", "video"])
        tenant = self._chance.choice(self._tenants)
        events = [
            {"kind": kind, "id": f"{self._name}-{number}", "attempt": attempt, **event}
            for attempt in range(1, self._chance.choice([1, 1, 1, 2, 3]) + 1)
            for event in self._attempt(kind)
        ]
        if self._chance.random() < 0.2:
            self._chance.shuffle(events)
        for event in events:
            yield self._item(tenant, event)
        if self._chance.random() < 0.02:
            yield self._poison(tenant)

    def _attempt(self, kind: str) -> list[dict[str, Any]]:
        pick = self._chance.random
        steps = self._chance.randint(0, 14)
        events: list[dict[str, Any]] = []
        if pick() < 0.8:
            events.append({"type": "queued", "job_type": self._chance.choice("excel omr".split())})
        if pick() < 0.9:
            events.append({"type": "processing", "worker": f"w{self._chance.randint(1, 9)}"})
        events += [self._progress(at, steps) for at in range(1, steps + 1)]
        if pick() < 0.9:
            events.append(self._end(kind))
        return events

    def _progress(self, at: int, steps: int) -> dict[str, Any]:
        event: dict[str, Any] = {"type": "progress", "step": f"step-{at}"}
        if self._chance.random() < 0.8:
            event["percent"] = self._chance.choice([100 * at / steps, -3, 140])
        if self._chance.random() < 0.3:
            event |= {"step_index": at, "step_total": steps, "step_name_display": "변환"}
        if self._chance.random() < 0.2:
            event |= {"remaining_seconds": 7.5, "extra": {"fps": at, "step": "hidden"}}
        if self._chance.random() < 0.1:
            event["labels"] = {f"l{self._chance.randint(1, 20)}": str(at)}
        return event

    def _end(self, kind: str) -> dict[str, Any]:
        type_ = self._chance.choices(["done", "failed", "cancelled"], [6, 2, 1])[0]
        if type_ == "failed":
            return {"type": type_, "error": "x" * self._chance.choice([5, 2_500]), "code": "E1"}
        if type_ == "cancelled":
            return {"type": type_, "reason": "nobody waits"}
        if kind == "video":
            return {"type": type_, "result": {"hls_path": "/v.m3u8", "duration": 12.5, "n": 1}}
        blob = {"blob": "x" * 12_000} if self._chance.random() < 0.01 else {}
        return {"type": type_, "result": {"rows": self._chance.randint(0, 99)} | blob}

    def _item(self, tenant: str, event: dict[str, Any]) -> Item:
        now = time.time() + self._skew
        how: How = "raw" if self._chance.random() < 0.03 else "sdk"
        fields = event | {
            "at": datetime.fromtimestamp(now, UTC).isoformat(),
            "serial": f"{self._name}/{next(self._serial)}",
        }
        if how == "sdk":
            fields["event_id"] = self._event_id(now)
        return Item(how, tenant, orjson.dumps(fields), fields)

    def _event_id(self, now: float) -> str:
        """Make a UUIDv7 by the producer's clock, or a name of the producer's own."""
        if self._chance.random() < 0.1:
            return f"{self._name}:{next(self._serial)}"
        digits = f"{int(now * 1000):012x}7{self._chance.getrandbits(76):019x}"
        digits = f"{digits[:16]}8{digits[17:]}"
        parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        return "-".join(parts)

    def _poison(self, tenant: str) -> Item:
        token = f"{self._name}/{next(self._serial)}"
        event = {"type": "done", "id": "poisoned", "serial": token}
        field, value = self._chance.choice(
            [
                ("event", f"{{not json {token}".encode()),
                ("event", orjson.dumps(event | {"type": "exploded"})),
                ("event", orjson.dumps(event | {"v": 99})),
                ("event", orjson.dumps(event | {"id": "no id"})),
                ("evt", orjson.dumps(event)),
            ]
        )
        return Item("poison", tenant, value, {}, field)
