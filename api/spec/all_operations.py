"""The operations of frontends and of those who run the API."""

from __future__ import annotations

from typing import Any

import orjson

from api.access.limits import BodyTooLarge, BodyTooSlow, NotJson
from api.http.problems import BadRequest, NoSuchJob, TryLater
from api.live.endpoint import TENANT_PATH
from api.progress.query import PATH as QUERY_PATH
from api.spec.job_operations import job_operations
from api.spec.models import (
    EVENTS,
    PROGRESS,
    Alive,
    ProgressAnswers,
    ProgressQuery,
    Ready,
    TenantEvent,
    title,
)
from api.spec.operation import EVENT_STREAM, ID, Json, Operation, Who, parameter
from api.spec.operator_operations import ops_operations
from streams.kinds import KINDS, Kind

WAIT = parameter(
    "wait",
    "query",
    "Seconds to hold the answer for: while the state is still that of `If-None-Match`, or while "
    "there is no such job.",
    {"type": "number", "minimum": 0, "maximum": 30},
)
IF_NONE_MATCH = parameter(
    "If-None-Match",
    "header",
    "The `ETag` of the answer that the caller has: 304 while that still stands.",
    {"type": "string"},
)
LAST_EVENT_ID = parameter(
    "Last-Event-ID",
    "header",
    "The `id` of the last event that came; a browser sends it by itself.",
    {"type": "string"},
)

_POLLING = (
    "Reads Redis alone, and answers while PostgreSQL is down. `Retry-After` says when it is worth "
    "asking again; an answer without it is final. What does not exist, has expired or belongs to "
    "another tenant is one and the same 404; with `wait` that comes after as many seconds, unless "
    "the job appears before."
)
_STREAMING = (
    "Server-Sent Events: on connect the present state, then each change, as `event: state` whose "
    "`data:` is {data}. {end}A comment comes every 15 s at the latest. A reconnect with "
    "`Last-Event-ID` misses no final state and repeats nothing. For `EventSource`, which sends no "
    "headers, the credentials may be in the query."
)

_WORKING: Json = {
    "job_id": "report-1",
    "job_type": "excel",
    "status": "PROCESSING",
    "progress": {
        "rows": 1200,
        "step": "saving",
        "percent": 42.5,
        "step_index": 3,
        "step_total": 4,
        "step_name": "saving",
        "step_name_display": "저장",
        "step_percent": 40,
        "remaining_seconds": 12,
    },
    "attempt": 1,
    "updated_at": "2026-03-01T09:30:00Z",
}
_DONE: Json = {
    "job_id": "report-1",
    "job_type": "excel",
    "status": "DONE",
    "progress": None,
    "error_message": None,
    "result": {"rows": 2841},
    "attempt": 1,
    "updated_at": "2026-03-01T09:30:12Z",
}
_FAILED: Json = {
    "job_id": "report-2",
    "job_type": "excel",
    "status": "FAILED",
    "progress": None,
    "error_message": "no such sheet",
    "attempt": 2,
    "updated_at": "2026-03-01T09:31:00Z",
}
_ENCODING: Json = {
    "id": 7,
    "status": "PROCESSING",
    "encoding_progress": 42,
    "encoding_remaining_seconds": 61,
    "encoding_step_index": 4,
    "encoding_step_total": 7,
    "encoding_step_name": "인코딩",
    "encoding_step_percent": 30,
    "attempt": 1,
    "updated_at": "2026-03-01T09:30:00Z",
}
_READY: Json = {
    "id": 7,
    "status": "READY",
    "encoding_progress": None,
    "encoding_remaining_seconds": None,
    "encoding_step_index": None,
    "encoding_step_total": None,
    "encoding_step_name": None,
    "encoding_step_percent": None,
    "hls_path": "videos/7/master.m3u8",
    "duration": 12.5,
    "attempt": 1,
    "updated_at": "2026-03-01T09:31:12Z",
}
_EXAMPLES: dict[str, Json] = {
    "job": {"processing": _WORKING, "done": _DONE, "failed": _FAILED},
    "video": {"processing": _ENCODING, "ready": _READY},
}
"""Examples by kind; a kind without any is described by its schema alone."""


