"""The operators' endpoint for alerts: which alert rules fire now, as Prometheus knows them.

Only the rules of `deploy/prometheus` count, whose names begin with `Jobtrail`. Used by
`api.operators.routes`.
"""

from __future__ import annotations

import asyncio
import base64
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.routing import Route

from api.operators.cached_answer import CachedAnswer
from api.operators.gate import Gate
from api.scheduling.bounded_wait import wait_shielded
from streams.runtime.safe_text import one_line

Json = dict[str, Any]

PATH = "/api/v1/alerts"
PREFIX = "Jobtrail"
CACHED_SECONDS = 10.0
"""Seconds for which an answer is kept at least; Prometheus evaluates the rules every 15 s."""
CONNECT_SECONDS = 2.0
"""The time limit for each step of a request."""
ANSWER_SECONDS = 3.0
"""The time limit for an answer of Prometheus."""
MAX_BYTES = 1_048_576
MAX_ALERTS = 50
"""The most alerts of an answer: those that page first, then by time."""


class _Alert(BaseModel):
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    state: str
    active_at: Annotated[AwareDatetime, Field(alias="activeAt")]


class _Alerts(BaseModel):
    alerts: list[_Alert]


class _Answer(BaseModel):
    status: str
    data: _Alerts


class OperatorAlertEndpoint:
    """The endpoint for alerts.

    Args:
        url: the URL of Prometheus; None if none is configured.
    """

    def __init__(self, url: str | None) -> None:
        self._url = None if url is None else url.rstrip("/") + PATH
        self._answer = CachedAnswer(self._read, CACHED_SECONDS)

    def routes(self, gate: Gate, url: str) -> list[Route]:
        """Return the route below a URL, for operators only."""
        return [gate.read_route(f"{url}/alerts/", self.alerts)]

    async def alerts(self, _request: Request) -> object:
        """Return the pending and firing alerts; `error` is the reason if they are unknown."""
        return await self._answer.get()

    async def _read(self) -> Json:
        if self._url is None:
            return {"configured": False, "error": None, "alerts": []}
        try:
            found = await wait_shielded(asyncio.to_thread(_get, self._url), ANSWER_SECONDS)
            alerts = list(_ours(_Answer.model_validate_json(found).data.alerts))
        except (OSError, HTTPException, ValueError) as error:
            return {"configured": True, "error": _reason(error), "alerts": []}
        alerts.sort(key=lambda each: (not each["pages"], each["state"] != "firing", each["since"]))
        return {"configured": True, "error": None, "alerts": alerts[:MAX_ALERTS]}


def _get(url: str) -> bytes:
    """Return the body of a GET.

    Raises:
        OSError, HTTPException: the server is away, or answers with an error.
        ValueError: the answer is too large, or the URL is not valid.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    body = bytearray()
    with urllib.request.urlopen(_request(url), timeout=CONNECT_SECONDS) as response:  # noqa: S310
        while part := response.read1(65_536):
            body += part
            if len(body) > MAX_BYTES:
                raise ValueError("the answer of Prometheus is too large")
            # Nobody waits for an answer that comes byte by byte, and its thread must end.
            if time.monotonic() > deadline:
                raise TimeoutError
    return bytes(body)


def _request(url: str) -> urllib.request.Request:
    """Return the request; a user and a password in the URL become a header."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    plain = parts._replace(netloc=host).geturl()
    request = urllib.request.Request(plain, headers={"accept": "application/json"})  # noqa: S310
    if at:
        credentials = base64.b64encode(unquote(user).encode()).decode()
        # Not sent again where the answer is a redirect.
        request.add_unredirected_header("authorization", f"Basic {credentials}")
    return request


def _ours(alerts: list[_Alert]) -> Iterator[Json]:
    for alert in alerts:
        name = alert.labels.get("alertname", "")
        if name.startswith(PREFIX):
            yield {
                "name": name,
                "state": alert.state,
                "pages": alert.labels.get("severity") == "page",
                "since": int(alert.active_at.timestamp() * 1000),
                "summary": alert.annotations.get("summary", name),
            }


def _reason(error: Exception) -> str:
    """Return why the alerts are unknown, on one line."""
    if isinstance(error, TimeoutError):
        return "Prometheus does not answer in time"
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"Prometheus answers with the status {error.code}"
    if isinstance(error, ValidationError):
        return "the answer is not one of Prometheus"
    if isinstance(error, OSError | HTTPException):
        error = getattr(error, "reason", error)
        return f"Prometheus cannot be reached: {one_line(error)[:200]}"
    return str(error)
