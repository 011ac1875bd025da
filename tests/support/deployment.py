"""A whole deployment with jobs in every state, to ask over HTTP: real processes, real servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import jwt
import psycopg
import redis

from consumers.dead_letters.store import DeadLetterStore
from streams.appender import GROUPS, EventAppender
from streams.cluster import keys_of
from streams.connection import connect
from streams.keys import JobKey
from tests.support.tokens import FAR
from tests.support.waiting import eventually

SECRET = "a-secret-of-more-than-thirty-two-bytes"
TENANT = "first"

EVENTS: list[dict[str, Any]] = [
    {"type": "queued", "id": "queued-1", "job_type": "excel"},
    {"type": "processing", "id": "working-1", "job_type": "excel", "worker": "w-1"},
    {
        "type": "progress",
        "id": "working-1",
        "step": "saving",
        "percent": 42.5,
        "step_index": 3,
        "step_total": 4,
        "step_name_display": "저장하는 중",
        "step_percent": 40,
        "remaining_seconds": 12.5,
        "extra": {"rows": 1200},
    },
    {"type": "processing", "id": "done-1", "labels": {"team": "a"}},
    {"type": "done", "id": "done-1", "job_type": "excel", "result": {"rows": 31337}},
    {"type": "done", "id": "large-1", "result": {"text": "x" * 20_000}},
    {
        "type": "failed",
        "id": "failed-1",
        "attempt": 2,
        "error": "no sheet of that name",
        "code": "sheet",
    },
    {"type": "cancelled", "id": "cancelled-1", "reason": "called off by hand"},
    {"type": "queued", "id": "9", "kind": "video"},
    {"type": "processing", "id": "7", "kind": "video"},
    {
        "type": "progress",
        "id": "7",
        "kind": "video",
        "step": "transcoding",
        "percent": 42.5,
        "step_index": 4,
        "step_total": 7,
        "step_name_display": "인코딩",
        "step_percent": 30,
        "remaining_seconds": 61,
    },
    {
        "type": "done",
        "id": "8",
        "kind": "video",
        "result": {"hls_path": "videos/8/first.m3u8", "duration": 12.5},
    },
    {"type": "failed", "id": "clip-1", "kind": "video", "error": "no codec for it"},
]
"""What the tenant's workers said; every state of both kinds is among what follows."""

ENDED = {"job": ["done-1", "large-1", "failed-1", "cancelled-1"], "video": ["8", "clip-1"]}
GOING_ON = {"job": ["queued-1", "working-1"], "video": ["7", "9"]}


class Deployment(NamedTuple):
    """Its API's URL, and the id of the tenant's one dead letter."""

    url: str
    letter: str

    def ask(self, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        """Ask with a token, by GET unless `method` says otherwise."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        method = options.pop("method", "GET")
        return httpx.request(method, self.url + path, headers=headers, **options)


def token(tenant: str = TENANT, **claims: Any) -> str:
    """Give a token of a tenant."""
    return jwt.encode({"exp": FAR, "tenant_id": tenant, **claims}, SECRET)


def deploy(
    start: Callable[..., Any], redis_url: str, database_url: str, **settings: str
) -> Deployment:
    """Start consumers and API, and wait until all that the workers said can be read."""
    servers = {"redis_url": redis_url, "database_url": database_url}
    for group in ("status", "rows"):
        start("consume", group, **servers)
    given = {"auth": "jwt", "jwt_secret": SECRET, "api_port": "0", **servers, **settings}
    api = start("api", **given)
    with connect(redis_url) as client:
        EventAppender(client).append_many((TENANT, event) for event in EVENTS)
        client.xadd(keys_of(client).stream(TENANT), {"event": "no JSON"})
        letter = eventually(lambda: _letter(client), 30, "the dead letter")
        eventually(lambda: _all_served(client), 30, "the documents")
    with psycopg.connect(database_url, autocommit=True) as connection:
        jobs = len({(event.get("kind"), event["id"]) for event in EVENTS})
        eventually(lambda: _count(connection) == jobs, 30, "the rows")
    line: str = api.stdout.readline().decode()
    assert line.startswith("api: "), line
    return Deployment(line.removeprefix("api: ").strip(), letter)


def _letter(client: redis.Redis) -> str | None:
    """Return the id of the dead letter, which is its entry's, once it is one of both groups."""
    letters = list(DeadLetterStore(client).letters(TENANT))
    return letters[0].name if letters and len(letters[0].groups) == len(GROUPS) else None


def _all_served(client: redis.Redis) -> bool:
    names = [
        keys_of(client).status(JobKey(TENANT, kind, job_id))
        for ids in (ENDED, GOING_ON)
        for kind, listed in ids.items()
        for job_id in listed
    ]
    return client.exists(*names) == len(names)


def _count(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM jobs").fetchone()
    assert row is not None
    return int(row[0])


def dumped(value: object) -> str:
    """Give a value as JSON, for messages."""
    return json.dumps(value, ensure_ascii=False, indent=1)
