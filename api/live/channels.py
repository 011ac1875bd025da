"""The waiters of one tenant, notified when Redis publishes changes of its jobs.

A waiter is a long poll or a live stream that waits for a change (`api.live.waiters`). Used by
`api.live.cluster_subscriptions`, `api.live.subscriptions` and `api.live.tenant_feed`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from api.live.waiters import Waiter

PACE_SECONDS = 0.000_1
"""The part of a notification's delay that each waiter of the job adds: the states of a job with a
thousand waiters are sent at most ten times a second."""

PACED_FROM = 10
"""The number of waiters of a job from which on its notifications are delayed. With fewer, every
change is notified at once."""


class Channel:
    """The waiters of one tenant, and whether its Redis channel is subscribed.

    A channel is *subscribed* between Redis' confirmation and the loss of the connection. After a
    loss, all waiters are notified at the next confirmation, because changes may have been missed.
    """

    def __init__(self) -> None:
        self.subscribed = False
        self.idle_since = time.monotonic()
        """When the last waiter was removed, on the monotonic clock."""
        self._all_jobs = set[Waiter]()
        self._by_job: dict[str, set[Waiter]] = {}
        """By the job's name in the feed."""
        self._delayed = set[str]()
        """Names of jobs whose delayed notification is scheduled; it covers further changes."""
        self._confirmations = set[asyncio.Future[None]]()
        self._missed_changes = False

    @property
    def unused(self) -> bool:
        """True while no waiter is registered and none waits for the subscription."""
        return not (self._all_jobs or self._by_job or self._confirmations)

    def add(self, waiter: Waiter, job_name: str | None) -> None:
        """Register a waiter for one job by its name in the feed; for all jobs if it is None."""
        waiters = self._all_jobs if job_name is None else self._by_job.setdefault(job_name, set())
        waiters.add(waiter)

    def remove(self, waiter: Waiter, job_name: str | None) -> None:
        """Remove a waiter that was added with the same job name."""
        if job_name is None:
            self._all_jobs.discard(waiter)
        elif job_name in self._by_job:
            self._by_job[job_name].discard(waiter)
            if not self._by_job[job_name]:
                del self._by_job[job_name]
        self.idle_since = time.monotonic()

    def on_changes(self, job_names: Iterable[str]) -> None:
        """Notify the waiters of these jobs, by their names in the feed, and those of all jobs."""
        _notify(self._all_jobs)
        if not self._by_job:
            return
        for job_name in job_names:
            waiters = self._by_job.get(job_name)
            if waiters is None or job_name in self._delayed:
                continue
            if len(waiters) < PACED_FROM:
                _notify(waiters)
            else:
                self._delayed.add(job_name)
                delay = len(waiters) * PACE_SECONDS
                asyncio.get_running_loop().call_later(delay, self._notify_delayed, job_name)

    def on_subscribed(self) -> None:
        """Handle the confirmation of the subscription by Redis."""
        self.subscribed = True
        for confirmation in self._confirmations:
            if not confirmation.done():
                confirmation.set_result(None)
        if self._missed_changes:
            self._missed_changes = False
            _notify(self._all_jobs)
            for waiters in self._by_job.values():
                _notify(waiters)

    def on_lost(self) -> None:
        """Handle the loss of the connection that is subscribed."""
        self._missed_changes |= self.subscribed
        self.subscribed = False

    async def wait_until_subscribed(self, seconds: float) -> None:
        """Return when the channel is subscribed; at once if it is already.

        Raises:
            TimeoutError: the confirmation did not arrive in `seconds`.
        """
        if self.subscribed:
            return
        confirmation: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._confirmations.add(confirmation)
        try:
            async with asyncio.timeout(seconds):
                await confirmation
        finally:
            self._confirmations.discard(confirmation)

    def _notify_delayed(self, job_name: str) -> None:
        self._delayed.discard(job_name)
        _notify(self._by_job.get(job_name, ()))


def _notify(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        waiter.notify()
