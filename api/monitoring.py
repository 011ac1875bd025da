"""What those who run the API ask: is it alive, can it serve, how does it do."""

from __future__ import annotations

import asyncio

import redis.asyncio
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.database import Database
from api.problems import TryLater

PING_SECONDS = 0.8
"""How long Redis may take to answer and still count as there."""


def monitoring_routes(client: redis.asyncio.Redis, database: Database) -> list[Route]:
    """Give the routes; they ask nobody for credentials and tell of no tenant.

    Who can serve progress is ready, which takes Redis alone; of the database it is only told.
    """

    async def readyz(_request: Request) -> Response:
        answers, state = await asyncio.gather(_answers(client), database.state())
        if not answers:
            raise TryLater(missing=["redis"])
        return JSONResponse({"status": "ready", "database": state})

    return [Route("/healthz", _healthz), Route("/readyz", readyz), Route("/metrics", _metrics)]


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _answers(client: redis.asyncio.Redis) -> bool:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await client.execute_command("PING")  # type: ignore[no-untyped-call]
    except (redis.RedisError, TimeoutError):
        return False
    return True
