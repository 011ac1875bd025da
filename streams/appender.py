"""Appending events to a tenant's log.

An *append* is one XADD and, in the same round trip, a *mark* of the tenant in each consumer group's
ready queue. What is common to the blocking and the asyncio appender (validation, bytes, commands,
reading replies) is plain functions; the two classes are only the I/O.

A *durable* append also waits, in that same round trip, until the server's disk and replicas have it
(`streams/durability.py`). A plain one asks and waits for nothing more than it ever did.

An appender that was given `max_stream_bytes` *sheds* the progress of a log that takes more
(`streams/shedding.py`); without it nothing is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, cast

import redis
import redis.asyncio
from pydantic_core import PydanticSerializationError

from .connection import LogUnavailable
from .durability import DURABLE_SECONDS, INFO, Assurance, Durability, NotDurable, Wait
from .entry_ids import EntryId, of_reply
from .event_ids import new_event_id
from .events import (
    MAX_EVENT_BYTES,
    Event,
    EventBase,
    InvalidEvent,
    encode_fields,
    parse_event,
)
from .keys import Keys, check_tenant
from .settings import Settings
from .shedding import LOAD, SHEDDABLE, Cap, unscripted
from .tracing import current_traceparent
from .wire import Command, one_async_connection, one_connection, round_trip

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
    return typed_payload(event, max_bytes)[1]


def typed_payload(
    event: Appendable, max_bytes: int = MAX_EVENT_BYTES, traceparent: str | None = None
) -> tuple[str, bytes]:
    """Give the event's type beside its bytes; raises as `payload_of`.

    `traceparent` is for an event that has none, where there is room for it.
    """
    if isinstance(event, EventBase):
        raw, parsed = _dump(event), event
    elif isinstance(event, bytes):
        raw, parsed = event.strip(), parse_event(event, max_bytes)
    else:
        raw = encode_fields(event)
        parsed = parse_event(raw, max_bytes)
    if parsed.event_id is None:
        # At the end, because of a key given twice the last stands: it may be there as null.
        raw = b'%b,"event_id":"%b"}' % (raw[:-1], new_event_id().encode())
    if traceparent is not None and parsed.traceparent is None:
        traced = b'%b,"traceparent":"%b"}' % (raw[:-1], traceparent.encode())
        raw = traced if len(traced) <= max_bytes else raw
    if len(raw) > max_bytes:
        raise InvalidEvent("too_large", f"{len(raw)} bytes; at most {max_bytes} are taken")
    return parsed.type, raw


def _dump(event: Event) -> bytes:
    try:
        # `model_dump_json` decodes these bytes, which would only be encoded again.
        return event.__pydantic_serializer__.to_json(event, exclude_none=True)
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

    def again(self, replies: Sequence[object]) -> list[Command]:
        """Give what must be sent once more because the server had lost something."""
        del replies
        return []

    def mended(self, replies: Sequence[object], later: Sequence[object]) -> list[object]:
        """Put the replies of what was sent once more in their places."""
        del later
        return list(replies)


class _CappedPlan(_Plan):
    """A plan whose progress goes through the script that may shed it."""

    def __init__(self, cap: Cap, events: Sequence[tuple[str, str, bytes]]) -> None:
        plain = [(tenant, raw) for tenant, type_, raw in events if type_ != SHEDDABLE]
        xadds_and_marks = iter(_Plan(cap.keys, cap.groups, plain).commands)
        self.appends = len(events)
        self.commands = [
            cap.command(tenant, FIELD, raw) if type_ == SHEDDABLE else next(xadds_and_marks)
            for tenant, type_, raw in events
        ]
        self.commands.extend(xadds_and_marks)

    def entry_ids(self, replies: Sequence[object]) -> list[EntryId]:
        """Read the entry ids, `SHED` where there is none."""
        return super().entry_ids([b"0-0" if reply is None else reply for reply in replies])

    def again(self, replies: Sequence[object]) -> list[Command]:
        """Give the script, and what went for want of it."""
        lost = unscripted(replies)
        return [LOAD, *(self.commands[at] for at in lost)] if lost else []

    def mended(self, replies: Sequence[object], later: Sequence[object]) -> list[object]:
        """Put the replies in their places; a refused script stands for all that wanted it."""
        loaded, *found = later
        refused = isinstance(loaded, redis.RedisError)
        places = dict(zip(unscripted(replies), found, strict=True))
        return [
            (loaded if refused else places[at]) if at in places else reply
            for at, reply in enumerate(replies)
        ]


class _DurablePlan(_Plan):
    """A plan that also waits, on the connection that appended."""

    def __init__(self, plan: _Plan, wait: Wait) -> None:
        self.appends = plan.appends
        self.commands = [*plan.commands, *wait.commands]
        self._plan = plan
        self._wait = wait

    def entry_ids(self, replies: Sequence[object]) -> list[EntryId]:
        """Read the entry ids; NotDurable where the wait was in vain."""
        plain, waited = self._split(replies)
        ids = self._plan.entry_ids(plain)
        if missing := self._wait.missing(waited):
            raise NotDurable(f"appended, but not known to be durable: {missing}")
        return ids

    def again(self, replies: Sequence[object]) -> list[Command]:
        """Give what the plan sends once more, and wait for that."""
        again = self._plan.again(self._split(replies)[0])
        return [*again, *self._wait.commands] if again else []

    def mended(self, replies: Sequence[object], later: Sequence[object]) -> list[object]:
        """Put the replies in their places; the later wait is the one that counts."""
        plain, waited = self._split(later)
        return [*self._plan.mended(self._split(replies)[0], plain), *waited]

    def _split(self, replies: Sequence[object]) -> tuple[Sequence[object], Sequence[object]]:
        """Part the replies of what was appended from those of the wait."""
        plain = len(replies) - len(self._wait.commands)
        return replies[:plain], replies[plain:]


class _Appender:
    """What the blocking and the asyncio appender have in common.

    Args:
        max_stream_bytes: once a tenant's log takes so many, its progress is shed and counted, and
            `SHED` given for its entry id. None looks at nothing.
        durable_replicas: how many replicas must have a durable append. None takes what
            `JOBTRAIL_DURABLE_REPLICAS` says, or else as many as the primary was ever seen to have.

    Raises:
        SettingsError: `JOBTRAIL_DURABLE_REPLICAS` is not valid.
    """

    def __init__(
        self,
        client: redis.Redis | redis.asyncio.Redis,
        *,
        keys: Keys | None = None,
        groups: Sequence[str] = GROUPS,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_stream_bytes: int | None = None,
        durable_seconds: float = DURABLE_SECONDS,
        durable_replicas: int | None = None,
    ) -> None:
        self.keys = keys or Keys()
        self.groups = tuple(groups)
        self.max_event_bytes = max_event_bytes
        self.cap = (
            None if max_stream_bytes is None else Cap(self.keys, self.groups, max_stream_bytes)
        )
        needed = Settings.durable_replicas_of() if durable_replicas is None else durable_replicas
        self._durability = Durability(client, durable_seconds, needed)

    def _plan(self, events: Iterable[tuple[str, Appendable]]) -> _Plan:
        here = current_traceparent()
        if self.cap is not None:
            return _CappedPlan(
                self.cap,
                [
                    (check_tenant(tenant), *typed_payload(event, self.max_event_bytes, here))
                    for tenant, event in events
                ],
            )
        payloads = [
            (check_tenant(tenant), typed_payload(event, self.max_event_bytes, here)[1])
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

    def _waiting(self, plans: list[_Plan], needed: Assurance) -> list[_Plan]:
        """Let the last one wait: what is stored of a log is stored of all that came before it.

        That holds on one server only, so that all plans must go to one connection.
        """
        *before, last = plans
        return [*before, _DurablePlan(last, self._durability.wait(needed))]


class EventAppender(_Appender):
    """Appends events over a blocking client; safe to share between threads."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        keys: Keys | None = None,
        groups: Sequence[str] = GROUPS,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_stream_bytes: int | None = None,
        durable_seconds: float = DURABLE_SECONDS,
        durable_replicas: int | None = None,
    ) -> None:
        super().__init__(
            client,
            keys=keys,
            groups=groups,
            max_event_bytes=max_event_bytes,
            max_stream_bytes=max_stream_bytes,
            durable_seconds=durable_seconds,
            durable_replicas=durable_replicas,
        )
        self._client = client

    def append(self, tenant: str, event: Appendable, *, durable: bool = False) -> EntryId:
        """Append one event and mark its tenant ready, in one round trip.

        Progress that was shed has `SHED` for its entry id.

        Raises:
            InvalidEvent, InvalidTenant: nothing was sent; mend it.
            LogUnavailable: it may have landed; retry with the same event.
            NotDurable: it was appended, and may yet be lost in a failover; retry likewise.
        """
        plan = self._plan([(tenant, event)])
        return self._send_durably([plan])[0] if durable else self._send(plan)[0]

    def append_many(
        self, events: Iterable[tuple[str, Appendable]], *, durable: bool = False
    ) -> list[EntryId]:
        """Append pairs of tenant and event, in their order, `PIPELINE` a round trip.

        Progress that was shed has `SHED` in its place. Where the server had lost the script that
        sheds, progress comes after what it was given with.

        Raises:
            InvalidEvent, InvalidTenant: nothing was sent; mend it.
            LogUnavailable: some may have landed; retry with the same events.
            NotDurable: all were appended, and may yet be lost in a failover; retry likewise.
        """
        plans = self._plans(events)
        if durable and plans:
            return self._send_durably(plans)
        return [entry_id for plan in plans for entry_id in self._send(plan)]

    def _send_durably(self, plans: list[_Plan]) -> list[EntryId]:
        try:
            needed = self._durability.known() or self._durability.learn(self._info())
            with one_connection(self._client) as send:
                waiting = self._waiting(plans, needed)
                return [entry_id for plan in waiting for entry_id in self._sent(plan, send)]
        except (LogUnavailable, redis.RedisError) as error:
            # Look anew next time, on a new connection: the URL may lead to another server by then.
            self._durability.forget()
            self._client.connection_pool.disconnect(inuse_connections=False)
            if isinstance(error, redis.RedisError):  # not connected
                raise _unavailable(error) from error
            raise

    def _info(self) -> Mapping[str, Any]:
        try:
            return cast("Mapping[str, Any]", self._client.info(*INFO))
        except redis.ResponseError:  # not ours to ask
            return {}
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def _send(self, plan: _Plan) -> list[EntryId]:
        return self._sent(plan, partial(round_trip, self._client))

    def _sent(self, plan: _Plan, send: Callable[[Sequence[Command]], list[Any]]) -> list[EntryId]:
        try:
            replies = send(plan.commands)
            if self.cap is not None and (again := plan.again(replies)):
                replies = plan.mended(replies, send(again))
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
        max_stream_bytes: int | None = None,
        durable_seconds: float = DURABLE_SECONDS,
        durable_replicas: int | None = None,
    ) -> None:
        super().__init__(
            client,
            keys=keys,
            groups=groups,
            max_event_bytes=max_event_bytes,
            max_stream_bytes=max_stream_bytes,
            durable_seconds=durable_seconds,
            durable_replicas=durable_replicas,
        )
        self._client = client

    async def append(self, tenant: str, event: Appendable, *, durable: bool = False) -> EntryId:
        """Append one event; raises as `EventAppender.append` does."""
        plan = self._plan([(tenant, event)])
        return (await (self._send_durably([plan]) if durable else self._send(plan)))[0]

    async def append_many(
        self, events: Iterable[tuple[str, Appendable]], *, durable: bool = False
    ) -> list[EntryId]:
        """Append pairs of tenant and event; raises as `EventAppender.append_many` does."""
        plans = self._plans(events)
        if durable and plans:
            return await self._send_durably(plans)
        return [entry_id for plan in plans for entry_id in await self._send(plan)]

    async def _send_durably(self, plans: list[_Plan]) -> list[EntryId]:
        try:
            needed = self._durability.known() or self._durability.learn(await self._info())
            async with one_async_connection(self._client) as send:
                waiting = self._waiting(plans, needed)
                return [entry_id for plan in waiting for entry_id in await self._sent(plan, send)]
        except (LogUnavailable, redis.RedisError) as error:
            self._durability.forget()
            await self._client.connection_pool.disconnect(inuse_connections=False)
            if isinstance(error, redis.RedisError):
                raise _unavailable(error) from error
            raise

    async def _info(self) -> Mapping[str, Any]:
        try:
            return cast("Mapping[str, Any]", await self._client.info(*INFO))
        except redis.ResponseError:
            return {}
        except redis.RedisError as error:
            raise _unavailable(error) from error

    async def _send(self, plan: _Plan) -> list[EntryId]:
        return await self._sent(plan, self._round_trip)

    async def _sent(
        self, plan: _Plan, send: Callable[[Sequence[Command]], Awaitable[list[Any]]]
    ) -> list[EntryId]:
        try:
            replies = await send(plan.commands)
            if self.cap is not None and (again := plan.again(replies)):
                replies = plan.mended(replies, await send(again))
        except redis.RedisError as error:
            raise _unavailable(error) from error
        return plan.entry_ids(replies)

    async def _round_trip(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)


def _unavailable(error: Exception) -> LogUnavailable:
    return LogUnavailable(f"Redis did not take it: {error}")
