"""The endpoints of live streams: one job's states, and those of all jobs of a tenant.

Used by `api.app`, `api.application` and `api.spec.operations.progress`. Every stream sends the
present state first, then each change. With `Last-Event-ID`, it omits what the client has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus

import redis
from starlette.types import Receive, Scope, Send

from api.access.auth import Authenticator, Caller
from api.access.callers import caller_of
from api.answers.rendered import Rendered, rendered
from api.http.problems import MethodNotAllowed, NoSuchJob, TryLater
from api.live.feed_reads import FeedItem, FeedReads
from api.live.sse import (
    HEARTBEAT,
    EventStream,
    answer_without_stream,
    last_event_id,
    state_block,
    stream_events,
)
from api.live.subscriptions import Subscriptions
from api.live.tenant_feed import TenantFeed, TenantFeeds, first_bytes
from api.live.waiters import Waiter, Waiters
from api.metrics import LIVE_STREAM_EVENTS
from api.scheduling.event_loop_throttle import EventLoopThrottle
from projections.reading.documents import DocumentReader
from projections.reading.feed import FeedReader, feed_name
from streams.keys import JOB_ID, JobKey
from streams.kinds import Kind

TENANT_PATH = "/api/v1/events"

RECENT_JOBS = 1_000
"""The number of jobs whose present states begin the live stream of a tenant."""

BLOCK_BYTES = 65_536
"""The most bytes in one send, unless a single state is larger."""

RETRY_SECONDS = 1.0
"""Seconds after which a state is read again after an error."""


class LiveEndpoint:
    """Answers requests for live streams."""

    def __init__(  # noqa: PLR0917 - each of another type
        self,
        authenticator: Authenticator,
        waiters: Waiters,
        subscriptions: Subscriptions,
        documents: DocumentReader,
        feed: FeedReader,
        throttle: EventLoopThrottle,
    ) -> None:
        self._authenticator = authenticator
        self._waiters = waiters
        self._subscriptions = subscriptions
        self._documents = documents
        self._throttle = throttle
        self._reads = FeedReads(feed)
        self._feeds = TenantFeeds(subscriptions, self._reads)

    async def job(self, scope: Scope, receive: Receive, send: Send, kind: Kind, job_id: str) -> int:
        """Stream one job's states until the job has ended; return the answer's HTTP status.

        Raises:
            Problem: the answer instead of a live stream; nothing was sent.
        """
        caller = self._caller(scope)
        if not JOB_ID.match(job_id) or not caller.may_read(kind.name, job_id):
            raise NoSuchJob
        job = JobKey(caller.tenant, kind.name, job_id)
        known = last_event_id(scope)
        expires = caller.expires
        with self._waiters.register(job.tenant, heartbeats=True, expires=expires) as waiter:
            try:
                await self._throttle.admit(job.tenant)
                async with self._subscriptions.watch(job.tenant, feed_name(job), waiter):
                    state = await self._state(job)
                    if state is None:
                        raise NoSuchJob
                    if state.ended and state.version == known:
                        # A browser's EventSource does not reconnect after this status.
                        return await answer_without_stream(send, HTTPStatus.NO_CONTENT)
                    if scope["method"] == "HEAD":
                        return await answer_without_stream(send, HTTPStatus.OK)
                    work = partial(self._follow_job, job, waiter, state, known)
                    await stream_events(receive, send, waiter, work)
            except redis.RedisError:
                raise TryLater from None
        return 200

    async def tenant(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Stream the states of all jobs that the caller may read; return the answer's HTTP status.

        Raises:
            Problem: the answer instead of a live stream; nothing was sent.
        """
        caller = self._caller(scope)
        if scope["method"] == "HEAD":
            return await answer_without_stream(send, HTTPStatus.OK)
        expires = caller.expires
        with self._waiters.register(caller.tenant, heartbeats=True, expires=expires) as waiter:
            try:
                await self._throttle.admit(caller.tenant)
                async with self._feeds.watch(caller.tenant, waiter) as feed:
                    offset = await self._first_offset(caller.tenant, feed, last_event_id(scope))
                    work = partial(self._follow_tenant, caller, feed, waiter, offset)
                    await stream_events(receive, send, waiter, work)
            except redis.RedisError:
                raise TryLater from None
        return 200

    def _caller(self, scope: Scope) -> Caller:
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed
        return caller_of(self._authenticator, scope, in_query=True)

    async def _state(self, job: JobKey) -> Rendered | None:
        documents = await self._documents.read(job)
        await self._throttle.admit(job.tenant)
        return documents and rendered(job, documents)

    async def _follow_job(
        self,
        job: JobKey,
        waiter: Waiter,
        state: Rendered | None,
        known: bytes,
        stream: EventStream,
    ) -> None:
        """Send each state that differs from the one before, until the job has ended.

        A job without documents may get new ones, from a rebuild or another attempt.
        """
        while not waiter.finished:
            if state is not None and state.version != known:
                known = state.version
                await stream.write(state_block(known, state.body))
                LIVE_STREAM_EVENTS.labels("job").inc()
            if state is not None and state.ended:
                return
            await wait_for_change(waiter, stream)
            if waiter.changed:
                waiter.changed = False
                try:
                    state = await self._state(job)
                except redis.RedisError:
                    state = None
                    _notify_later(waiter)

    async def _first_offset(self, tenant: str, feed: TenantFeed, last_id: bytes) -> int:
        """Return the offset after which the live stream begins."""
        if last_id.isdigit():
            offset = int(last_id)
            if offset <= feed.recent.head or offset <= await self._reads.newest(tenant):
                return offset
            # The feed that had this offset is lost: everything is sent again.
            return 0
        return max(0, await self._reads.newest(tenant, RECENT_JOBS) - 1)

    async def _follow_tenant(
        self, caller: Caller, feed: TenantFeed, waiter: Waiter, offset: int, stream: EventStream
    ) -> None:
        """Send the changes after the offset, until the waiter is finished."""
        epoch = feed.epoch
        while not waiter.finished:
            waiter.changed = False
            if epoch != feed.epoch:
                epoch, offset = feed.epoch, 0
            items, upto = feed.recent.after(offset), feed.recent.head
            if items is None:
                try:
                    upto, items = await self._reads.after(caller.tenant, offset)
                except redis.RedisError:
                    _notify_later(waiter)
                    await wait_for_change(waiter, stream)
                    continue
                if upto == offset:  # the feed in Redis is lost, and only the ring buffer remains
                    upto = feed.recent.start
            sent = first_bytes(items, BLOCK_BYTES)
            if len(sent) < len(items):
                upto = sent[-1].offset
            if blocks := _allowed(caller, sent):
                await stream.write(b"".join(blocks))
                LIVE_STREAM_EVENTS.labels("tenant").inc(len(blocks))
            if upto > offset:
                offset = upto
            else:
                await wait_for_change(waiter, stream)


def _allowed(caller: Caller, items: Sequence[FeedItem]) -> list[bytes]:
    """Return the events of the jobs that the caller may read."""
    return [item.block for item in items if caller.may_read(item.job.kind, item.job.id)]


async def wait_for_change(waiter: Waiter, stream: EventStream) -> None:
    """Return when something may have changed or the waiter is finished; send due heartbeats."""
    while not waiter.finished and not waiter.changed:
        if waiter.heartbeat_due:
            waiter.heartbeat_due = False
            await stream.write(HEARTBEAT)
        await waiter.wait()


def _notify_later(waiter: Waiter) -> None:
    asyncio.get_running_loop().call_later(RETRY_SECONDS, waiter.notify)
