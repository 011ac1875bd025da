"""The endpoints for monitoring: liveness, readiness and metrics. Used by `api.app`."""

from __future__ import annotations

import asyncio

import redis.asyncio
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.http.problems import TryLater
from api.jobs.job_reads import JobReads
from api.operators.backlog import BacklogFigures
from api.operators.operator_view import OperatorView
from streams.async_cluster import async_servers_of
from streams.connection import lacks_resources, refuses_writes

PING_SECONDS = 0.8
"""The time limit for Redis' answer to the readiness check."""


def monitoring_routes(
    client: redis.asyncio.Redis, reads: JobReads, view: OperatorView | None = None
) -> list[Route]:
    """Return the routes, which need no credentials and reveal nothing about tenants.

    The API is ready while Redis, or a node of its cluster, answers, because progress needs nothing
    else. A Redis that refuses writes, or a database or replica that is unavailable, is mentioned in
    the answer, whose status is still 200.
    """

    async def readyz(_request: Request) -> Response:
        accepts_writes, states = await asyncio.gather(_accepts_writes(client), reads.states())
        if accepts_writes is None:
            raise TryLater(missing=["redis"])
        body = {"status": "ready", **states}
        return JSONResponse(body if accepts_writes else {**body, "redis": "refuses writes"})

    backlog = None if view is None else BacklogFigures(view)

    async def metrics(_request: Request) -> Response:
        if backlog is not None:
            await backlog.refresh()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", _healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _accepts_writes(client: redis.asyncio.Redis) -> bool | None:
    """Return whether all of Redis accepts writes; None if nothing of it answers in time."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            servers = await async_servers_of(client)
    except (redis.RedisError, TimeoutError):
        return None
    found = await asyncio.gather(*map(_server_accepts_writes, servers))
    return all(found) if any(each is not None for each in found) else None


async def _server_accepts_writes(client: redis.asyncio.Redis) -> bool | None:
    """Return whether a server accepts writes; None if it does not answer in `PING_SECONDS`."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            await client.execute_command("PING")  # type: ignore[no-untyped-call]
            return not lacks_resources(await client.info("memory", "replication"))
    except redis.exceptions.NoPermissionError:
        return True  # Redis answers, but the user may not run the command
    except (redis.RedisError, TimeoutError) as error:
        return False if refuses_writes(error) else None
