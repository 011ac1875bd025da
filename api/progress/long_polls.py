"""Requests that are held until there is news of a job, or until an entry is reflected.

Used by `api.app` and `api.progress.endpoint`. Changes of the job wake a request at once. That an
entry is reflected may change no document, so that it is asked for again and again meanwhile, with
growing pauses.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from starlette.types import Receive

from api.answers.rendered import Rendered, rendered
from api.http.etags import matches
from api.live.subscriptions import Subscriptions
from api.live.waiters import Waiter, Waiters, finish_on_disconnect
from api.progress.parameters import Hold
from api.scheduling.event_loop_throttle import EventLoopThrottle
from projections.reading.documents import DocumentReader
from projections.reading.feed import feed_name
from projections.reading.settled import SettledReader
from streams.keys import JobKey
from streams.settled_entries import pauses


class Poll(NamedTuple):
    """One request for a job's state."""

    job: JobKey
    may_read: bool
    known: bytes | None
    """The value of `If-None-Match`."""
    hold: Hold


class Found(NamedTuple):
    """The answer to a poll."""

    state: Rendered | None
    known: bytes | None
    """The tags that the caller knows; none if there was no state at first, because any state is
    news then."""
    reflected: bool = False
    """True if the entry in the request is reflected."""


class LongPolls:
    """Reads states for polls, and holds the polls as long as they ask for."""

    def __init__(
        self,
        documents: DocumentReader,
        settled: SettledReader,
        waiters: Waiters,
        subscriptions: Subscriptions,
        throttle: EventLoopThrottle,
    ) -> None:
        self._documents = documents
        self._settled = settled
        self._waiters = waiters
        self._subscriptions = subscriptions
        self._throttle = throttle

    async def answer(self, poll: Poll, receive: Receive) -> Found:
        """Return the state once it is what the poll waits for, or as it is at the end of the hold.

        Raises:
            redis.RedisError: Redis is unavailable.
            TooManyRequests, TryLater: too many requests are held.
        """
        await self._throttle.admit(poll.job.tenant)
        found = await self._read(poll)
        if found.state is None:
            poll, found = poll._replace(known=None), found._replace(known=None)
        if _is_done(poll, found) or not poll.hold.seconds:
            return found
        with self._waiters.register(poll.job.tenant) as waiter:
            watching = asyncio.ensure_future(finish_on_disconnect(receive, waiter))
            timer = asyncio.get_running_loop().call_later(poll.hold.seconds, waiter.finish)
            try:
                return await self._wait(poll, waiter, reflected=found.reflected)
            finally:
                timer.cancel()
                watching.cancel()

    async def _wait(self, poll: Poll, waiter: Waiter, *, reflected: bool) -> Found:
        job, paused = poll.job, pauses()
        async with self._subscriptions.watch(job.tenant, feed_name(job), waiter):
            while True:
                waiter.changed = False
                found = await self._read(poll, reflected=reflected)
                reflected = found.reflected
                if waiter.finished or _is_done(poll, found):
                    return found
                again = None
                if not reflected and poll.hold.after is not None:
                    loop = asyncio.get_running_loop()
                    again = loop.call_later(next(paused), waiter.notify)
                try:
                    await waiter.wait()
                finally:
                    if again is not None:
                        again.cancel()

    async def _read(self, poll: Poll, *, reflected: bool = False) -> Found:
        """Return the present state, read after the question of whether the entry is reflected."""
        job, after = poll.job, poll.hold.after
        if after is not None and not reflected:
            reflected = await self._settled.read(job.tenant, after)
        # A job that the caller may not read takes the same time as one that does not exist.
        documents = await self._documents.read(job) if poll.may_read else None
        await self._throttle.admit(job.tenant)
        state = documents and rendered(job, documents)
        return Found(state, poll.known, reflected)


def is_news(state: Rendered | None, known: bytes | None) -> bool:
    """Return whether there is a state that `If-None-Match` does not match."""
    return state is not None and (known is None or not matches(known, state.etag))


def _is_done(poll: Poll, found: Found) -> bool:
    """Return whether there is nothing left to wait for."""
    if poll.hold.after is None:
        return is_news(found.state, poll.known)
    if not found.reflected:
        return False
    # Without a state the entry is of another job, or cannot be applied: it brings none.
    return found.state is None or not poll.hold.for_news or is_news(found.state, poll.known)
