"""Appending events to a tenant's log.

An *append* is one XADD and, in the same round trip, a *mark* of the tenant in each consumer group's
ready queue. What is common to the blocking and the asyncio appender (validation, bytes, commands,
reading replies) is plain functions; the two classes are only the I/O.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import redis
import redis.asyncio
from pydantic_core import PydanticSerializationError

from streams.connection import LogUnavailable
from streams.entry_ids import EntryId, of_reply
from streams.event_ids import new_event_id
from streams.events import (
    MAX_EVENT_BYTES,
    Event,
    EventBase,
    InvalidEvent,
    encode_fields,
    parse_event,
)
from streams.keys import Keys, check_tenant
from streams.wire import Command, round_trip

GROUPS = ("status", "rows")
"""The consumer groups that an append tells of its tenant; a sweep tells all others."""

PIPELINE = 1_000
"""Events in one round trip of `append_many`."""

FIELD = "event"

Appendable = Event | Mapping[str, Any] | bytes


def payload_of(event: Appendable, max_bytes: int = MAX_EVENT_BYTES) -> bytes:
    """Give the bytes that go into the log: validated, and with an event id.

    Raises:
        InvalidEvent: it can never be applied; nothing was sent.
    """
    if isinstance(event, EventBase):
        raw, event_id = _dump(event), event.event_id
    elif isinstance(event, bytes):
        raw, event_id = event.strip(), parse_event(event, max_bytes).event_id
    else:
        raw = encode_fields(event)
        event_id = parse_event(raw, max_bytes).event_id
    if event_id is None:
        # At the end, because of a key given twice the last stands: it may be there as null.
        raw = b'%b,"event_id":"%b"}' % (raw[:-1], new_event_id().encode())
    if len(raw) > max_bytes:
        raise InvalidEvent("too_large", f"{len(raw)} bytes; at most {max_bytes} are taken")
    return raw


def _dump(event: Event) -> bytes:
    try:
        return event.model_dump_json(exclude_none=True).encode()
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidEvent("not_json", f"it cannot be written as JSON: {error}") from None


def mark(keys: Keys, groups: Sequence[str], tenant: str) -> Iterator[Command]:
    """Build the commands that mark a tenant ready in each group; the earliest mark stands."""
    now = time.time_ns() // 1_000_000
    for group in groups:
        yield "ZADD", keys.ready(group), "NX", now, tenant


class _Plan:
    """The commands of one round trip, and how to read its replies."""

    def __init__(self, keys: Keys, groups: Sequence[str], payloads: Sequence[tuple[str, bytes]]):
        self.appends = len(payloads)
        self.commands: list[Command] = [
            ("XADD", keys.stream(tenant), "*", FIELD, payload) for tenant, payload in payloads
        ]
        # After the XADDs: a consumer that sees the mark must find the entry.
        for tenant in dict.fromkeys(tenant for tenant, _ in payloads):
            self.commands.extend(mark(keys, groups, tenant))

    def entry_ids(self, replies: Sequence[object]) -> list[EntryId]:
        """Read the entry ids; a refused command is raised."""
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                raise _unavailable(reply)
        # A client of the application's own may decode replies.
        ids = (reply if isinstance(reply, bytes) else str(reply).encode() for reply in replies)
        return [of_reply(entry_id) for entry_id in islice(ids, self.appends)]


class _Appender:
    """What the blocking and the asyncio appender have in common."""

    def __init__(
        self,
        *,
        keys: Keys | None = None,
        groups: Sequence[str] = GROUPS,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self.keys = keys or Keys()
        self.groups = tuple(groups)
        self.max_event_bytes = max_event_bytes

    def _plan(self, events: Iterable[tuple[str, Appendable]]) -> _Plan:
        payloads = [
            (check_tenant(tenant), payload_of(event, self.max_event_bytes))
            for tenant, event in events
        ]
        return _Plan(self.keys, self.groups, payloads)

    def _plans(self, events: Iterable[tuple[str, Appendable]]) -> list[_Plan]:
        """Validate all before anything is sent."""
        remaining = iter(events)
        plans = []
        while chunk := list(islice(remaining, PIPELINE)):
            plans.append(self._plan(chunk))
        return plans


class EventAppender(_Appender):
    """Appends events over a blocking client; safe to share between threads."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        keys: Keys | None = None,
        groups: Sequence[str] = GROUPS,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        super().__init__(keys=keys, groups=groups, max_event_bytes=max_event_bytes)
        self._client = client

    def append(self, tenant: str, event: Appendable) -> EntryId:
        """Append one event and mark its tenant ready, in one round trip.

        Raises:
            InvalidEvent, InvalidTenant: nothing was sent; mend it.
            LogUnavailable: it may have landed; retry with the same event.
        """
        return self._send(self._plan([(tenant, event)]))[0]

    def append_many(self, events: Iterable[tuple[str, Appendable]]) -> list[EntryId]:
        """Append pairs of tenant and event, in their order, `PIPELINE` a round trip.

        Raises:
            InvalidEvent, InvalidTenant: nothing was sent; mend it.
            LogUnavailable: some may have landed; retry with the same events.
        """
        return [entry_id for plan in self._plans(events) for entry_id in self._send(plan)]

    def _send(self, plan: _Plan) -> list[EntryId]:
        try:
            replies = round_trip(self._client, plan.commands)
        except redis.RedisError as error:
            raise _unavailable(error) from error
        return plan.entry_ids(replies)


class AsyncEventAppender(_Appender):
    """Appends events over an asyncio client, as `EventAppender` does."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        keys: Keys | None = None,
        groups: Sequence[str] = GROUPS,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        super().__init__(keys=keys, groups=groups, max_event_bytes=max_event_bytes)
        self._client = client

    async def append(self, tenant: str, event: Appendable) -> EntryId:
        """Append one event; raises as `EventAppender.append` does."""
        return (await self._send(self._plan([(tenant, event)])))[0]

    async def append_many(self, events: Iterable[tuple[str, Appendable]]) -> list[EntryId]:
        """Append pairs of tenant and event; raises as `EventAppender.append_many` does."""
        return [entry_id for plan in self._plans(events) for entry_id in await self._send(plan)]

    async def _send(self, plan: _Plan) -> list[EntryId]:
        pipeline = self._client.pipeline(transaction=False)
        for command in plan.commands:
            pipeline.execute_command(*command)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        except redis.RedisError as error:
            raise _unavailable(error) from error
        return plan.entry_ids(replies)


def _unavailable(error: Exception) -> LogUnavailable:
    return LogUnavailable(f"Redis did not take it: {error}")
