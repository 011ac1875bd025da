"""The composition root: it makes the ASGI application from the settings, endpoint by endpoint.

Used by `api.server` and by tests. Nothing is sent to Redis or PostgreSQL before the first request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from api.access.auth import Authenticator, authenticator
from api.access.request_guard import RequestGuard, guarded, with_limits
from api.application import Application
from api.http.trailing_slashes import with_either_slash
from api.jobs.endpoint import job_routes
from api.jobs.job_reads import JobReads
from api.live.cluster_subscriptions import subscriptions_of
from api.live.endpoint import LiveEndpoint
from api.live.subscriptions import Subscriptions
from api.live.waiters import Waiters
from api.metrics import READ_BATCH, watch_redis_pool
from api.monitoring import monitoring_routes
from api.operators.database import OperatorDatabase
from api.operators.jobs import OperatorJobEndpoints
from api.operators.operator_view import OperatorView
from api.operators.routes import operator_routes
from api.other_routes import other_routes
from api.progress.endpoint import ProgressEndpoint
from api.progress.long_polls import LongPolls
from api.progress.query import QueryEndpoint
from api.scheduling.event_loop_throttle import EventLoopThrottle
from api.spec.client_files import client_routes
from api.spec.docs_page import docs_routes
from api.spec.document import openapi_routes
from projections.reading.documents import DocumentReader
from projections.reading.feed import FeedReader
from projections.reading.settled import SettledReader
from streams.async_cluster import AsyncCluster
from streams.connection import connect_async
from streams.settings import Settings, SettingsError

CONNECT_SECONDS = 1.0
"""The time limit for connecting to Redis."""
PATIENCE_SECONDS = 0.3
"""Seconds that reads wait at first for a node of a cluster, while the others answer: the jobs of
tenants of several nodes are read together."""


def create_app(
    settings: Settings,
    operator_view: OperatorView | None = None,
    waiters: Waiters | None = None,
) -> ASGIApp:
    """Return the ASGI application.

    Args:
        settings: the process's settings.
        operator_view: the source of operators' data about delivery; without one there are neither
            operators' endpoints nor a console.
        waiters: the registry of long polls and live streams, if the caller stops them itself before
            it stops the server.

    Raises:
        SettingsError, InvalidUrl: a setting is missing or wrong.
    """
    identify = with_limits(authenticator(settings), settings)
    stores = _Stores(settings)
    if waiters is None:
        waiters = Waiters(settings.max_streams_per_tenant)
    subscriptions, throttle = subscriptions_of(stores.redis), EventLoopThrottle()
    polls = LongPolls(stores.documents, stores.settled, waiters, subscriptions, throttle)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        stores.job_reads.log_if_off()
        async with _background(subscriptions, waiters):
            yield
        await stores.close()

    app = Application(
        ProgressEndpoint(identify, stores.documents, polls),
        LiveEndpoint(identify, waiters, subscriptions, stores.documents, stores.feed, throttle),
        QueryEndpoint(identify, stores.documents),
        other_routes(_routes(settings, identify, stores, operator_view), lifespan),
        RequestGuard(settings),
        log_requests=settings.log_level == "debug",
    )
    return guarded(app, settings)


class _Stores:
    """The clients of Redis and PostgreSQL; each connects when it is first used."""

    def __init__(self, settings: Settings) -> None:
        # No timeout for each step of a command: every caller limits its operation as a whole, which
        # costs the event loop much less.
        self.redis: redis.asyncio.Redis = connect_async(
            settings.require_redis_url(), timeout=None, connect_timeout=CONNECT_SECONDS
        )
        if settings.legacy_keys == "on" and isinstance(self.redis, AsyncCluster):
            raise SettingsError(
                "JOBTRAIL_LEGACY_KEYS=on does not work on a cluster, where no worker writes them:"
                " unset it"
            )
        if isinstance(self.redis, AsyncCluster):
            self.redis.set_patience(PATIENCE_SECONDS)
        watch_redis_pool(self.redis)
        self.documents = DocumentReader(
            self.redis, legacy=settings.legacy_keys == "on", on_batch=READ_BATCH.observe
        )
        self.feed = FeedReader(self.redis, self.documents)
        self.settled = SettledReader(self.redis)
        self.job_reads = JobReads.from_settings(settings)
        self.operator_database = OperatorDatabase(settings.database_url)

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()
        await self.operator_database.close()
        await self.job_reads.close()


@asynccontextmanager
async def _background(subscriptions: Subscriptions, waiters: Waiters) -> AsyncIterator[None]:
    """Run the tasks that live streams and long polls depend on; stop the waiters first."""
    tasks = [asyncio.create_task(work) for work in (subscriptions.run(), waiters.run_heartbeats())]
    yield
    waiters.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _routes(
    settings: Settings,
    identify: Authenticator,
    stores: _Stores,
    operator_view: OperatorView | None,
) -> list[Route]:
    """Return all routes except those of progress and live streams."""
    jobs = OperatorJobEndpoints(
        stores.operator_database.connection,
        stores.documents,
        stalled_after_seconds=settings.stalled_after_seconds,
    )
    for_operators = operator_view is not None
    return [
        *with_either_slash(monitoring_routes(stores.redis, stores.job_reads, operator_view)),
        *with_either_slash(openapi_routes(settings.auth, for_operators=for_operators)),
        *with_either_slash(job_routes(identify, stores.job_reads)),
        *client_routes(),
        *docs_routes(),
        *operator_routes(settings, identify, operator_view, jobs, stores.operator_database),
    ]