def operations() -> list[Operation]:
    """Give every operation, in the order of the document."""
    kinds = KINDS.values()
    return [
        *(_progress(kind) for kind in kinds),
        _query(),
        *(_stream(kind) for kind in kinds),
        _tenant_stream(),
        *job_operations(),
        *ops_operations(),
        *_monitoring(),
    ]


def _progress(kind: Kind) -> Operation:
    return Operation(
        f"get{title(kind)}Progress",
        "get",
        f"{kind.url}/{{id}}/progress/",
        "progress",
        f"How a {kind.name} stands",
        PROGRESS[kind.name],
        description=_POLLING,
        parameters=(ID, WAIT, IF_NONE_MATCH),
        problems=(BadRequest, NoSuchJob, TryLater),
        examples=_EXAMPLES.get(kind.name, {}),
        headers=("ETag", "Retry-After"),
    )


def _query() -> Operation:
    return Operation(
        "queryProgress",
        "post",
        QUERY_PATH,
        "progress",
        "How many jobs stand, in one question",
        ProgressAnswers,
        description="One round trip to Redis, which alone is read.",
        body=ProgressQuery,
        problems=(BadRequest, NotJson, BodyTooLarge, BodyTooSlow, TryLater),
        examples={
            "some": {
                **{kind.plural: {} for kind in KINDS.values()},
                "jobs": {"report-1": _DONE, "report-9": None},
                "videos": {"7": _READY},
            }
        },
        asked={"jobs": ["report-1", "report-9"], "videos": ["7"]},
    )


def _stream(kind: Kind) -> Operation:
    return Operation(
        f"watch{title(kind)}Progress",
        "get",
        f"{kind.url}/{{id}}/progress/events",
        "progress",
        f"Watch a {kind.name} until it ends",
        EVENTS[kind.name],
        media=EVENT_STREAM,
        who=Who.VIEWER,
        description=_STREAMING.format(
            data="what the progress request answers and whose `id:` is that answer's tag",
            end="The stream ends after the final state; who has that already is answered by 204. ",
        ),
        parameters=(ID, LAST_EVENT_ID),
        problems=(BadRequest, NoSuchJob, TryLater),
        examples=_events(_EXAMPLES.get(kind.name, {})),
        may_be_empty=True,
    )


def _tenant_stream() -> Operation:
    return Operation(
        "watchTenant",
        "get",
        TENANT_PATH,
        "progress",
        "Watch all of the tenant's jobs",
        TenantEvent,
        media=EVENT_STREAM,
        who=Who.VIEWER,
        description=_STREAMING.format(
            data="what the progress request answers with the job's `kind` beside it", end=""
        ),
        parameters=(LAST_EVENT_ID,),
        problems=(BadRequest, TryLater),
        examples=_events({"done": {"kind": "job", **_DONE}}),
    )


def _events(states: Json) -> Json:
    return {
        word: {"event": "state", "id": str(number), "data": orjson.dumps(state).decode()}
        for number, (word, state) in enumerate(states.items(), 1)
    }


def _monitoring() -> list[Operation]:
    def of(name: str, path: str, summary: str, **more: Any) -> Operation:
        return Operation(name, "get", path, "monitoring", summary, who=Who.ANYBODY, **more)

    return [
        of("isAlive", "/healthz", "Whether the process is alive", answer=Alive),
        of("isReady", "/readyz", "Whether it can serve", answer=Ready, problems=(TryLater,)),
        of("getMetrics", "/metrics", "Metrics for Prometheus", media="text/plain"),
        of("getOpenApi", "/openapi.json", "This document"),
        of("getDocs", "/docs", "This document as a page", media="text/html"),
    ]
