"""Streams of states: one job's, and all of a tenant's."""

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
from api.live.feed_reads import FeedReads, Item
from api.live.sse import (
    BEAT,
    EventStream,
    answer_without_stream,
    last_event_id,
    state_block,
    stream_events,
)
from api.live.subscriptions import Hub
from api.live.tenant_feed import TenantFeed, TenantFeeds, first_bytes
from api.live.waiters import Bell, Viewers
from api.metrics import STREAM_EVENTS
from api.scheduling.viewer_turns import Portions
from projections.reading.documents import DocumentReader
from projections.reading.feed import FeedReader, feed_name
from streams.keys import JOB_ID, JobKey
from streams.kinds import Kind

TENANT_PATH = "/api/v1/events"
RECENT = 1_000
"""Jobs whose present states begin a tenant's stream."""
BLOCK_BYTES = 65_536
"""Bytes in one send, unless one state is larger."""
RETRY_SECONDS = 1.0


class Feed:
    """Answers requests for streams."""

    def __init__(  # noqa: PLR0917 - each of another type
        self,
        authenticator: Authenticator,
        viewers: Viewers,
        hub: Hub,
        documents: DocumentReader,
        changes: FeedReader,
        portions: Portions,
    ) -> None:
        self._authenticator = authenticator
        self._viewers = viewers
        self._hub = hub
        self._documents = documents
        self._portions = portions
        self._reads = FeedReads(changes)
        self._tenants = TenantFeeds(hub, self._reads)

    async def job(self, scope: Scope, receive: Receive, send: Send, kind: Kind, job_id: str) -> int:
        """Stream one job's states until its end, and give the status that it was answered with.

        Raises:
            Problem: it is answered by that; nothing was sent.
        """
        caller = self._caller(scope)
        if not JOB_ID.match(job_id) or not caller.may_read(kind.name, job_id):
            raise NoSuchJob
        job = JobKey(caller.tenant, kind.name, job_id)
        known = last_event_id(scope)
        with self._viewers.enter(job.tenant, beats=True, expires=caller.expires) as bell:
            try:
                await self._portions.join(job.tenant)
                async with self._hub.watching(job.tenant, feed_name(job), bell):
                    state = await self._state(job)
                    if state is None:
                        raise NoSuchJob
                    if state.ended and state.version == known:
                        # What makes a browser's EventSource stop coming back.
                        return await answer_without_stream(send, HTTPStatus.NO_CONTENT)
                    if scope["method"] == "HEAD":
                        return await answer_without_stream(send, HTTPStatus.OK)
                    work = partial(self._follow_job, job, bell, state, known)
                    await stream_events(receive, send, bell, work)
            except redis.RedisError:
                raise TryLater from None
        return 200

    async def tenant(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Stream the states of all jobs that the caller may know of; else as `job`."""
        caller = self._caller(scope)
        if scope["method"] == "HEAD":
            return await answer_without_stream(send, HTTPStatus.OK)
        with self._viewers.enter(caller.tenant, beats=True, expires=caller.expires) as bell:
            try:
                await self._portions.join(caller.tenant)
                async with self._tenants.watching(caller.tenant, bell) as feed:
                    position = await self._first_position(caller.tenant, feed, last_event_id(scope))
                    work = partial(self._follow_tenant, caller, feed, bell, position)
                    await stream_events(receive, send, bell, work)
            except redis.RedisError:
                raise TryLater from None
        return 200

    def _caller(self, scope: Scope) -> Caller:
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed
        return caller_of(self._authenticator, scope, in_query=True)

    async def _state(self, job: JobKey) -> Rendered | None:
        documents = await self._documents.read(job)
        await self._portions.join(job.tenant)
        return documents and rendered(job, documents)

    async def _follow_job(
        self, job: JobKey, bell: Bell, state: Rendered | None, known: bytes, stream: EventStream
    ) -> None:
        """Send each state that differs from the one before, up to the last.

        A job whose documents are gone may come back: a rebuild, another attempt.
        """
        while not bell.over:
            if state is not None and state.version != known:
                known = state.version
                await stream.write(state_block(known, state.body))
                STREAM_EVENTS.labels("job").inc()
            if state is not None and state.ended:
                return
            await wait_for_change(bell, stream)
            if bell.changed:
                bell.changed = False
                try:
                    state = await self._state(job)
                except redis.RedisError:
                    state = None
                    _ring_later(bell)

    async def _first_position(self, tenant: str, feed: TenantFeed, last_id: bytes) -> int:
        """Give the position after which the stream begins."""
        if last_id.isdigit():
            position = int(last_id)
            if position <= feed.ring.head or position <= await self._reads.newest(tenant):
                return position
            # One that is yet to come is of a feed that is lost: better all again than too little.
            return 0
        return max(0, await self._reads.newest(tenant, RECENT) - 1)

    async def _follow_tenant(
        self, caller: Caller, feed: TenantFeed, bell: Bell, position: int, stream: EventStream
    ) -> None:
        """Send what changed after the position, for ever."""
        epoch = feed.epoch
        while not bell.over:
            bell.changed = False
            if epoch != feed.epoch:
                epoch, position = feed.epoch, 0
            items, upto = feed.ring.after(position), feed.ring.head
            if items is None:
                try:
                    upto, items = await self._reads.after(caller.tenant, position)
                except redis.RedisError:
                    _ring_later(bell)
                    await wait_for_change(bell, stream)
                    continue
                if upto == position:  # the feed was lost: what is known of it is the ring
                    upto = feed.ring.start
            sent = first_bytes(items, BLOCK_BYTES)
            if len(sent) < len(items):
                upto = sent[-1].position
            if blocks := _allowed(caller, sent):
                await stream.write(b"".join(blocks))
                STREAM_EVENTS.labels("tenant").inc(len(blocks))
            if upto > position:
                position = upto
            else:
                await wait_for_change(bell, stream)


def _allowed(caller: Caller, items: Sequence[Item]) -> list[bytes]:
    return [item.block for item in items if caller.may_read(item.job.kind, item.job.id)]


async def wait_for_change(bell: Bell, stream: EventStream) -> None:
    """Wait for a change or the end; meanwhile write a comment line at each beat of the timer."""
    while not bell.over and not bell.changed:
        if bell.beat:
            bell.beat = False
            await stream.write(BEAT)
        await bell.wait()


def _ring_later(bell: Bell) -> None:
    asyncio.get_running_loop().call_later(RETRY_SECONDS, bell.ring)
