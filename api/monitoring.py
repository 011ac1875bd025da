"""What those who run the API ask: is it alive, can it serve, how does it do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import redis.asyncio
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.http.problems import TryLater
from api.jobs.database import Database
from streams.connection import refuses_writes

PING_SECONDS = 0.8
"""How long Redis may take to answer and still count as there."""


def monitoring_routes(client: redis.asyncio.Redis, database: Database) -> list[Route]:
    """Give the routes; they ask nobody for credentials and tell of no tenant.

    Who can serve progress is ready, which takes Redis alone; of the database it is only told.
    """

    async def readyz(_request: Request) -> Response:
        writes, state = await asyncio.gather(_takes_writes(client), database.state())
        if writes is None:
            raise TryLater(missing=["redis"])
        body = {"status": "ready", "database": state}
        return JSONResponse(body if writes else {**body, "redis": "refuses writes"})

    return [Route("/healthz", _healthz), Route("/readyz", readyz), Route("/metrics", _metrics)]


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _takes_writes(client: redis.asyncio.Redis) -> bool | None:
    """Return whether Redis takes writes, as far as it says; None where it does not answer."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            await client.execute_command("PING")  # type: ignore[no-untyped-call]
            return not _lacks(await client.info("memory", "replication"))
    except redis.exceptions.NoPermissionError:
        return True  # it answers, but may not be asked
    except (redis.RedisError, TimeoutError) as error:
        return False if refuses_writes(error) else None


def _lacks(info: Mapping[str, Any]) -> bool:
    """Return whether memory is used up, or no replica is in step where one must be."""
    limit = int(info.get("maxmemory", 0))
    used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
    full = 0 < limit < used and info.get("maxmemory_policy") == "noeviction"
    return full or info.get("min_slaves_good_slaves") == 0
