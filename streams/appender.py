"""Appenders: append events to the streams of tenants, over a blocking or an asyncio client.

An *append* is one XADD and, in the same round trip, the ready marks of the tenant
(`streams/append_plan.py`). Both appenders validate (`streams/payloads.py`) and plan alike; the two
classes differ only in their I/O. Workers call them directly or through the reporter.

A *durable* append also waits, in that round trip, until the server's disk and replicas have the
entry (`streams/durability.py`). An appender with `max_stream_bytes` *sheds* the progress of a
stream that has reached this size (`streams/shedding.py`). Used by `consumers`, `ops` and `streams`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast

import redis
import redis.asyncio

from .append_plan import CappedClusterPlan, CappedPlan, ClusterPlan, DurablePlan, Plan, unavailable
from .async_cluster import AsyncCluster
from .cluster import Cluster, keys_of
from .cluster_appends import AsyncClusterAppends, ClusterAppends
from .connection import LogUnavailable
from .durability import DURABLE_SECONDS, INFO, Assurance, Durability
from .entry_ids import EntryId
from .events import MAX_EVENT_BYTES
from .keys import Keys, check_tenant
from .payloads import Appendable, typed_payload
from .settings import Settings
from .shedding import Cap
from .tracing import current_traceparent
from .wire import Command, one_async_connection, one_connection, round_trip

GROUPS = ("status", "rows")
"""Consumer groups in which an append marks its tenant as ready. Other groups find it by a scan."""

PIPELINE = 1_000
"""Events in one round trip of `append_many`."""


Typed = tuple[str, str, bytes]
"""Tenant, type and payload of an event."""
ClientT = TypeVar("ClientT", bound=redis.Redis | redis.asyncio.Redis)


class _Appender(Generic[ClientT]):
    """Base of the blocking and the asyncio appender: validation and plans.

    Args:
        client: a client of the `redis` package.
        keys: the names of keys.
        groups: consumer groups in which the tenant is marked as ready.
        max_event_bytes: an event of more bytes is an InvalidEvent.
        max_stream_bytes: size of a tenant's stream from which on its progress is shed and counted;
            a shed event has the entry id `SHED`. None sheds nothing.
        durable_seconds: how long a durable append waits for the disk, and as long for replicas.
        durable_replicas: replicas that must have a durable append. None takes the value of
            `JOBTRAIL_DURABLE_REPLICAS`, or else as many as the primary was ever seen to have.

    Raises:
        SettingsError: `JOBTRAIL_DURABLE_REPLICAS` is not valid.
    """

    def __init__(
        self,
        client: ClientT,
        *,
        keys: Keys | None = None,
        groups: Sequence[str] = GROUPS,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_stream_bytes: int | None = None,
        durable_seconds: float = DURABLE_SECONDS,
        durable_replicas: int | None = None,
    ) -> None:
        on_cluster = isinstance(client, Cluster | AsyncCluster)
        self.keys = keys or keys_of(client)
        self._plan_class = ClusterPlan if on_cluster else Plan
        self._capped_class = CappedClusterPlan if on_cluster else CappedPlan
        self.groups = tuple(groups)
        self.max_event_bytes = max_event_bytes
        self.cap = (
            None if max_stream_bytes is None else Cap(self.keys, self.groups, max_stream_bytes)
        )
        needed = Settings.durable_replicas_of() if durable_replicas is None else durable_replicas
        self._client = client
        self._durability = Durability(client, durable_seconds, needed)
        self._cluster = self._cluster_appends(durable_seconds, needed)

    def _cluster_appends(self, seconds: float, replicas: int | None) -> Any:
        """Return what sends to the nodes of a cluster; None on a single server."""
        raise NotImplementedError

    @property
    def client(self) -> ClientT:
        """The client that events are appended with."""
        return self._client

    def _plan(self, events: Iterable[tuple[str, Appendable]]) -> Plan:
        return self._planned(self._typed(events))

    def _planned(self, typed: Sequence[Typed]) -> Plan:
        if self.cap is not None:
            return self._capped_class(self.cap, typed)
        payloads = [(tenant, payload) for tenant, _, payload in typed]
        return self._plan_class(self.keys, self.groups, payloads)

    def _typed(self, events: Iterable[tuple[str, Appendable]]) -> list[Typed]:
        """Return the tenant, type and payload of each event; all are validated here."""
        traceparent = current_traceparent()
        return [
            (check_tenant(tenant), *typed_payload(event, self.max_event_bytes, traceparent))
            for tenant, event in events
        ]

    def _plans(
        self, typed: Sequence[Typed], needed: Assurance | None = None, piece: int | None = None
    ) -> Iterator[Plan]:
        """Yield a plan for each round trip; with `needed`, the last one waits for it.

        What is stored of a stream is stored of all that came before. This holds on one server only,
        so that all plans must be sent on one connection then.
        """
        piece = piece or PIPELINE
        for start in range(0, len(typed), piece):
            plan = self._planned(typed[start : start + piece])
            last = start + piece >= len(typed)
            yield DurablePlan(plan, self._durability.wait(needed)) if needed and last else plan


class EventAppender(_Appender[redis.Redis]):
    """Appends events over a blocking client; safe to share between threads."""

    _cluster: ClusterAppends | None

    def _cluster_appends(self, seconds: float, replicas: int | None) -> ClusterAppends | None:
        client = self._client
        return ClusterAppends(client, seconds, replicas) if isinstance(client, Cluster) else None

    def append(self, tenant: str, event: Appendable, *, durable: bool = False) -> EntryId:
        """Append one event and mark its tenant as ready, in one round trip.

        Returns the id of the entry, or `SHED` for progress that was shed.

        Raises:
            InvalidEvent, InvalidTenant: nothing was sent; correct the event or the tenant.
            LogUnavailable: the event may have been appended; retry with the same event.
            NotDurable: the event was appended, and can be lost in a failover; retry likewise.
        """
        if self._cluster:
            self._cluster.prepare()
        if durable:
            return self._send_durably(self._typed([(tenant, event)]))[0]
        return self._send(self._plan([(tenant, event)]))[0]

    def append_many(
        self,
        events: Iterable[tuple[str, Appendable]],
        *,
        durable: bool = False,
        piece: int | None = None,
    ) -> list[EntryId]:
        """Append pairs of tenant and event in their order, up to `piece` in one round trip.

        By default, a piece has `PIPELINE` events.

        Returns the ids of the entries, with `SHED` for progress that was shed. If the server had
        lost the script that sheds, progress is appended after the other events of its round trip.

        Raises:
            InvalidEvent, InvalidTenant: nothing was sent; correct the event or the tenant.
            LogUnavailable: some may have been appended; retry with the same events.
            NotDurable: all were appended, and can be lost in a failover; retry likewise.
        """
        if self._cluster:
            self._cluster.prepare()
        typed = self._typed(events)
        if durable and typed:
            return self._send_durably(typed, piece)
        plans = self._plans(typed, piece=piece)
        return [entry_id for plan in plans for entry_id in self._send(plan)]

    def _send_durably(self, typed: Sequence[Typed], piece: int | None = None) -> list[EntryId]:
        if self._cluster:
            return self._cluster.send(self._plans(typed, piece=piece), durable=True)
        try:
            needed = self._durability.known() or self._durability.learn(self._info())
            with one_connection(self._client) as send:
                plans = self._plans(typed, needed, piece)
                return [entry_id for plan in plans for entry_id in self._sent(plan, send)]
        except (LogUnavailable, redis.RedisError) as error:
            # The next append asks again, on a new connection: the URL may lead to another server.
            self._durability.forget()
            self._client.connection_pool.disconnect(inuse_connections=False)
            if isinstance(error, redis.RedisError):  # not connected
                raise unavailable(error) from error
            raise

    def _info(self) -> Mapping[str, Any]:
        try:
            return cast("Mapping[str, Any]", self._client.info(*INFO))
        except redis.ResponseError:  # this user may not send INFO
            return {}
        except redis.RedisError as error:
            raise unavailable(error) from error

    def _send(self, plan: Plan) -> list[EntryId]:
        if self._cluster:
            return self._cluster.send([plan], durable=False)
        return self._sent(plan, partial(round_trip, self._client))

    def _sent(self, plan: Plan, send: Callable[[Sequence[Command]], list[Any]]) -> list[EntryId]:
        try:
            replies = send(plan.commands)
            if self.cap is not None and (again := plan.retries(replies)):
                replies = plan.merged(replies, send(again))
        except redis.RedisError as error:
            raise unavailable(error) from error
        return plan.entry_ids(replies)


class AsyncEventAppender(_Appender[redis.asyncio.Redis]):
    """Appends events over an asyncio client, as `EventAppender` does."""

    _cluster: AsyncClusterAppends | None

    def _cluster_appends(self, seconds: float, replicas: int | None) -> AsyncClusterAppends | None:
        client = self._client
        if not isinstance(client, AsyncCluster):
            return None
        return AsyncClusterAppends(client, seconds, replicas)

    async def append(self, tenant: str, event: Appendable, *, durable: bool = False) -> EntryId:
        """Append one event; returns and raises what `EventAppender.append` does."""
        if self._cluster:
            await self._cluster.prepare()
        if durable:
            return (await self._send_durably(self._typed([(tenant, event)])))[0]
        return (await self._send(self._plan([(tenant, event)])))[0]

    async def append_many(
        self, events: Iterable[tuple[str, Appendable]], *, durable: bool = False
    ) -> list[EntryId]:
        """Append pairs of tenant and event; returns and raises what the blocking method does."""
        if self._cluster:
            await self._cluster.prepare()
        typed = self._typed(events)
        if durable and typed:
            return await self._send_durably(typed)
        return [entry_id for plan in self._plans(typed) for entry_id in await self._send(plan)]

    async def _send_durably(self, typed: Sequence[Typed]) -> list[EntryId]:
        if self._cluster:
            return await self._cluster.send(self._plans(typed), durable=True)
        try:
            needed = self._durability.known() or self._durability.learn(await self._info())
            async with one_async_connection(self._client) as send:
                plans = self._plans(typed, needed)
                return [entry_id for plan in plans for entry_id in await self._sent(plan, send)]
        except (LogUnavailable, redis.RedisError) as error:
            self._durability.forget()
            await self._client.connection_pool.disconnect(inuse_connections=False)
            if isinstance(error, redis.RedisError):
                raise unavailable(error) from error
            raise

    async def _info(self) -> Mapping[str, Any]:
        try:
            return cast("Mapping[str, Any]", await self._client.info(*INFO))
        except redis.ResponseError:
            return {}
        except redis.RedisError as error:
            raise unavailable(error) from error

    async def _send(self, plan: Plan) -> list[EntryId]:
        if self._cluster:
            return await self._cluster.send([plan], durable=False)
        return await self._sent(plan, self._round_trip)

    async def _sent(
        self, plan: Plan, send: Callable[[Sequence[Command]], Awaitable[list[Any]]]
    ) -> list[EntryId]:
        try:
            replies = await send(plan.commands)
            if self.cap is not None and (again := plan.retries(replies)):
                replies = plan.merged(replies, await send(again))
        except redis.RedisError as error:
            raise unavailable(error) from error
        return plan.entry_ids(replies)

    async def _round_trip(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)
